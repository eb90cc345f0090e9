/** Docker's ContainerSpec ↔ swarmkit's (moby daemon/cluster/convert/container.go). */
import { create } from '@bufbuild/protobuf';
import { SkeinError } from '../../common/index.ts';
import {
  ContainerSpec_DNSConfigSchema,
  ContainerSpec_Isolation,
  ContainerSpec_UlimitSchema,
  ContainerSpecSchema,
} from '../../swarm/gen/specs_pb.js';
import {
  Privileges_AppArmorOpts_AppArmorMode as AppArmorMode,
  type ConfigReference,
  ConfigReferenceSchema,
  type Privileges_CredentialSpec as CredentialSpec,
  FileTargetSchema,
  HealthConfigSchema,
  Privileges_AppArmorOptsSchema,
  Privileges_CredentialSpecSchema,
  Privileges_SELinuxContextSchema,
  Privileges_SeccompOptsSchema,
  PrivilegesSchema,
  RuntimeTargetSchema,
  Privileges_SeccompOpts_SeccompMode as SeccompMode,
  SecretReferenceSchema,
} from '../../swarm/gen/types_pb.js';
import { isObject, type JsonObject, member, typeError } from '../json.ts';
import { always, field, optional, table } from './codec.ts';
import { mount } from './mount.ts';
import { bytes, duration, flag, int32, int64, list, map, strings, text, uint32, type Value, words } from './values.ts';

const health = table(HealthConfigSchema, [
  field('Test', 'test', strings),
  optionalDuration('Interval', 'interval'),
  optionalDuration('Timeout', 'timeout'),
  optionalDuration('StartPeriod', 'startPeriod'),
  optionalDuration('StartInterval', 'startInterval'),
  field('Retries', 'retries', int32),
]);

/** A time.Duration with omitempty: zero and missing are the same. */
function optionalDuration<K extends string>(name: string, key: K) {
  const plain = optional(name, key, duration);
  return {
    ...plain,
    encode: (message: Parameters<typeof plain.encode>[0], json: JsonObject) => {
      const value = message[key];
      if (value !== undefined && !duration.isZero(value)) plain.encode(message, json);
    },
  };
}

const dns = table(ContainerSpec_DNSConfigSchema, [
  field('Nameservers', 'nameservers', strings),
  field('Search', 'search', strings),
  field('Options', 'options', strings),
]);

const ulimit = table(ContainerSpec_UlimitSchema, [
  always('Name', 'name', text),
  always('Hard', 'hard', int64),
  always('Soft', 'soft', int64),
]);

const fileTarget = table(FileTargetSchema, [
  always('Name', 'name', text),
  always('UID', 'uid', text),
  always('GID', 'gid', text),
  always('Mode', 'mode', uint32),
]);

const secretReference = table(SecretReferenceSchema, [
  optional('File', 'file', fileTarget),
  always('SecretID', 'secretId', text),
  always('SecretName', 'secretName', text),
]);

const configReference: Value<ConfigReference> = {
  ...table(ConfigReferenceSchema, [
    {
      encode: ({ target }, json) => {
        if (target.case === 'file') json.File = fileTarget.encode(target.value);
        if (target.case === 'runtime') json.Runtime = {};
      },
      decode: (message, json, path) => {
        const file = member(json, 'File');
        const runtime = member(json, 'Runtime');
        if (file === undefined && runtime === undefined) refuse('invalid Config: either File or Runtime should be set');
        if (file !== undefined && runtime !== undefined) refuse('invalid Config: cannot specify both File and Runtime');
        message.target =
          file !== undefined
            ? { case: 'file', value: fileTarget.decode(file, `${path}.File`) }
            : { case: 'runtime', value: create(RuntimeTargetSchema) };
      },
    },
    always('ConfigID', 'configId', text),
    always('ConfigName', 'configName', text),
  ]),
};

const credentialKinds = { Config: 'config', File: 'file', Registry: 'registry' } as const;

