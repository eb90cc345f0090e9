/** Capabilities as Docker gives them (moby daemon/pkg/oci/caps). */
import { readFileSync } from 'node:fs';
import { SkeinError } from '../../common/index.ts';
import type { HostConfig } from '../types.ts';

/** All that Linux has, in the order of their numbers (linux/capability.h). */
const all =
  `CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
  NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
  SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
  MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE`
    .split(/\s+/)
    .map((name) => `CAP_${name}`);

/** What a container has without asking. */
export const defaultCapabilities: readonly string[] =
  'CHOWN DAC_OVERRIDE FSETID FOWNER MKNOD NET_RAW SETGID SETUID SETFCAP SETPCAP NET_BIND_SERVICE SYS_CHROOT KILL AUDIT_WRITE'
    .split(' ')
    .map((name) => `CAP_${name}`);

const known = new Set(all);

/** @returns `CAP_NET_ADMIN` for `net_admin`, `NET_ADMIN` or `CAP_NET_ADMIN`; `ALL` for itself. @throws SkeinError InvalidArgument. */
function normalize(name: string): string {
  const upper = name.toUpperCase();
  if (upper === 'ALL') return upper;
  const full = upper.startsWith('CAP_') ? upper : `CAP_${upper}`;
  if (!known.has(full)) throw new SkeinError('InvalidArgument', `invalid capability: "${name}"`);
  return full;
}

/** @returns the capabilities that a container's processes have at most. */
export function capabilitiesOf(host: Pick<HostConfig, 'CapAdd' | 'CapDrop' | 'Privileged'>): string[] {
  return host.Privileged ? availableCapabilities() : containerCapabilities(host.CapAdd, host.CapDrop);
}

/**
 * @param host null for none, as `inspect` has it.
 * @returns whether a container's processes may have packet filters of their own in its network.
 */
export function mayFilterPackets({
  CapAdd: add,
  CapDrop: drop,
  Privileged,
}: {
  readonly CapAdd: readonly string[] | null;
  readonly CapDrop: readonly string[] | null;
  readonly Privileged?: boolean;
}): boolean {
  return Privileged || containerCapabilities(add ?? [], drop ?? []).includes('CAP_NET_ADMIN');
}

/** @returns the capabilities of a container: the default ones, more by `--cap-add`, fewer by `--cap-drop`. */
export function containerCapabilities(add: readonly string[], drop: readonly string[]): string[] {
  const added = add.map(normalize);
  const dropped = new Set(drop.map(normalize));
  if (added.includes('ALL')) return availableCapabilities().filter((name) => !dropped.has(name));
  const base = dropped.has('ALL') ? [] : defaultCapabilities.filter((name) => !dropped.has(name));
  return [...new Set([...base, ...added.filter((name) => !dropped.has(name) || dropped.has('ALL'))])];
}

/**
 * @returns all capabilities that this daemon can give: a machine's own sandbox may lack some, and runc fails with one
 * that it does not have.
 */
export function availableCapabilities(): string[] {
  const mask = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1];
  const held = BigInt(`0x${mask ?? '0'}`);
  return all.filter((_name, number) => ((held >> BigInt(number)) & 1n) === 1n);
}
