/** The flags of `run` and `create`, and the API's body that they make. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { type JsonObject, parseJson } from '../../client/json.ts';
import type { Context } from '../../command/command.ts';
import { CommandError } from '../../command/errors.ts';
import type { Flags } from '../../command/flags.ts';
import { parseBytes, parseDecimal, parseDuration } from '../../command/units.ts';
import { keyValues } from '../each.ts';
import { environmentOf } from '../environment.ts';
import { parseMount, parseUlimit } from '../service/syntax.ts';

/** Limits, which `update` can change as well. */
export const limitFlags = `
--cpu-period int              Limit CPU CFS (Completely Fair Scheduler) period
--cpu-quota int               Limit CPU CFS (Completely Fair Scheduler) quota
-c, --cpu-shares int          CPU shares (relative weight)
--cpus decimal                Number of CPUs
--cpuset-cpus string          CPUs in which to allow execution (0-3, 0,1)
--cpuset-mems string          MEMs in which to allow execution (0-3, 0,1)
-m, --memory bytes            Memory limit
--memory-reservation bytes    Memory soft limit
--memory-swap string          Swap limit equal to memory plus swap: '-1' to enable unlimited swap
--pids-limit int              Tune container pids limit (set -1 for unlimited)
`;

/** What both commands have. */
export const createFlags = `${limitFlags}
--add-host list               Add a custom host-to-IP mapping (host:ip)
--annotation map              Add an annotation to the container (passed through to the OCI runtime)
--cap-add list                Add Linux capabilities
--cap-drop list               Drop Linux capabilities
--device list                 Add a host device to the container
--device-cgroup-rule list     Add a rule to the cgroup allowed devices list
--dns list                    Set custom DNS servers
--dns-option list             Set DNS options
--dns-search list             Set custom DNS search domains
--domainname string           Container NIS domain name
--entrypoint string           Overwrite the default ENTRYPOINT of the image
-e, --env list                Set environment variables
--env-file list               Read in a file of environment variables
--expose list                 Expose a port or a range of ports
--group-add list              Add additional groups to join
--health-cmd string           Command to run to check health
--health-interval duration    Time between running the check (ms|s|m|h)
--health-retries int          Consecutive failures needed to report unhealthy
--health-start-interval duration  Time between running the check during the start period (ms|s|m|h)
--health-start-period duration  Start period for the container to initialize before counting retries (ms|s|m|h)
--health-timeout duration     Maximum time to allow one check to run (ms|s|m|h)
-h, --hostname string         Container host name
--init                        Run an init inside the container that forwards signals and reaps processes
-i, --interactive             Keep STDIN open even if not attached
--ip string                   IPv4 address (e.g., 172.30.100.104)
--ip6 string                  IPv6 address (e.g., 2001:db8::33)
--ipc string                  IPC mode to use
-l, --label list              Set meta data on a container
--log-driver string           Logging driver for the container
--log-opt list                Log driver options
--mac-address string          Container MAC address (e.g., 92:d0:c6:0a:29:33)
--mount mount                 Attach a filesystem mount to the container
--name string                 Assign a name to the container
--network list                Connect a container to a network
--network-alias list          Add network-scoped alias for the container
--no-healthcheck              Disable any container-specified HEALTHCHECK
--oom-score-adj int           Tune host's OOM preferences (-1000 to 1000)
--pid string                  PID namespace to use
--privileged                  Give extended privileges to this container
-p, --publish list            Publish a container's port(s) to the host
-P, --publish-all             Publish all exposed ports to random ports
--pull string=missing         Pull image before creating ("always", "missing", "never")
--read-only                   Mount the container's root filesystem as read only
--restart string=no           Restart policy to apply when a container exits
--rm                          Automatically remove the container when it exits
--security-opt list           Security Options
--shm-size bytes              Size of /dev/shm
--stop-signal string          Signal to stop the container
--stop-timeout int            Timeout (in seconds) to stop a container
--sysctl list                 Sysctl options
--tmpfs list                  Mount a tmpfs directory
-t, --tty                     Allocate a pseudo-TTY
--ulimit ulimit               Ulimit options
-u, --user string             Username or UID (format: <name|uid>[:<group|gid>])
-v, --volume list             Bind mount a volume
--uts string                  UTS namespace to use
-w, --workdir string          Working directory inside the container
`;

