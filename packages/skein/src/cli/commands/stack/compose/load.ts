/** From the files of `--compose-file` to one stack: read, interpolated, checked, resolved, merged. */
import { readFileSync } from 'node:fs';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { text as readText } from 'node:stream/consumers';
import { asObject, asText, type JsonObject } from '../../../client/json.ts';
import type { Context } from '../../../command/command.ts';
import { CommandError } from '../../../command/errors.ts';
import { keyValues } from '../../each.ts';
import { readEnvironmentFile } from '../../environment.ts';
import { interpolate } from './interpolate.ts';
import { mergeFiles } from './merge.ts';
import { deprecatedOptions, forbiddenOptions, unsupportedOptions } from './options.ts';
import { type ComposeFile, type ComposeFileObject, type ComposeService, checkFile } from './schema.ts';
import type { Volume } from './short-syntax.ts';
import { readYaml } from './yaml.ts';

const newestVersion = 13;

/** Reads the stack, and says on standard error what of it has no effect. @throws CommandError in docker's words. */
export async function loadStack(context: Context, paths: readonly string[]): Promise<ComposeFile> {
  const [first] = paths;
  if (first === undefined) throw new CommandError('Specify a Compose file (with --compose-file)');
  const directory = first === '-' && paths.length === 1 ? process.cwd() : dirname(resolve(first));
  const sources: JsonObject[] = [];
  for (const path of paths) sources.push(readYaml(path === '-' ? await readText(context.stdin) : readSource(path)));
  checkVersions(sources);
  const files = sources.map((source) => {
    checkForbidden(source);
    return resolved(checkFile(interpolate(source, context.environment)), directory, context.environment);
  });
  const stack = files.reduce(mergeFiles);
  for (const line of [...listeningRemarks(stack), ...remarks(sources)]) context.err.write(`${line}\n`);
  for (const [name, { image }] of Object.entries(stack.services)) checkImage(name, image);
  return stack;
}

function readSource(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new CommandError(`open ${path}: no such file or directory`, 1, { cause: error });
  }
}

/** Version 3 with any minor number; without a version the newest. All are read alike. */
function checkVersions(sources: readonly JsonObject[]): void {
  const [first, ...others] = sources.map(({ version }) => asText(version).replace(/^3?$/, `3.${newestVersion}`));
  const other = others.find((version) => version !== first);
  if (other !== undefined)
    throw new CommandError(`version mismatched between two composefiles : ${first} and ${other}`);
  const minor = /^3\.(\d+)$/.exec(first ?? '')?.[1];
  if (minor === undefined || Number(minor) > newestVersion)
    throw new CommandError(`unsupported Compose file version: ${first}`);
}

const servicesOf = (source: JsonObject): JsonObject[] => Object.values(asObject(source.services)).map(asObject);

function usedOptions(sources: readonly JsonObject[], options: readonly string[]): string[] {
  return options.filter((option) => sources.flatMap(servicesOf).some((service) => option in service)).sort();
}

const explained = (options: readonly string[], texts: Readonly<Record<string, string>>): string =>
  options.map((option) => `${option}: ${texts[option]}`).join('\n\n');

function checkForbidden(source: JsonObject): void {
  const found = usedOptions([source], Object.keys(forbiddenOptions));
  if (found.length > 0)
    throw new CommandError(`Compose file contains unsupported options:\n\n${explained(found, forbiddenOptions)}\n`);
}

/** A service has no address of its own on a host. */
function listeningRemarks({ services }: ComposeFile): string[] {
  const ports = Object.values(services).flatMap((service) => service.ports ?? []);
  return ports.flatMap(({ address, published, target, protocol }) =>
    address
      ? [`ignoring IP-address (${address}:${published}:${target}/${protocol}) service will listen on '0.0.0.0'`]
      : [],
  );
}

function remarks(sources: readonly JsonObject[]): string[] {
  const unsupported = usedOptions(sources, unsupportedOptions);
  const deprecated = usedOptions(sources, Object.keys(deprecatedOptions));
  return [
    ...(unsupported.length > 0 ? [`Ignoring unsupported options: ${unsupported.join(', ')}\n`] : []),
    ...(deprecated.length > 0 ? [`Ignoring deprecated options:\n\n${explained(deprecated, deprecatedOptions)}\n`] : []),
  ];
}

