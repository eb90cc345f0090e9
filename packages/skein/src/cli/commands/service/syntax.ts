/**
 * The long and short syntaxes of service flags (`--mount`, `--publish`, `--network`, `--secret`, `--ulimit`), each
 * turned into its part of the API's spec. Docker's words for what is wrong.
 */
import type { JsonObject } from '../../client/json.ts';
import { CommandError } from '../../command/errors.ts';
import { parseBoolean } from '../../command/flags.ts';
import { parseBytes } from '../../command/units.ts';
import { addValueKind } from '../../command/values.ts';

/** `a=1,b,"c=x,y"` → pairs; a field without `=` has the value undefined. */
function csvFields(text: string): [string, string | undefined][] {
  const fields = text.match(/(?:"(?:[^"]|"")*"|[^,])+/g) ?? [];
  return fields.map((field) => {
    const bare = field.replace(/^"|"$/g, '').replaceAll('""', '"');
    const equals = bare.indexOf('=');
    return equals < 0 ? [bare, undefined] : [bare.slice(0, equals).trim().toLowerCase(), bare.slice(equals + 1).trim()];
  });
}

function invalidValue(key: string, value: string): CommandError {
  return new CommandError(`invalid value for ${key}: ${value}`);
}

const maxPort = 65535;

/** @returns the ports of one `--publish`: `8080:80/tcp`, `9000-9001:90-91`, `published=…,target=…,mode=host`. */
export function parsePorts(text: string): JsonObject[] {
  return text.includes('=') ? [longPort(text)] : shortPorts(text);
}

function longPort(text: string): JsonObject {
  const port: JsonObject = { Protocol: 'tcp', TargetPort: 0, PublishMode: 'ingress' };
  for (const [key, value] of csvFields(text)) {
    if (value === undefined) throw new CommandError(`invalid field ${key}`);
    if (key === 'protocol') {
      if (!['tcp', 'udp', 'sctp'].includes(value)) throw new CommandError(`invalid protocol value '${value}' provided`);
      port.Protocol = value;
    } else if (key === 'mode') {
      if (value !== 'ingress' && value !== 'host')
        throw new CommandError(`invalid publish mode value (${value}) provided`);
      port.PublishMode = value;
    } else if (key === 'target' || key === 'published') {
      if (!isPort(value)) throw new CommandError(`invalid ${key} port (${value}): value must be 0 to ${maxPort}`);
      port[key === 'target' ? 'TargetPort' : 'PublishedPort'] = Number(value);
    } else throw new CommandError(`invalid field key ${key}`);
  }
  if (!port.TargetPort) throw new CommandError(`missing mandatory field "target"`);
  return port;
}

const isPort = (text: string) => /^\d+$/.test(text) && Number(text) <= maxPort;

function shortPorts(text: string): JsonObject[] {
  const [ports = '', protocol = 'tcp', ...rest] = text.split('/');
  if (rest.length > 0 || !['tcp', 'udp', 'sctp'].includes(protocol.toLowerCase())) {
    throw new CommandError(`invalid proto: ${[protocol, ...rest].join('/')}`);
  }
  const parts = ports.split(':');
  if (parts.length > 2) throw new CommandError('hostip is not supported');
  const target = portRange(parts.at(-1) ?? '', 'containerPort');
  const published = parts.length === 2 && parts[0] ? portRange(parts[0], 'hostPort') : undefined;
  if (published && published.length !== target.length) {
    throw new CommandError(`invalid ranges specified for container and host Ports: ${parts[1]} and ${parts[0]}`);
  }
  return target.map((TargetPort, index) => {
    const PublishedPort = published?.[index];
    return {
      Protocol: protocol.toLowerCase(),
      TargetPort,
      ...(PublishedPort !== undefined && { PublishedPort }),
      PublishMode: 'ingress',
    };
  });
}

function portRange(text: string, what: string): number[] {
  const [first = '', last = first] = text.split('-', 2);
  if (!isPort(first) || !isPort(last) || Number(last) < Number(first))
    throw new CommandError(`invalid ${what}: ${text}`);
  return Array.from({ length: Number(last) - Number(first) + 1 }, (_none, index) => Number(first) + index);
}

/** One `--mount`. */
export function parseMount(text: string): JsonObject {
  const mount: JsonObject = { Type: 'volume' };
  const part = (name: string): JsonObject => {
    const object = (mount[name] ?? {}) as JsonObject;
    mount[name] = object;
    return object;
  };
  for (const [key, value] of csvFields(text)) setMountField(mount, part, key.toLowerCase(), value, key);
  checkMount(mount);
  return mount;
}

