/** Who has a port of this host: for the message to whoever wanted it. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { isIPv6 } from 'node:net';
import { endianness } from 'node:os';
import { hasCode, type NetworkNamespace, normalizeAddress } from '@skein/netlink';
import { overlap, type PortPlace } from './port-place.ts';

/** Columns of /proc/net/tcp and udp: local address, state, inode. */
const column = { local: 1, state: 3, inode: 9 } as const;
const wordBytes = 4;
/** States in which a socket holds its port: TCP_LISTEN; a UDP socket is 07 while unconnected, too. */
const holding: readonly string[] = ['0A', '07'];

/** @returns `nginx (process 123)`, or undefined if nobody is found. SCTP sockets are not looked for. */
export function holderOf(host: NetworkNamespace, { protocol, address, port }: PortPlace): string | undefined {
  const isTaken = (local: string): boolean => overlap(local, address);
  const inodes = host.run(() =>
    isIPv6(address)
      ? socketsAt(`${protocol}6`, port, isTaken)
      : // One of IPv6 has the port of IPv4, too, unless it says otherwise.
        [...socketsAt(protocol, port, isTaken), ...socketsAt(`${protocol}6`, port, () => true)],
  );
  if (inodes.length === 0) return undefined;
  const links = new Set(inodes.map((inode) => `socket:[${inode}]`));
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    if (descriptors(pid).some((link) => links.has(link))) return `${nameOf(pid)} (process ${pid})`;
  }
  return 'a process that is not visible from here';
}

function socketsAt(table: string, port: number, isThere: (address: string) => boolean): string[] {
  const lines = tolerant(() => readFileSync(`/proc/thread-self/net/${table}`, 'utf8').split('\n').slice(1)) ?? [];
  return lines.flatMap((line) => {
    const fields = line.trim().split(/\s+/);
    const [address = '', local = ''] = (fields[column.local] ?? '').split(':');
    const isHolder = Number.parseInt(local, 16) === port && holding.includes(fields[column.state] ?? '');
    if (!isThere(plainAddress(address))) return [];
    return isHolder ? [fields[column.inode] ?? ''] : [];
  });
}

/** The kernel prints an address as numbers of four bytes in the machine's byte order: one for IPv4, four for IPv6. */
function plainAddress(hexadecimal: string): string {
  const bytes = Buffer.from(hexadecimal, 'hex');
  if (bytes.length === 0 || bytes.length % wordBytes !== 0) return '';
  const ordered = endianness() === 'LE' ? bytes.swap32() : bytes;
  if (ordered.length === wordBytes) return [...ordered].join('.');
  return normalizeAddress((ordered.toString('hex').match(/.{4}/g) ?? []).join(':'));
}

function descriptors(pid: string): string[] {
  const names = tolerant(() => readdirSync(`/proc/${pid}/fd`)) ?? [];
  return names.flatMap((name) => tolerant(() => readlinkSync(`/proc/${pid}/fd/${name}`)) ?? []);
}

function nameOf(pid: string): string {
  return tolerant(() => readFileSync(`/proc/${pid}/comm`, 'utf8').trim()) ?? 'a process';
}

/** Processes end while one looks, and kernels differ in what they have. */
function tolerant<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (hasCode(error, 'ENOENT', 'ESRCH', 'EACCES', 'EPERM', 'ENOTDIR', 'EINVAL')) return undefined;
    throw error;
  }
}
