/** Facts of the machine, read from where they stand: /proc, /sys, /etc/os-release. */
import { existsSync, readFileSync } from 'node:fs';
import { cpus, release, totalmem } from 'node:os';

/** Go's names of the architectures, by Node's. */
const goArchitectures: Readonly<Record<string, string>> = { x64: 'amd64', ia32: '386', loong64: 'loong64' };
/** The kernel's names (uname -m), by Node's. */
const machineNames: Readonly<Record<string, string>> = { x64: 'x86_64', arm64: 'aarch64', ia32: 'i686' };

export interface Machine {
  readonly kernelVersion: string;
  readonly operatingSystem: string;
  readonly osVersion: string;
  /** `amd64` */
  readonly goArchitecture: string;
  /** `x86_64` */
  readonly architecture: string;
  readonly processors: number;
  /** Bytes. */
  readonly memory: number;
}

export function readMachine(): Machine {
  const osRelease = readOsRelease();
  return {
    kernelVersion: release(),
    operatingSystem: osRelease.PRETTY_NAME ?? 'Linux',
    osVersion: osRelease.VERSION_ID ?? '',
    goArchitecture: goArchitectures[process.arch] ?? process.arch,
    architecture: machineNames[process.arch] ?? process.arch,
    processors: cpus().length,
    memory: totalmem(),
  };
}

function readOsRelease(): Record<string, string> {
  const path = '/etc/os-release';
  if (!existsSync(path)) return {};
  return Object.fromEntries(
    [...readFileSync(path, 'utf8').matchAll(/^(\w+)=(?:"(.*)"|(.*))$/gm)].map(([, name, quoted, plain]) => [
      name ?? '',
      quoted ?? plain ?? '',
    ]),
  );
}

/** What the kernel's cgroup controllers allow, in the members of /info. */
export function readLimits(cgroupVersion: '1' | '2'): Record<string, boolean> {
  const has = cgroupVersion === '2' ? unifiedControllers() : legacyControllers();
  return {
    MemoryLimit: has('memory'),
    SwapLimit:
      has('memory') && (cgroupVersion === '2' || existsSync('/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes')),
    KernelMemory: false,
    KernelMemoryTCP: false,
    CpuCfsPeriod: has('cpu'),
    CpuCfsQuota: has('cpu'),
    CPUShares: has('cpu'),
    CPUSet: has('cpuset'),
    PidsLimit: has('pids'),
    IPv4Forwarding: readFlag('/proc/sys/net/ipv4/ip_forward'),
    BridgeNfIptables: readFlag('/proc/sys/net/bridge/bridge-nf-call-iptables'),
    BridgeNfIp6tables: readFlag('/proc/sys/net/bridge/bridge-nf-call-ip6tables'),
    OomKillDisable: cgroupVersion === '1' && has('memory'),
  };
}

function unifiedControllers(): (controller: string) => boolean {
  const path = '/sys/fs/cgroup/cgroup.controllers';
  const controllers = existsSync(path) ? readFileSync(path, 'utf8').trim().split(' ') : [];
  return (controller) => controllers.includes(controller);
}

/** /proc/cgroups: `name hierarchy cgroups enabled`. */
function legacyControllers(): (controller: string) => boolean {
  const lines = existsSync('/proc/cgroups') ? readFileSync('/proc/cgroups', 'utf8').split('\n') : [];
  return (controller) => lines.some((line) => new RegExp(`^${controller}\\s.*\\s1$`).test(line));
}

function readFlag(path: string): boolean {
  return existsSync(path) && readFileSync(path, 'utf8').trim() === '1';
}