function setMountField(
  mount: JsonObject,
  part: (name: string) => JsonObject,
  key: string,
  given: string | undefined,
  field: string,
): void {
  const flagKeys = ['readonly', 'ro', 'volume-nocopy', 'bind-nonrecursive', 'bind-create-src'];
  if (given === undefined && !flagKeys.includes(key))
    throw new CommandError(`invalid field '${field}' must be a key=value pair`);
  const value = given ?? 'true';
  const flag = () => {
    const on = parseBoolean(value);
    if (on === undefined) throw invalidValue(key, value);
    return on;
  };
  const pair = (): [string, string] => {
    const equals = value.indexOf('=');
    return equals < 0 ? [value, ''] : [value.slice(0, equals), value.slice(equals + 1)];
  };
  const volume = () => part('VolumeOptions');
  switch (key) {
    case 'type':
      mount.Type = value.toLowerCase();
      break;
    case 'source':
    case 'src':
      mount.Source = value.startsWith('./') || value === '.' ? `${process.cwd()}/${value}` : value;
      break;
    case 'target':
    case 'dst':
    case 'destination':
      mount.Target = value;
      break;
    case 'readonly':
    case 'ro':
      mount.ReadOnly = flag();
      break;
    case 'consistency':
      mount.Consistency = value.toLowerCase();
      break;
    case 'bind-propagation':
      part('BindOptions').Propagation = value.toLowerCase();
      break;
    case 'bind-nonrecursive':
      part('BindOptions').NonRecursive = flag();
      break;
    case 'volume-nocopy':
      volume().NoCopy = flag();
      break;
    case 'volume-subpath':
      volume().Subpath = value;
      break;
    case 'volume-label':
      volume().Labels = { ...(volume().Labels as JsonObject | undefined), ...Object.fromEntries([pair()]) };
      break;
    case 'volume-driver':
      volume().DriverConfig = { ...(volume().DriverConfig as JsonObject | undefined), Name: value };
      break;
    case 'volume-opt': {
      const driver = (volume().DriverConfig ?? {}) as JsonObject;
      driver.Options = { ...(driver.Options as JsonObject | undefined), ...Object.fromEntries([pair()]) };
      volume().DriverConfig = driver;
      break;
    }
    case 'tmpfs-size':
      part('TmpfsOptions').SizeBytes = parseBytes(value);
      break;
    case 'tmpfs-mode':
      if (!/^[0-7]+$/.test(value)) throw invalidValue(key, value);
      part('TmpfsOptions').Mode = Number.parseInt(value, 8);
      break;
    default:
      throw new CommandError(`unexpected key '${key}' in '${field}=${value}'`);
  }
}

function checkMount(mount: JsonObject): void {
  if (mount.Type === '') throw new CommandError('type is required');
  if (!mount.Target) throw new CommandError('target is required');
  const options = { BindOptions: 'bind', VolumeOptions: 'volume', TmpfsOptions: 'tmpfs' };
  for (const [name, type] of Object.entries(options)) {
    if (mount[name] && mount.Type !== type)
      throw new CommandError(`cannot mix '${type}-*' options with mount type '${mount.Type}'`);
  }
  if (mount.VolumeOptions && !(mount.VolumeOptions as JsonObject).DriverConfig)
    (mount.VolumeOptions as JsonObject).DriverConfig = {};
}

/** One `--network`: a name, or `name=…,alias=…,driver-opt=k=v`. The target is still a name. */
export function parseNetwork(text: string): JsonObject {
  if (!text.includes('=')) return { Target: text };
  const network: JsonObject = { Target: '' };
  for (const [key, value = ''] of csvFields(text)) {
    if (key === 'name') network.Target = value;
    else if (key === 'alias')
      network.Aliases = [...((network.Aliases as string[] | undefined) ?? []), value.toLowerCase()];
    else if (key === 'driver-opt') {
      const [name = '', ...rest] = value.split('=');
      if (rest.length === 0) throw new CommandError('invalid key value pair format in driver options');
      network.DriverOpts = { ...(network.DriverOpts as JsonObject | undefined), [name]: rest.join('=') };
    } else throw new CommandError(`invalid field key ${key}`);
  }
  if (!network.Target) throw new CommandError('network name/id is not specified');
  return network;
}

/** The mode that a secret's or config's file has unless the user says otherwise. */
const fileMode = 0o444;

