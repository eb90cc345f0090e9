/** A container as `docker inspect` shows it, with every field that Docker always sends. */
import { join } from 'node:path';
import type { Container } from './container.ts';
import { driverName } from './images/documents.ts';
import { commandOf } from './oci/process.ts';
import { maskedPaths, readonlyPaths } from './oci/spec.ts';
import type { ContainerRecord } from './state.ts';
import type { ContainerInspect, HostConfig } from './types.ts';

/** @returns Docker's HostConfig: what Skein honours, and Docker's defaults for the rest. */
function fullHostConfig(host: HostConfig, cgroupVersion: '1' | '2'): Record<string, unknown> {
  const orNull = <Item>(list: readonly Item[]): readonly Item[] | null => (list.length > 0 ? list : null);
  return {
    Binds: host.Binds?.length ? host.Binds : null,
    ContainerIDFile: '',
    LogConfig: { Type: host.LogConfig.Type || 'json-file', Config: host.LogConfig.Config },
    NetworkMode: host.NetworkMode || 'default',
    PortBindings: host.PortBindings ?? {},
    RestartPolicy: host.RestartPolicy ?? { Name: '', MaximumRetryCount: 0 },
    AutoRemove: host.AutoRemove ?? false,
    VolumeDriver: '',
    VolumesFrom: null,
    CapAdd: orNull(host.CapAdd),
    CapDrop: orNull(host.CapDrop),
    CgroupnsMode: cgroupVersion === '2' ? 'private' : 'host',
    Dns: host.Dns ?? null,
    DnsOptions: host.DnsOptions ?? null,
    DnsSearch: host.DnsSearch ?? null,
    ExtraHosts: host.ExtraHosts?.length ? host.ExtraHosts : null,
    GroupAdd: orNull(host.GroupAdd),
    IpcMode: host.IpcMode || 'private',
    Cgroup: '',
    Links: null,
    OomScoreAdj: host.OomScoreAdj,
    PidMode: host.PidMode ?? '',
    Privileged: host.Privileged ?? false,
    PublishAllPorts: host.PublishAllPorts ?? false,
    ReadonlyRootfs: host.ReadonlyRootfs,
    SecurityOpt: orNull(host.SecurityOpt),
    UTSMode: host.UTSMode ?? '',
    UsernsMode: '',
    ShmSize: host.ShmSize,
    ...(Object.keys(host.Sysctls).length > 0 && { Sysctls: host.Sysctls }),
    Runtime: 'runc',
    ConsoleSize: [0, 0],
    Isolation: 'default',
    CpuShares: host.CpuShares ?? 0,
    Memory: host.Memory,
    NanoCpus: host.NanoCpus,
    CgroupParent: '',
    BlkioWeight: 0,
    BlkioWeightDevice: null,
    BlkioDeviceReadBps: null,
    BlkioDeviceWriteBps: null,
    BlkioDeviceReadIOps: null,
    BlkioDeviceWriteIOps: null,
    CpuPeriod: host.CpuPeriod ?? 0,
    CpuQuota: host.CpuQuota ?? 0,
    CpuRealtimePeriod: 0,
    CpuRealtimeRuntime: 0,
    CpusetCpus: host.CpusetCpus ?? '',
    CpusetMems: host.CpusetMems ?? '',
    Devices: orNull(host.Devices ?? []),
    DeviceCgroupRules: orNull(host.DeviceCgroupRules ?? []),
    DeviceRequests: null,
    KernelMemory: 0,
    KernelMemoryTCP: 0,
    MemoryReservation: host.MemoryReservation,
    MemorySwap: host.MemorySwap ?? (host.Memory > 0 ? 2 * host.Memory : 0),
    MemorySwappiness: null,
    OomKillDisable: false,
    PidsLimit: host.PidsLimit > 0 ? host.PidsLimit : null,
    Ulimits: host.Ulimits,
    CpuCount: 0,
    CpuPercent: 0,
    IOMaximumIOps: 0,
    IOMaximumBandwidth: 0,
    ...(host.Mounts.length > 0 && { Mounts: host.Mounts }),
    MaskedPaths: host.Privileged ? null : maskedPaths,
    ReadonlyPaths: host.Privileged ? null : readonlyPaths,
    ...(Object.keys(host.Annotations ?? {}).length > 0 && { Annotations: host.Annotations }),
    Init: host.Init,
  };
}

function fullConfig({ config }: ContainerRecord): ContainerInspect['Config'] {
  const { StopSignal, StopTimeout, Healthcheck, ExposedPorts } = config;
  return {
    Hostname: config.Hostname,
    Domainname: config.Domainname ?? '',
    User: config.User,
    AttachStdin: false,
    AttachStdout: false,
    AttachStderr: false,
    ...(ExposedPorts && { ExposedPorts }),
    Tty: config.Tty,
    OpenStdin: config.OpenStdin,
    StdinOnce: config.StdinOnce ?? false,
    Env: config.Env.length > 0 ? config.Env : null,
    Cmd: config.Cmd,
    ...(Healthcheck && { Healthcheck }),
    Image: config.Image,
    Volumes: config.Volumes,
    WorkingDir: config.WorkingDir,
    Entrypoint: config.Entrypoint,
    OnBuild: null,
    Labels: config.Labels,
    ...(StopSignal && { StopSignal }),
    ...(StopTimeout !== undefined && { StopTimeout }),
  };
}

/** @returns everything but sizes. */
export function inspectContainer(
  container: Container,
  surroundings: {
    directory: string;
    execIds: readonly string[];
    cgroupVersion: '1' | '2';
    graphDriver: Record<string, string> | null;
  },
): ContainerInspect {
  const { record } = container;
  const [path, ...args] = commandOf(record.config);
  const { directory, execIds } = surroundings;
  return {
    Id: record.id,
    Created: record.created,
    Path: path,
    Args: args,
    State: structuredClone(record.state),
    Image: record.imageId,
    ResolvConfPath: join(directory, 'resolv.conf'),
    HostnamePath: join(directory, 'hostname'),
    HostsPath: join(directory, 'hosts'),
    LogPath: record.hostConfig.LogConfig.Type === 'none' ? '' : container.logPath,
    Name: `/${record.name}`,
    RestartCount: record.restartCount,
    Driver: driverName,
    Platform: 'linux',
    MountLabel: '',
    ProcessLabel: '',
    AppArmorProfile: '',
    ExecIDs: execIds.length > 0 ? [...execIds] : null,
    HostConfig: fullHostConfig(record.hostConfig, surroundings.cgroupVersion),
    GraphDriver: { Data: surroundings.graphDriver, Name: driverName },
    Mounts: record.mountPoints,
    Config: fullConfig(record),
    networkNamespace: record.networkNamespace,
  };
}