/** @returns the body of POST /containers/create. */
export function createBody(context: Context, flags: Flags, image: string, command: readonly string[]): JsonObject {
  const { anonymous, binds } = volumes(flags.list('volume'));
  const stdin = flags.on('interactive');
  const labels = keyValues(flags.list('label'));
  const healthcheck = healthcheckOf(flags);
  return {
    Hostname: flags.text('hostname'),
    Domainname: flags.text('domainname'),
    User: flags.text('user'),
    Tty: flags.on('tty'),
    OpenStdin: stdin,
    AttachStdin: stdin,
    StdinOnce: stdin,
    AttachStdout: true,
    AttachStderr: true,
    Env: environmentOf(context, flags, 'env'),
    Cmd: command.length > 0 ? [...command] : null,
    ...(flags.changed('entrypoint') && { Entrypoint: [flags.text('entrypoint')] }),
    Image: image,
    Volumes: Object.fromEntries(anonymous.map((path) => [path, {}])),
    WorkingDir: flags.text('workdir'),
    Labels: labels,
    ExposedPorts: Object.fromEntries(flags.list('expose').map((port) => [withProtocol(port), {}])),
    MacAddress: flags.text('mac-address'),
    ...(healthcheck && { Healthcheck: healthcheck }),
    ...(flags.changed('stop-signal') && { StopSignal: flags.text('stop-signal') }),
    ...(flags.changed('stop-timeout') && { StopTimeout: flags.number('stop-timeout') }),
    HostConfig: { Binds: binds, ...hostConfig(flags) },
    NetworkingConfig: { EndpointsConfig: endpoints(flags) },
  };
}

function hostConfig(flags: Flags): JsonObject {
  const bytes = (name: string): number => (flags.changed(name) ? parseBytes(flags.text(name)) : 0);
  const swap = flags.text('memory-swap');
  const networks = flags.list('network').map((text) => networkOf(text).name);
  return {
    NetworkMode: networks[0] ?? 'default',
    PortBindings: portBindings(flags.list('publish')),
    PublishAllPorts: flags.on('publish-all'),
    RestartPolicy: restartPolicy(flags.text('restart')),
    AutoRemove: flags.on('rm'),
    Annotations: keyValues(flags.list('annotation')),
    CapAdd: flags.list('cap-add'),
    CapDrop: flags.list('cap-drop'),
    DeviceCgroupRules: flags.list('device-cgroup-rule'),
    Devices: flags.list('device').map(parseDevice),
    Dns: flags.list('dns'),
    DnsOptions: flags.list('dns-option'),
    DnsSearch: flags.list('dns-search'),
    ExtraHosts: flags.list('add-host').map((host) => host.replace('=', ':')),
    GroupAdd: flags.list('group-add'),
    IpcMode: flags.text('ipc'),
    LogConfig: { Type: flags.text('log-driver'), Config: keyValues(flags.list('log-opt')) },
    PidMode: flags.text('pid'),
    Privileged: flags.on('privileged'),
    ReadonlyRootfs: flags.on('read-only'),
    SecurityOpt: flags.list('security-opt').map(securityOption),
    Tmpfs: Object.fromEntries(flags.list('tmpfs').map((text) => splitOnce(text, ':'))),
    ShmSize: bytes('shm-size'),
    Sysctls: keyValues(flags.list('sysctl')),
    UTSMode: flags.text('uts'),
    Ulimits: flags.list('ulimit').map(parseUlimit),
    Mounts: flags.list('mount').map(parseMount),
    OomScoreAdj: flags.number('oom-score-adj'),
    PidsLimit: flags.number('pids-limit'),
    CpuPeriod: flags.number('cpu-period'),
    CpuQuota: flags.number('cpu-quota'),
    CpuShares: flags.number('cpu-shares'),
    CpusetCpus: flags.text('cpuset-cpus'),
    CpusetMems: flags.text('cpuset-mems'),
    NanoCpus: flags.changed('cpus') ? parseDecimal(flags.text('cpus')) : 0,
    Memory: bytes('memory'),
    MemoryReservation: bytes('memory-reservation'),
    MemorySwap: swap === '' ? 0 : swap === '-1' ? -1 : parseBytes(swap),
    ...(flags.changed('init') && { Init: flags.on('init') }),
  };
}

const splitOnce = (text: string, by: string): [string, string] => {
  const at = text.indexOf(by);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
};
const withProtocol = (port: string): string => (port.includes('/') ? port : `${port}/tcp`);

/** `-v path` is an anonymous volume; a relative source stands for a path from here. */
function volumes(list: readonly string[]): { anonymous: string[]; binds: string[] } {
  const anonymous = list.filter((text) => !text.includes(':'));
  const binds = list
    .filter((text) => text.includes(':'))
    .map((text) => {
      const [source, rest] = splitOnce(text, ':');
      return `${/^\.{1,2}(\/|$)/.test(source) ? resolve(source) : source}:${rest}`;
    });
  return { anonymous, binds };
}

/** `[[address:]host:]container[/protocol]`, each a port or a range. @throws CommandError. */
export function portBindings(list: readonly string[]): Record<string, JsonObject[]> {
  const bindings: Record<string, JsonObject[]> = {};
  for (const text of list) {
    const [ports, protocol] = splitOnce(text, '/');
    const match = /^(?:(?:(\[[^\]]+\]|[\d.]*):)?([\d-]*):)?([\d-]+)$/.exec(ports);
    if (!match) throw new CommandError(`invalid containerPort: ${text}`);
    const [, address = '', host = '', container = ''] = match;
    const targets = range(container, text);
    const sources = host === '' ? [] : range(host, text);
    if (targets.length > 1 && sources.length > 0 && sources.length !== targets.length) {
      throw new CommandError(`invalid ranges specified for container and host Ports: ${container} and ${host}`);
    }
    for (const [index, target] of targets.entries()) {
      const HostPort = targets.length === 1 ? host : String(sources[index] ?? '');
      const key = `${target}/${protocol || 'tcp'}`;
      bindings[key] = [...(bindings[key] ?? []), { HostIp: address.replace(/^\[|\]$/g, ''), HostPort }];
    }
  }
  return bindings;
}

