/** The body of POST /containers/create: a container's config, its host config, and its places on networks. */
import { isIPv6 } from 'node:net';
import * as z from 'zod';
import type { ContainerConfig, Healthcheck, HostConfig, MountSpec } from '../../container/types.ts';
import type { EndpointRequest, PlainContainerCreate } from '../../local/types.ts';
import { invalid, notBuilt } from '../errors.ts';
import { goBool, goInt, goMap, goString, goStrings, goStruct } from '../schema.ts';

/** Docker's default size of /dev/shm (moby daemon/config: DefaultShmSize). */
const defaultShmBytes = 64 * 1024 * 1024;

const integer = goInt.default(0);
/** null and [] are the same in Go; null means the image's. */
const command = z
  .union([z.string().transform((word) => [word]), z.array(z.string())])
  .nullish()
  .transform((words) => words ?? null);
const strings = goStrings.nullish().transform((list) => list ?? []);
const map = goMap.nullish().transform((value) => value ?? {});
const set = z
  .record(z.string(), z.unknown())
  .nullish()
  .transform((keys) => Object.fromEntries(Object.keys(keys ?? {}).map((key) => [key, {}])));

const healthcheck = goStruct({
  Test: strings,
  Interval: integer,
  Timeout: integer,
  StartPeriod: integer,
  StartInterval: integer,
  Retries: integer,
});

const mount = goStruct({
  Type: goString,
  Source: goString,
  Target: goString,
  ReadOnly: goBool,
  BindOptions: goStruct({ Propagation: goString, NonRecursive: goBool, CreateMountpoint: goBool }),
  TmpfsOptions: goStruct({ SizeBytes: integer, Mode: integer }),
});

const restartPolicy = goStruct({ Name: goString, MaximumRetryCount: integer });

const hostConfig = goStruct({
  Binds: strings,
  LogConfig: goStruct({ Type: goString, Config: map }),
  NetworkMode: goString,
  PortBindings: z
    .record(z.string(), z.array(goStruct({ HostIp: goString, HostPort: goString })).nullable())
    .nullish()
    .transform((ports) => ports ?? {}),
  RestartPolicy: restartPolicy,
  AutoRemove: goBool,
  VolumesFrom: strings,
  CapAdd: strings,
  CapDrop: strings,
  CgroupnsMode: goString,
  Dns: strings,
  DnsOptions: strings,
  DnsSearch: strings,
  ExtraHosts: strings,
  GroupAdd: strings,
  IpcMode: goString,
  Links: strings,
  OomScoreAdj: integer,
  PidMode: goString,
  Privileged: goBool,
  PublishAllPorts: goBool,
  ReadonlyRootfs: goBool,
  SecurityOpt: strings,
  StorageOpt: map,
  Tmpfs: map,
  UTSMode: goString,
  UsernsMode: goString,
  ShmSize: integer,
  Sysctls: map,
  Runtime: goString,
  CpuShares: integer,
  Memory: integer,
  NanoCpus: integer,
  CpuPeriod: integer,
  CpuQuota: integer,
  CpusetCpus: goString,
  CpusetMems: goString,
  Annotations: map,
  DeviceCgroupRules: strings,
  Devices: z
    .array(goStruct({ PathOnHost: goString, PathInContainer: goString, CgroupPermissions: goString }))
    .nullish()
    .transform((devices) => devices ?? []),
  DeviceRequests: z.array(z.unknown()).nullish(),
  MemoryReservation: integer,
  MemorySwap: integer,
  PidsLimit: z
    .number()
    .int()
    .nullish()
    .transform((limit) => limit ?? 0),
  Ulimits: z
    .array(goStruct({ Name: goString, Soft: integer, Hard: integer }))
    .nullish()
    .transform((limits) => limits ?? []),
  Mounts: z
    .array(mount)
    .nullish()
    .transform((mounts) => mounts ?? []),
  Init: z.boolean().nullish(),
});

/** Docker's EndpointSettings, as far as a user gives them. */
export const endpointSettings = goStruct({
  IPAMConfig: goStruct({ IPv4Address: goString, IPv6Address: goString }),
  Links: strings,
  Aliases: strings,
  MacAddress: goString,
});

export const containerCreateBody = goStruct({
  Hostname: goString,
  Domainname: goString,
  User: goString,
  ExposedPorts: set,
  Tty: goBool,
  OpenStdin: goBool,
  StdinOnce: goBool,
  Env: strings,
  Cmd: command,
  Healthcheck: healthcheck.optional(),
  Image: goString,
  Volumes: set,
  WorkingDir: goString,
  Entrypoint: command,
  MacAddress: goString,
  Labels: map,
  StopSignal: goString,
  StopTimeout: goInt.nullish(),
  HostConfig: hostConfig,
  NetworkingConfig: goStruct({
    EndpointsConfig: z
      .record(z.string(), endpointSettings.nullable())
      .nullish()
      .transform((networks) => networks ?? {}),
  }),
});

