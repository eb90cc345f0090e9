import { isIPv4, isIPv6, SocketAddress } from 'node:net';

/** In the names that node:net has for them. */
export type Family = 'IPv4' | 'IPv6';

/**
 * An address as a number of 128 bits. Those of IPv4 are in ::ffff:0:0/96 (RFC 4291 section 2.5.5.2), so that no two
 * addresses share a number, and the arithmetic is one.
 */
export type Address = bigint;

const mappedPrefix = 0xffffn;
const ipv4Bits = 32;
const ipv6Bits = 128;
const groupBits = 16n;
const groupCount = 8;

/** A subnet of either family. */
export interface Subnet {
  /** The network's own address. */
  readonly base: Address;
  /** In the family's own terms: 0 to 32, or to 128. */
  readonly prefix: number;
}

/** @returns an address as a number, undefined if malformed. */
export function parseAddress(text: string): Address | undefined {
  if (isIPv4(text)) return text.split('.').reduce((value, part) => (value << 8n) | BigInt(part), mappedPrefix);
  return isIPv6(text) && !text.includes('%') ? parseIpv6(text) : undefined;
}

function parseIpv6(text: string): Address | undefined {
  const canonical = new SocketAddress({ address: text, family: 'ipv6' }).address;
  // What has an IPv4 part is of IPv4 (::ffff:10.0.0.1), or of a form that nobody uses any more.
  const dotted = canonical.startsWith('::ffff:') ? canonical.slice('::ffff:'.length) : '';
  if (canonical.includes('.')) return isIPv4(dotted) ? parseAddress(dotted) : undefined;
  const [head = [], tail = []] = canonical.split('::').map((half) => (half === '' ? [] : half.split(':')));
  const zeros = Array.from({ length: groupCount - head.length - tail.length }, () => '0');
  return [...head, ...zeros, ...tail].reduce((value, group) => (value << groupBits) | BigInt(`0x${group}`), 0n);
}

export function familyOf(address: Address): Family {
  return address >> BigInt(ipv4Bits) === mappedPrefix ? 'IPv4' : 'IPv6';
}

export function formatAddress(address: Address): string {
  if (familyOf(address) === 'IPv4')
    return [24n, 16n, 8n, 0n].map((shift) => String((address >> shift) & 0xffn)).join('.');
  const groups = Array.from({ length: groupCount }, (_, index) =>
    ((address >> (groupBits * BigInt(groupCount - 1 - index))) & 0xffffn).toString(16),
  );
  return new SocketAddress({ address: groups.join(':'), family: 'ipv6' }).address;
}

/** @returns the subnet of `a.b.c.d/n` or `a:b::/n` (host bits are dropped, as Go's ParseCIDR does), undefined if malformed. */
export function parseSubnet(text: string): Subnet | undefined {
  const match = /^([0-9a-fA-F.:]+)\/(\d{1,3})$/.exec(text);
  const address = parseAddress(match?.[1] ?? '');
  const prefix = Number(match?.[2]);
  if (address === undefined || prefix > bitsOf(address)) return undefined;
  return subnetAt(address, prefix);
}

function bitsOf(address: Address): number {
  return familyOf(address) === 'IPv4' ? ipv4Bits : ipv6Bits;
}

/** @returns the subnet of length `prefix` that holds an address. */
export function subnetAt(address: Address, prefix: number): Subnet {
  const hostBits = BigInt(bitsOf(address) - prefix);
  return { base: (address >> hostBits) << hostBits, prefix };
}

export function formatSubnet({ base, prefix }: Subnet): string {
  return `${formatAddress(base)}/${prefix}`;
}

/** @returns the last address: in IPv4 the subnet's broadcast address. */
export function lastAddress({ base, prefix }: Subnet): Address {
  return base + (1n << BigInt(bitsOf(base) - prefix)) - 1n;
}

export function contains(subnet: Subnet, address: Address): boolean {
  return address >= subnet.base && address <= lastAddress(subnet);
}

export function overlaps(a: Subnet, b: Subnet): boolean {
  return a.base <= lastAddress(b) && b.base <= lastAddress(a);
}

/** Math.max and Math.min do not take these numbers. */
export function later(a: Address, b: Address): Address {
  if (a > b) return a;
  return b;
}

export function earlier(a: Address, b: Address): Address {
  if (a < b) return a;
  return b;
}