function range(text: string, whole: string): number[] {
  const [first = '', last = first] = text.split('-');
  const [from, to] = [Number(first), Number(last)];
  if (!/^\d+$/.test(first) || !/^\d+$/.test(last) || to < from || to > 65_535) {
    throw new CommandError(`invalid port range: ${whole}`);
  }
  return Array.from({ length: to - from + 1 }, (_none, index) => from + index);
}

/** `HOST[:CONTAINER][:rwm]`. */
export function parseDevice(text: string): JsonObject {
  const [host = '', second = '', third = '', ...more] = text.split(':');
  const isMode = (word: string): boolean => /^[rwm]{1,3}$/.test(word);
  const [inside, mode] = isMode(second) && third === '' ? [host, second] : [second || host, third || 'rwm'];
  if (host === '' || more.length > 0) throw new CommandError(`invalid device specification: ${text}`);
  if (!isMode(mode)) throw new CommandError(`bad mode specified: ${mode}`);
  if (!inside.startsWith('/')) throw new CommandError(`${inside} is not an absolute path`);
  return { PathOnHost: host, PathInContainer: inside, CgroupPermissions: mode };
}

export function restartPolicy(text: string): JsonObject {
  const [Name, count] = splitOnce(text, ':');
  if (count !== '' && !/^\d+$/.test(count)) throw new CommandError('maximum retry count must be an integer');
  return { Name, MaximumRetryCount: Number(count || '0') };
}

/** `seccomp=<file>` carries the file's JSON. */
function securityOption(option: string): string {
  const [name, value] = splitOnce(option, '=');
  if (name !== 'seccomp' || ['unconfined', 'builtin'].includes(value)) return option;
  try {
    return `seccomp=${JSON.stringify(parseJson(readFileSync(value, 'utf8')))}`;
  } catch (cause) {
    throw new CommandError(`opening seccomp profile (${value}) failed: ${String(cause)}`, 1, { cause });
  }
}

interface NetworkFlag {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly ip: string;
  readonly ip6: string;
  readonly mac: string;
}

/** `name`, or `name=…,alias=…,ip=…,ip6=…,mac-address=…`. */
function networkOf(text: string): NetworkFlag {
  if (!/(^|,)name=/.test(text)) return { name: text, aliases: [], ip: '', ip6: '', mac: '' };
  const fields = text.split(',').map((field) => splitOnce(field, '='));
  const values = (key: string): string[] => fields.filter(([name]) => name === key).map(([, value]) => value);
  const [name = ''] = values('name');
  const [ip = ''] = values('ip');
  const [ip6 = ''] = values('ip6');
  const [mac = ''] = values('mac-address');
  return { name, aliases: values('alias'), ip, ip6, mac };
}

/** The first network also has what `--ip`, `--ip6` and `--network-alias` say. */
function endpoints(flags: Flags): JsonObject {
  const aliases = flags.list('network-alias');
  const given = flags.list('network').map(networkOf);
  const named = given.length > 0 ? given : flags.changed('ip') || flags.changed('ip6') ? [networkOf('default')] : [];
  return Object.fromEntries(
    named.map(({ name, aliases: own, ip, ip6, mac }, index) => {
      const IPv4Address = ip || (index === 0 ? flags.text('ip') : '');
      const IPv6Address = ip6 || (index === 0 ? flags.text('ip6') : '');
      const wanted = { ...(IPv4Address && { IPv4Address }), ...(IPv6Address && { IPv6Address }) };
      const settings: JsonObject = {
        ...(Object.keys(wanted).length > 0 && { IPAMConfig: wanted }),
        Aliases: [...own, ...(index === 0 ? aliases : [])],
        MacAddress: mac,
      };
      return [name, settings];
    }),
  );
}

function healthcheckOf(flags: Flags): JsonObject | undefined {
  const given = ['cmd', 'interval', 'retries', 'start-interval', 'start-period', 'timeout'].some((name) =>
    flags.changed(`health-${name}`),
  );
  if (flags.on('no-healthcheck')) {
    if (given) throw new CommandError('--no-healthcheck conflicts with --health-* options');
    return { Test: ['NONE'] };
  }
  if (!given) return undefined;
  const duration = (name: string): number => (flags.changed(name) ? parseDuration(flags.text(name)) : 0);
  return {
    ...(flags.changed('health-cmd') && { Test: ['CMD-SHELL', flags.text('health-cmd')] }),
    Interval: duration('health-interval'),
    Timeout: duration('health-timeout'),
    StartPeriod: duration('health-start-period'),
    StartInterval: duration('health-start-interval'),
    Retries: flags.number('health-retries'),
  };
}