/** Exactly one of Config, File and Registry; Docker sends the other two as ''. */
const credentialSpec: Value<CredentialSpec> = {
  encode: ({ source }) =>
    Object.fromEntries(
      Object.entries(credentialKinds).map(([name, kind]) => [name, source.case === kind ? source.value : '']),
    ),
  decode: (json, path) => {
    if (!isObject(json)) throw typeError(json, path, 'swarm.CredentialSpec');
    const given = Object.entries(credentialKinds).flatMap(([name, kind]) => {
      const value = text.decode(member(json, name) ?? '', `${path}.${name}`);
      return value === '' ? [] : [{ case: kind, value }];
    });
    const [source, second] = given;
    if (source === undefined)
      refuse('invalid CredentialSpec: must either provide "file", "registry", or "config" for credential spec');
    if (second !== undefined) {
      refuse(`invalid CredentialSpec: cannot specify both "${source.case}" and "${second.case}" credential specs`);
    }
    return create(Privileges_CredentialSpecSchema, { source });
  },
  isZero: () => false,
};

const privileges = table(PrivilegesSchema, [
  nullable('CredentialSpec', 'credentialSpec', credentialSpec),
  nullable(
    'SELinuxContext',
    'selinuxContext',
    table(Privileges_SELinuxContextSchema, [
      always('Disable', 'disable', flag),
      always('User', 'user', text),
      always('Role', 'role', text),
      always('Type', 'type', text),
      always('Level', 'level', text),
    ]),
  ),
  optional(
    'Seccomp',
    'seccomp',
    table(Privileges_SeccompOptsSchema, [
      field(
        'Mode',
        'mode',
        words(
          { default: SeccompMode.DEFAULT, unconfined: SeccompMode.UNCONFINED, custom: SeccompMode.CUSTOM },
          (word) => `invalid SeccompMode: "${word}"`,
        ),
      ),
      field('Profile', 'profile', bytes),
    ]),
  ),
  optional(
    'AppArmor',
    'apparmor',
    table(Privileges_AppArmorOptsSchema, [
      field(
        'Mode',
        'mode',
        words(
          { default: AppArmorMode.DEFAULT, disabled: AppArmorMode.DISABLED },
          (word) => `invalid AppArmorMode: "${word}"`,
        ),
      ),
    ]),
  ),
  always('NoNewPrivileges', 'noNewPrivileges', flag),
]);

/** A pointer without omitempty: Docker sends null when it is not set. */
function nullable<K extends string, T>(name: string, key: K, value: Value<T>) {
  const plain = optional(name, key, value);
  return {
    ...plain,
    encode: (message: { [P in K]?: T | undefined }, json: JsonObject) => {
      const present: T | undefined = message[key];
      json[name] = present === undefined ? null : value.encode(present);
    },
  };
}

const isolation = words(
  {
    default: ContainerSpec_Isolation.DEFAULT,
    process: ContainerSpec_Isolation.PROCESS,
    hyperv: ContainerSpec_Isolation.HYPERV,
  },
  (word) => `invalid Isolation: "${word}"`,
);

/** pidsLimit stands in Resources.Limits.Pids, see service.ts; pull_options come from the X-Registry-Auth header. */
export const containerSpec = table(ContainerSpecSchema, [
  field('Image', 'image', text),
  field('Labels', 'labels', map),
  field('Command', 'command', strings),
  field('Args', 'args', strings),
  field('Hostname', 'hostname', text),
  field('Env', 'env', strings),
  field('Dir', 'dir', text),
  field('User', 'user', text),
  field('Groups', 'groups', strings),
  optional('Privileges', 'privileges', privileges),
  optional('Init', 'init', flag),
  field('StopSignal', 'stopSignal', text),
  field('TTY', 'tty', flag),
  field('OpenStdin', 'openStdin', flag),
  field('ReadOnly', 'readOnly', flag),
  field('Mounts', 'mounts', list(mount)),
  optional('StopGracePeriod', 'stopGracePeriod', duration),
  optional('Healthcheck', 'healthcheck', health),
  field('Hosts', 'hosts', strings),
  optional('DNSConfig', 'dnsConfig', dns),
  field('Secrets', 'secrets', list(secretReference)),
  field('Configs', 'configs', list(configReference)),
  field('Isolation', 'isolation', isolation),
  field('Sysctls', 'sysctls', map),
  field('CapabilityAdd', 'capabilityAdd', strings),
  field('CapabilityDrop', 'capabilityDrop', strings),
  field('Ulimits', 'ulimits', list(ulimit)),
  field('OomScoreAdj', 'oomScoreAdj', int64),
]);

function refuse(message: string): never {
  throw new SkeinError('InvalidArgument', message);
}
