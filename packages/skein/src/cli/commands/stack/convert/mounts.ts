import type { JsonObject } from '../../../client/json.ts';
import { CommandError } from '../../../command/errors.ts';
import type { ComposeVolume } from '../compose/schema.ts';
import type { Volume } from '../compose/short-syntax.ts';
import { present, scoped, stackLabels } from './scope.ts';

type Volumes = Readonly<Record<string, ComposeVolume>>;

/** Type of a mount → the group of options that it takes. */
const optionsOf: Readonly<Record<string, keyof Volume>> = {
  volume: 'volume',
  image: 'image',
  bind: 'bind',
  npipe: 'bind',
  tmpfs: 'tmpfs',
  cluster: 'cluster',
};

/** @returns the API's mount of a service's volume. @throws CommandError in docker's words. */
export function mountOf(volume: Volume, stack: string, volumes: Volumes): JsonObject {
  check(volume);
  return present({
    Type: volume.type || 'volume',
    Target: volume.target,
    Source: sourceOf(volume, stack, volumes),
    ...(volume.read_only && { ReadOnly: true }),
    Consistency: volume.consistency,
    ...optionsFor(volume, stack, volumes),
  });
}

function check({ type, source, ...volume }: Volume): void {
  if (!(type in optionsOf)) throw new CommandError('volume type must be volume, bind, tmpfs, npipe, or cluster');
  if (type === 'tmpfs' && source) throw new CommandError('invalid tmpfs source, source must be empty');
  if (!source && !['tmpfs', 'volume'].includes(type))
    throw new CommandError(`invalid ${type} source, source cannot be empty`);
  const alien = (['volume', 'image', 'bind', 'tmpfs', 'cluster'] as const).find(
    (group) => volume[group] && group !== optionsOf[type],
  );
  if (alien) throw new CommandError(`${alien} options are incompatible with type ${type}`);
}

function sourceOf({ type, source }: Volume, stack: string, volumes: Volumes): string | undefined {
  if (!source || !['volume', 'cluster'].includes(type) || source.startsWith('group:')) return source;
  const declared = volumes[source];
  if (!declared) throw new CommandError(`undefined volume ${JSON.stringify(source)}`);
  return declared.name ?? scoped(stack, source);
}

function optionsFor(volume: Volume, stack: string, volumes: Volumes): JsonObject {
  switch (volume.type) {
    case 'bind':
    case 'npipe':
      return volume.bind ? { BindOptions: present({ Propagation: volume.bind.propagation }) } : {};
    case 'image':
      return volume.image ? { ImageOptions: present({ Subpath: volume.image.subpath }) } : {};
    case 'tmpfs':
      return volume.tmpfs ? { TmpfsOptions: present({ SizeBytes: volume.tmpfs.size }) } : {};
    case 'cluster':
      return { ClusterOptions: {} };
    default:
      return volume.source ? { VolumeOptions: volumeOptions(volume, stack, volumes[volume.source]) } : {};
  }
}

function volumeOptions({ volume }: Volume, stack: string, declared: ComposeVolume | undefined): JsonObject {
  const isMade = !declared?.external?.external;
  const hasDriver = declared?.driver !== undefined || declared?.driver_opts !== undefined;
  return present({
    ...(volume?.nocopy && { NoCopy: true }),
    Subpath: volume?.subpath,
    ...(isMade && { Labels: stackLabels(stack, declared?.labels) }),
    ...(isMade && hasDriver && { DriverConfig: present({ Name: declared.driver, Options: declared.driver_opts }) }),
  });
}