/** `[host[:port]/]name[/name…][:tag][@digest]` (distribution/reference). */
const imageName =
  /^(?:[\w.-]+(?::\d+)?\/)?[a-z0-9]+(?:(?:\.|__?|-+|\/)[a-z0-9]+)*(?::\w[\w.-]{0,127})?(?:@[A-Za-z]\w*:[0-9a-f]{32,})?$/;

function checkImage(service: string, image: string | undefined): void {
  const invalid = (what: string) => new CommandError(`invalid image reference for service ${service}: ${what}`);
  if (!image) throw invalid('no image specified');
  if (imageName.test(image)) return;
  const path = image.includes('/') ? image.replace(/^[^/]*[.:][^/]*\//, '') : `library/${image}`;
  const [name = ''] = path.split(/[:@]/, 1);
  if (name !== name.toLowerCase())
    throw invalid(`invalid reference format: repository name (${name}) must be lowercase`);
  throw invalid('invalid reference format');
}

type Environment = Readonly<Record<string, string | undefined>>;

/** Puts in place what a file leaves to its surroundings: variables, the directory it lies in, names that are the key. */
function resolved(file: ComposeFile, directory: string, environment: Environment): ComposeFile {
  return {
    ...file,
    services: mapValues(file.services, (service) => ({
      ...service,
      environment: environmentOf(service, directory, environment),
      ...(service.volumes && { volumes: service.volumes.map((volume) => boundPath(volume, directory, environment)) }),
    })),
    networks: mapValues(file.networks, (network, name) => withExternalName('network', name, network)),
    volumes: mapValues(file.volumes, (volume, name) => {
      const conflict =
        volume.external?.external && (['driver', 'driver_opts', 'labels'] as const).find((key) => volume[key]);
      if (conflict)
        throw new CommandError(`conflicting parameters "external" and "${conflict}" specified for volume "${name}"`);
      return withExternalName('volume', name, volume);
    }),
    secrets: mapValues(file.secrets, (secret, name) => fileObject('secret', name, secret, directory)),
    configs: mapValues(file.configs, (config, name) => fileObject('config', name, config, directory)),
  };
}

function mapValues<From, To>(values: Record<string, From>, map: (value: From, name: string) => To): Record<string, To> {
  return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, map(value, name)]));
}

/** What the files say and, for variables without a value, what the command's own environment says. */
function environmentOf(
  { env_file: files = [], environment: own = {} }: ComposeService,
  directory: string,
  environment: Environment,
): Record<string, string | null> {
  const lines = files
    .flatMap((path) => readEnvironmentFile(resolve(directory, path)))
    .filter((line) => line.includes('=') || environment[line] !== undefined);
  const variables = { ...keyValues(lines), ...own };
  return mapValues(variables, (value, name) => value || (environment[name] ?? value));
}

function boundPath(volume: Volume, directory: string, environment: Environment): Volume {
  if (volume.type !== 'bind') return volume;
  if (!volume.source) throw new CommandError('invalid mount config for type "bind": field Source must not be empty');
  const source = volume.source.startsWith('~') ? (environment.HOME ?? '~') + volume.source.slice(1) : volume.source;
  return { ...volume, source: isAbsolute(source) ? source : join(directory, source) };
}

interface Nameable {
  readonly name?: string | undefined;
  readonly external?: { readonly external: boolean; readonly name?: string | undefined } | undefined;
}

/** What is made elsewhere has the name that it is given, or its key. */
function withExternalName<Item extends Nameable>(kind: string, key: string, item: Item): Item {
  if (!item.external?.external) return item;
  if (item.external.name && item.name)
    throw new CommandError(`${kind} ${key}: ${kind}.external.name and ${kind}.name conflict; only use ${kind}.name`);
  return { ...item, name: item.external.name ?? item.name ?? key };
}

function fileObject(
  kind: 'secret' | 'config',
  key: string,
  item: ComposeFileObject,
  directory: string,
): ComposeFileObject {
  if (item.external?.external) return withExternalName(kind, key, item);
  if (item.driver && item.file)
    throw new CommandError(`${kind} ${key}: ${kind}.driver and ${kind}.file conflict; only use ${kind}.driver`);
  return item.driver ? item : { ...item, file: resolve(directory, item.file ?? '') };
}
