import { asList, asNumber, asObject, asText, asTexts, at, type JsonObject } from '../client/json.ts';
import { type Context, command } from '../command/command.ts';
import { CommandError } from '../command/errors.ts';
import { humanSize, inspectAll, type Listing, printList } from '../output/index.ts';
import { forEachName, keyValues, labelText } from './each.ts';
import { filterQuery } from './filters.ts';
import { filterFlag, formatFlag, inspectFlag } from './flags.ts';
import { naturalOrder } from './order.ts';
import { pruneCommand, tellDeleted } from './prune.ts';

/** What docker shows of cluster volumes, and of sizes that nobody has asked for. */
const unknown = 'N/A';

/** How volumes are listed; `system df -v` has links and sizes too. */
export const volumeListing: Listing<JsonObject> = {
  goType: '*formatter.volumeContext',
  table: ['Driver', 'Name'],
  quiet: 'Name',
  columns: {
    Availability: { header: 'AVAILABILITY', value: () => unknown },
    Driver: { header: 'DRIVER', value: (volume) => asText(volume.Driver) },
    Group: { header: 'GROUP', value: () => unknown },
    Labels: { header: 'LABELS', value: (volume) => labelText(asTexts(volume.Labels)) },
    Label: { header: 'LABEL', value: (volume) => (key) => asTexts(volume.Labels)[String(key)] ?? '' },
    Links: {
      header: 'LINKS',
      value: ({ UsageData }) => (UsageData ? String(asNumber(at(UsageData, 'RefCount'))) : unknown),
    },
    Mountpoint: { header: 'MOUNTPOINT', value: (volume) => asText(volume.Mountpoint) },
    Name: { header: 'VOLUME NAME', value: (volume) => asText(volume.Name) },
    Scope: { header: 'SCOPE', value: (volume) => asText(volume.Scope) },
    Size: {
      header: 'SIZE',
      value: ({ UsageData }) => (UsageData ? humanSize(asNumber(at(UsageData, 'Size'))) : unknown),
    },
    Status: { header: 'STATUS', value: () => unknown },
  },
};

const path = (name: string) => `/volumes/${encodeURIComponent(name)}`;

const list = command(
  'ls [OPTIONS]',
  'List volumes',
  `
  ${filterFlag}
  ${formatFlag}
  -q, --quiet  Only display volume names
  `,
  async (context, flags) => {
    const query = { filters: filterQuery(flags.list('filter')) };
    const volumes = asList(at(await context.client.json('GET', '/volumes', { query }), 'Volumes')).map(asObject);
    volumes.sort((left, right) => naturalOrder(asText(left.Name), asText(right.Name)));
    printList(context.out, volumeListing, volumes, { format: flags.text('format'), quiet: flags.on('quiet') });
  },
  { aliases: ['list'] },
);

const create = command(
  'create [OPTIONS] [VOLUME]',
  'Create a volume',
  `
  -d, --driver string=local  Specify volume driver name
  --label list               Set metadata for a volume
  --name string              The volume's name, as docker's older command lines have it
  -o, --opt map              Set driver specific options
  `,
  async (context, flags, [name = '']) => {
    if (name !== '' && flags.changed('name')) {
      throw new CommandError(
        'conflicting options: cannot specify a volume-name through both --name and as a positional arg',
      );
    }
    const body = {
      Name: name || flags.text('name'),
      Driver: flags.text('driver'),
      DriverOpts: keyValues(flags.list('opt')),
      Labels: keyValues(flags.list('label')),
    };
    context.out.write(`${asText(at(await context.client.json('POST', '/volumes/create', { body }), 'Name'))}\n`);
  },
);

const inspect = command(
  'inspect [OPTIONS] VOLUME [VOLUME...]',
  'Display detailed information on one or more volumes',
  inspectFlag,
  (context, flags, names) =>
    inspectAll(context, names, flags.text('format'), (name) => context.client.text('GET', path(name))),
);

const remove = command(
  'rm [OPTIONS] VOLUME [VOLUME...]',
  'Remove one or more volumes',
  '-f, --force  Force the removal of one or more volumes',
  (context, flags, names) =>
    forEachName(context, names, async (name) => {
      await context.client.text('DELETE', path(name), { query: { force: flags.on('force') } });
      return name;
    }),
  { aliases: ['remove'] },
);

const prune = pruneCommand({
  summary: 'Remove unused local volumes',
  all: 'Remove all unused volumes, not just anonymous ones',
  filter: 'label=<label>',
  what: (all) => `${all ? 'all' : 'anonymous'} local volumes not used by at least one container`,
  remove: pruneVolumes,
});

/** Says what has gone. @returns the bytes that are free again. */
export async function pruneVolumes(context: Context, filters: readonly string[], all: boolean): Promise<number> {
  const query = { filters: filterQuery(filters, all ? { all: ['true'] } : {}) };
  const pruned = await context.client.json('POST', '/volumes/prune', { query });
  const names = asList(at(pruned, 'VolumesDeleted')).map(asText);
  tellDeleted(context, 'Volumes', names);
  return asNumber(at(pruned, 'SpaceReclaimed'));
}

/** `skein volume …`. */
export const volumeCommands = [create, inspect, list, prune, remove];
