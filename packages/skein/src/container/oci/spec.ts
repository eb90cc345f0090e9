/** A container's OCI runtime specification: Docker's defaults (moby daemon/pkg/oci, daemon/oci_linux.go) and its wishes. */
import { SkeinError } from '../../common/index.ts';
import { groupAnnotation } from '../containerd/shim-groups.ts';
import { initPath } from '../init.ts';
import type { HostConfig } from '../types.ts';
import { capabilitiesOf } from './capabilities.ts';
import type { GivenDevices } from './devices.ts';
import { commandOf, environmentOf, type ResolvedConfig, resourceLimits } from './process.ts';
import { defaultSeccomp } from './seccomp.ts';
import type { OciMount, OciResources, OciSpec, OciUser } from './types.ts';

/** The version of the specification that runc 1.1 knows whole. */
const ociVersion = '1.0.2';
/** moby daemon/pkg/oci: defaultLinuxMaskedPaths, as of 20.10. */
export const maskedPaths: readonly string[] = [
  '/proc/asound',
  '/proc/acpi',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/sys/firmware',
];
export const readonlyPaths: readonly string[] = [
  '/proc/bus',
  '/proc/fs',
  '/proc/irq',
  '/proc/sys',
  '/proc/sysrq-trigger',
];
/** CFS period in microseconds that NanoCpus is a quota of (moby daemon/daemon_unix.go: 100 ms). */
const cpuPeriod = 100_000;
const nanoCpusPerCpu = 1e9;
/** In a network namespace of its own everybody may ping and bind low ports (moby daemon/oci_linux.go, since 20.10). */
const networkSysctls = {
  'net.ipv4.ip_unprivileged_port_start': '0',
  'net.ipv4.ping_group_range': '0 2147483647',
};

/** @returns cgroup limits, without devices. Swap defaults to twice the memory, as Docker's; a kernel that cannot limit it is not asked to. */
export function resourcesOf(host: HostConfig, kernel: { swapLimit: boolean }): OciResources {
  const resources: OciResources = {};
  if (host.Memory > 0) {
    const swap = host.MemorySwap === undefined || host.MemorySwap === 0 ? 2 * host.Memory : host.MemorySwap;
    resources.memory = { limit: host.Memory, ...(kernel.swapLimit && { swap }) };
  }
  if (host.MemoryReservation > 0) resources.memory = { ...resources.memory, reservation: host.MemoryReservation };
  if (host.NanoCpus > 0) {
    resources.cpu = { period: cpuPeriod, quota: Math.floor((host.NanoCpus * cpuPeriod) / nanoCpusPerCpu) };
  } else if (host.CpuQuota) {
    resources.cpu = { period: host.CpuPeriod || cpuPeriod, quota: host.CpuQuota };
  }
  if (host.CpuShares) resources.cpu = { ...resources.cpu, shares: host.CpuShares };
  if (host.CpusetCpus) resources.cpu = { ...resources.cpu, cpus: host.CpusetCpus };
  if (host.CpusetMems) resources.cpu = { ...resources.cpu, mems: host.CpusetMems };
  if (host.PidsLimit > 0) resources.pids = { limit: host.PidsLimit };
  return resources;
}

/** @returns whether the container's processes get less CPU time than they may want. */
export function isThrottled(host: HostConfig): boolean {
  return host.NanoCpus > 0 || (host.CpuQuota ?? 0) > 0;
}

interface SecurityOptions {
  seccomp: boolean;
  noNewPrivileges: boolean;
}

/** Reads `--security-opt`. @throws SkeinError InvalidArgument for one that Skein cannot honour. */
export function securityOptions(options: readonly string[]): SecurityOptions {
  const result: SecurityOptions = { seccomp: true, noNewPrivileges: false };
  for (const option of options) {
    const [, name = '', value = ''] = /^([^=:]+)[=:]?(.*)$/.exec(option) ?? [];
    if (name === 'no-new-privileges') result.noNewPrivileges = value === '' || value === 'true';
    else if (name === 'seccomp' && value === 'unconfined') result.seccomp = false;
    else if (!(name === 'seccomp' && value === 'builtin') && !(name === 'apparmor' && value === 'unconfined')) {
      throw new SkeinError(
        'InvalidArgument',
        `invalid --security-opt: "${option}": skein has its built-in seccomp profile only`,
      );
    }
  }
  return result;
}

/** The host's are shared by not asking for others. */
function namespaces(
  host: HostConfig,
  networkNamespace: string,
  cgroupVersion: '1' | '2',
): { type: string; path?: string }[] {
  const list: { type: string; path?: string }[] = [{ type: 'mount' }];
  if (host.UTSMode !== 'host') list.push({ type: 'uts' });
  if (host.PidMode !== 'host') list.push({ type: 'pid' });
  if (host.IpcMode !== 'host') list.push({ type: 'ipc' });
  if (networkNamespace !== '') list.push({ type: 'network', path: networkNamespace });
  if (cgroupVersion === '2') list.push({ type: 'cgroup' });
  return list;
}

/** @returns the specification of the container's first process and its surroundings. */
export function containerSpec(options: {
  config: ResolvedConfig;
  hostConfig: HostConfig;
  user: OciUser;
  mounts: OciMount[];
  devices: GivenDevices;
  networkNamespace: string;
  /** Of the shim: a group's, or the container's own ID. */
  shimGroup: string;
  cgroupsPath: string;
  cgroupVersion: '1' | '2';
  /** Whether the kernel can limit swap. */
  swapLimit: boolean;
}): OciSpec {
  const { config, hostConfig: host, user } = options;
  const capabilities = capabilitiesOf(host);
  const held = user.uid === 0 ? capabilities : [];
  const security = securityOptions(host.SecurityOpt);
  return {
    ociVersion,
    process: {
      terminal: config.Tty,
      user: { uid: user.uid, gid: user.gid, additionalGids: user.additionalGids },
      args: host.Init ? [initPath, '--', ...commandOf(config)] : commandOf(config),
      env: environmentOf({ hostname: config.Hostname, tty: config.Tty, env: config.Env }),
      cwd: config.WorkingDir || '/',
      capabilities: { bounding: capabilities, effective: held, permitted: held, inheritable: [] },
      rlimits: resourceLimits(host.Ulimits),
      noNewPrivileges: security.noNewPrivileges,
      oomScoreAdj: host.OomScoreAdj,
    },
    root: { path: 'rootfs', readonly: host.ReadonlyRootfs },
    ...(host.UTSMode !== 'host' && { hostname: config.Hostname }),
    mounts: options.mounts,
    annotations: { ...host.Annotations, [groupAnnotation]: options.shimGroup },
    linux: {
      namespaces: namespaces(host, options.networkNamespace, options.cgroupVersion),
      cgroupsPath: options.cgroupsPath,
      devices: options.devices.devices,
      resources: { ...resourcesOf(host, options), devices: options.devices.rules },
      sysctl: options.networkNamespace === '' ? host.Sysctls : { ...networkSysctls, ...host.Sysctls },
      maskedPaths: host.Privileged ? [] : [...maskedPaths],
      readonlyPaths: host.Privileged ? [] : [...readonlyPaths],
      ...(security.seccomp && !host.Privileged && { seccomp: defaultSeccomp(capabilities) }),
    },
  };
}