type Body = z.infer<typeof containerCreateBody>;
type HostBody = Body['HostConfig'];

/** @returns what one network is asked for. @throws SkeinError Unimplemented for links. */
export function endpointRequest(settings: z.infer<typeof endpointSettings> | null, mac = ''): EndpointRequest {
  const ipv6Address = settings?.IPAMConfig.IPv6Address ?? '';
  if (ipv6Address !== '' && !isIPv6(ipv6Address)) throw invalid(`invalid IPv6 address: ${ipv6Address}`);
  if (settings?.Links.length) throw notBuilt('Skein has no links: use a network and names.');
  return {
    aliases: settings?.Aliases ?? [],
    ipv4Address: settings?.IPAMConfig.IPv4Address ?? '',
    ipv6Address,
    mac: settings?.MacAddress || mac,
  };
}

/** The API version with health checks' StartInterval; before it is not looked at (moby daemon/server/router). */
export const startIntervalSince = 44;

/** @param name '' = made up. @throws SkeinError InvalidArgument, Unimplemented for what Skein does not have. */
export function plainContainer(name: string, body: Body, apiVersion: number): PlainContainerCreate {
  if (body.Healthcheck !== undefined && apiVersion < startIntervalSince) body.Healthcheck.StartInterval = 0;
  refuseUnbuilt(body.HostConfig);
  if (body.HostConfig.UTSMode === 'host' && body.Hostname !== '')
    throw invalid('conflicting options: hostname and the UTS mode');
  if (body.Image === '') throw invalid('no command specified');
  const named = Object.entries(body.NetworkingConfig.EndpointsConfig);
  const networks = new Map(named.map(([network, settings]) => [network, endpointRequest(settings, body.MacAddress)]));
  const first = body.HostConfig.NetworkMode || 'default';
  if (body.MacAddress !== '' && !networks.has(first)) networks.set(first, endpointRequest(null, body.MacAddress));
  return { name, config: configOf(body), hostConfig: hostConfigOf(body.HostConfig), networks };
}

function configOf(body: Body): ContainerConfig {
  const { HostConfig: _host, NetworkingConfig: _networks, MacAddress: _mac, ...config } = body;
  const { Healthcheck, StopTimeout, StopSignal, ExposedPorts, Volumes, ...rest } = config;
  return {
    ...rest,
    ExposedPorts: { ...ExposedPorts, ...publishedKeys(body.HostConfig) },
    Volumes,
    ...(Healthcheck && isGiven(Healthcheck) && { Healthcheck: healthcheckOf(Healthcheck) }),
    ...(StopTimeout !== undefined && StopTimeout !== null && { StopTimeout }),
    ...(StopSignal !== '' && { StopSignal }),
  };
}

/** Shorter durations are refused (moby api/types/container: MinimumDuration), in nanoseconds. */
const minimumDuration = 1_000_000;

const isGiven = ({ Test, ...numbers }: z.infer<typeof healthcheck>): boolean =>
  Test.length > 0 || Object.values(numbers).some((number) => number !== 0);

/** As Docker writes it: what is zero is left out. @throws SkeinError InvalidArgument in Docker's words. */
function healthcheckOf({ Test, Retries, ...durations }: z.infer<typeof healthcheck>): Healthcheck {
  if (Retries < 0) throw invalid('Retries in Healthcheck cannot be negative');
  const given = Object.entries(durations).filter(([, duration]) => duration !== 0);
  const short = given.find(([, duration]) => duration < minimumDuration);
  if (short !== undefined) throw invalid(`${short[0]} in Healthcheck cannot be less than 1ms`);
  return { Test, ...Object.fromEntries(given), ...(Retries > 0 && { Retries }) };
}

function publishedKeys({ PortBindings }: HostBody): Record<string, object> {
  return Object.fromEntries(Object.keys(PortBindings).map((key) => [key.includes('/') ? key : `${key}/tcp`, {}]));
}

function hostConfigOf(host: HostBody): HostConfig {
  const { Init, LogConfig, MemorySwap, DeviceRequests: _, ...rest } = host;
  return {
    ...rest,
    NetworkMode: host.NetworkMode || 'default',
    Mounts: [
      ...host.Binds.map(bindMount),
      ...Object.entries(host.Tmpfs).map(([path, options]) => tmpfsMount(path, options)),
      ...host.Mounts.map(mountSpec),
    ],
    ...(MemorySwap !== 0 && { MemorySwap }),
    Init: Init ?? false,
    ShmSize: host.ShmSize || defaultShmBytes,
    LogConfig: { Type: LogConfig.Type || 'json-file', Config: LogConfig.Config },
  };
}