/** One `--secret` or `--config`: a name, or `source=…,target=…,uid=…,gid=…,mode=…`. The ID is looked up later. */
export function parseFileReference(text: string, kind: 'Secret' | 'Config'): JsonObject {
  const file: JsonObject = { Name: '', UID: '0', GID: '0', Mode: fileMode };
  let source = '';
  const fields: [string, string | undefined][] = text.includes('=') ? csvFields(text) : [['source', text]];
  for (const [key, value] of fields) {
    if (value === undefined) throw new CommandError(`invalid field '${key}' must be a key=value pair`);
    if (key === 'source' || key === 'src') source = value;
    else if (key === 'target') file.Name = value;
    else if (key === 'uid') file.UID = value;
    else if (key === 'gid') file.GID = value;
    else if (key === 'mode') {
      if (!/^[0-7]+$/.test(value)) throw new CommandError(`invalid mode specified: ${value}`);
      file.Mode = Number.parseInt(value, 8);
    } else throw new CommandError(`invalid field key ${key}`);
  }
  if (source === '') throw new CommandError('source is required');
  if (file.Name === '') file.Name = source;
  return { File: file, [`${kind}ID`]: '', [`${kind}Name`]: source };
}

/** One `--ulimit`: `name=soft[:hard]`. */
export function parseUlimit(text: string): JsonObject {
  const match = /^([a-z]+)=(-?\d+)(?::(-?\d+))?$/.exec(text);
  if (!match) throw new CommandError(`invalid ulimit argument: ${text}`);
  const soft = Number(match[2]);
  const hard = Number(match[3] ?? soft);
  if (hard !== -1 && (soft > hard || soft === -1)) {
    throw new CommandError(`ulimit soft limit must be less than or equal to hard limit: ${soft} > ${hard}`);
  }
  return { Name: match[1] ?? '', Hard: hard, Soft: soft };
}

/** One `--placement-pref`: `spread=node.labels.rack`. */
export function parsePreference(text: string): JsonObject {
  const [strategy, ...rest] = text.split('=');
  if (rest.length === 0) throw new CommandError(`placement preference must be of the format "<strategy>=<arg>"`);
  if (strategy !== 'spread')
    throw new CommandError(`unsupported placement preference ${strategy} (only spread is supported)`);
  return { Spread: { SpreadDescriptor: rest.join('=') } };
}

/** `host:ip` as /etc/hosts has it, `ip host`. */
export function hostLine(text: string): string {
  const colon = text.search(/[:=]/);
  if (colon < 1) throw new CommandError(`bad format for add-host: ${JSON.stringify(text)}`);
  return `${text.slice(colon + 1).replace(/^\[|\]$/g, '')} ${text.slice(0, colon)}`;
}

/** `net_admin` → `CAP_NET_ADMIN`; `ALL` and `RESET` stay. */
export function capability(text: string): string {
  const name = text.trim().toUpperCase();
  return name === 'ALL' || name === 'RESET' || name.startsWith('CAP_') ? name : `CAP_${name}`;
}

/** Splits a command as a shell would: spaces, quotes and backslashes. */
export function splitWords(text: string): string[] {
  const words = text.match(/(?:"(?:\\.|[^"\\])*"|'[^']*'|\\.|[^\s"'\\])+/g) ?? [];
  return words.map((word) =>
    word.replace(/"((?:\\.|[^"\\])*)"|'([^']*)'|\\(.)/g, (_all, double, single, escaped) =>
      double !== undefined ? double.replace(/\\(["\\$`])/g, '$1') : (single ?? escaped),
    ),
  );
}

addValueKind('port', parsePorts);
addValueKind('mount', parseMount);
addValueKind('network', parseNetwork);
addValueKind('secret', (text) => parseFileReference(text, 'Secret'));
addValueKind('config', (text) => parseFileReference(text, 'Config'));
addValueKind('ulimit', parseUlimit);
addValueKind('pref', parsePreference);

/** `--generic-resource gpu=2` is an amount, `gpu=UUID` one by name. */
export function parseGenericResource(text: string): JsonObject {
  const [Kind = '', value = ''] = text.split('=', 2);
  if (!Kind || !value)
    throw new CommandError(`incorrect generic-resource ${text}: it should be of the form NAME=VALUE`);
  return /^\d+$/.test(value)
    ? { DiscreteResourceSpec: { Kind, Value: Number(value) } }
    : { NamedResourceSpec: { Kind, Value: value } };
}

/** `--credential-spec file://…`; the engine refuses it, in its words. */
export function parseCredentialSpec(text: string): JsonObject {
  const kinds: Readonly<Record<string, string>> = { config: 'Config', file: 'File', registry: 'Registry' };
  const [scheme = '', value = ''] = text.split('://', 2);
  const kind = kinds[scheme];
  if (!kind)
    throw new CommandError(
      'invalid credential spec: value must be prefixed with "config://", "file://", or "registry://"',
    );
  return { [kind]: value };
}