/** `source:target[:options]`; a source that is no path is a volume's name. A missing bind source is made, as Docker does. */
function bindMount(bind: string): MountSpec {
  const [source = '', target = '', options = '', ...more] = bind.split(':');
  if (source === '' || target === '' || more.length > 0) throw invalid(`invalid volume specification: '${bind}'`);
  const words = options.split(',').filter(Boolean);
  const unknown = words.find(
    (word) => !['ro', 'rw', 'z', 'Z', 'nocopy'].includes(word) && !propagations.includes(word),
  );
  if (unknown !== undefined) throw invalid(`invalid volume specification: '${bind}': invalid mode: ${options}`);
  const common = { Source: source, Target: target, ReadOnly: words.includes('ro') };
  if (!source.startsWith('/')) return { Type: 'volume', ...common };
  const Propagation = words.find((word) => propagations.includes(word)) ?? 'rprivate';
  return { Type: 'bind', ...common, BindOptions: { Propagation, CreateMountpoint: true } };
}

const propagations = ['private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave'];

/** `--tmpfs path:size=64m,mode=1770`. */
function tmpfsMount(path: string, options: string): MountSpec {
  const TmpfsOptions: NonNullable<MountSpec['TmpfsOptions']> = {};
  for (const option of options.split(',')) {
    const [name = '', value = ''] = option.split('=');
    if (name === 'size') TmpfsOptions.SizeBytes = bytesOf(value);
    if (name === 'mode') TmpfsOptions.Mode = Number.parseInt(value, 8);
  }
  return { Type: 'tmpfs', Target: path, ReadOnly: options.split(',').includes('ro'), TmpfsOptions };
}

function bytesOf(text: string): number {
  const [, digits = '', unit = ''] = /^(\d+)([kmg]?)$/i.exec(text) ?? [];
  const factors: Readonly<Record<string, number>> = { '': 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 };
  if (digits === '') throw invalid(`invalid size of a tmpfs: "${text}"`);
  return Number(digits) * (factors[unit.toLowerCase()] ?? 1);
}

function mountSpec({
  Type,
  Source,
  Target,
  ReadOnly,
  BindOptions,
  TmpfsOptions,
}: HostBody['Mounts'][number]): MountSpec {
  const common = { Target, ReadOnly, ...(Source !== '' && { Source }) };
  switch (Type) {
    case 'bind':
      return { Type, ...common, BindOptions };
    case 'volume':
      return { Type, ...common };
    case 'tmpfs': {
      const { SizeBytes, Mode } = TmpfsOptions;
      return { Type, ...common, TmpfsOptions: { ...(SizeBytes > 0 && { SizeBytes }), ...(Mode > 0 && { Mode }) } };
    }
    default:
      throw invalid(`invalid mount config for type "${Type}": mount type unknown`);
  }
}

function refuseUnbuilt(host: HostBody): void {
  const isKnown = (mode: string): boolean => ['', 'private', 'host'].includes(mode);
  if (host.DeviceRequests?.length)
    throw notBuilt('Skein has no device drivers for --gpus: give the devices themselves with --device.');
  if (!isKnown(host.PidMode)) throw notBuilt(`Skein has no --pid ${host.PidMode}: private or host.`);
  if (!isKnown(host.IpcMode) && host.IpcMode !== 'shareable') throw notBuilt(`Skein has no --ipc ${host.IpcMode}.`);
  if (!isKnown(host.UTSMode)) throw notBuilt(`Skein has no --uts ${host.UTSMode}.`);
  if (host.UsernsMode !== '' && host.UsernsMode !== 'host') throw notBuilt('Skein has no user namespaces.');
  if (host.VolumesFrom.length > 0) throw notBuilt('Skein has no --volumes-from: name the volumes.');
  if (host.Links.length > 0) throw notBuilt('Skein has no links: use a network and names.');
  if (Object.keys(host.StorageOpt).length > 0) throw notBuilt('Skein has no storage options.');
  if (!['', 'runc', 'io.containerd.runc.v2'].includes(host.Runtime))
    throw invalid(`unknown or invalid runtime name: ${host.Runtime}`);
  const { Name, MaximumRetryCount } = host.RestartPolicy;
  if (!['', 'no', 'always', 'unless-stopped', 'on-failure'].includes(Name))
    throw invalid(`invalid restart policy '${Name}'`);
  if (host.AutoRemove && !['', 'no'].includes(Name))
    throw invalid("can't create 'AutoRemove' container with restart policy");
  if (MaximumRetryCount > 0 && Name !== 'on-failure') {
    throw invalid(`maximum retry count cannot be used with restart policy '${Name}'`);
  }
}
