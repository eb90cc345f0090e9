import { isIPv4, isIPv6 } from 'node:net';
import { WireError } from './errors.ts';

/** Where a node listens: an IP literal and a port, the same number for UDP and TCP. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** `host:port`, with brackets around IPv6. */
export function formatAddress({ host, port }: Address): string {
  return isIPv6(host) ? `[${host}]:${port}` : `${host}:${port}`;
}

/**
 * Reads `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 literal, which comes out in its shortest form. Throws
 * `RangeError` for anything else.
 */
export function parseAddress(text: string, defaultPort: number): Address {
  if (isIPv6(text)) return { host: canonical(text), port: defaultPort };
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+))(?::(\d{1,5}))?$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = match?.[3] === undefined ? defaultPort : Number(match[3]);
  if (!host || port > 0xffff || (match?.[1] && !isIPv6(host))) throw new RangeError(`"${text}" is no address`);
  return { host: match?.[1] ? canonical(host) : host, port };
}

/** A zone (`%eth0`) stays: it says over which link a link-local address is. */
function canonical(host: string): string {
  const [address = '', ...zone] = host.split('%');
  return [ipFromBytes(ipToBytes(address)), ...zone].join('%');
}

const IPV4_LENGTH = 4;
const IPV6_LENGTH = 16;
const MAPPED_PREFIX = Buffer.from('00000000000000000000ffff', 'hex');

/** The bytes of an IP literal: 4 for IPv4 (never the mapped 16, which peers would take for another address), 16 for IPv6. */
export function ipToBytes(host: string): Uint8Array {
  if (isIPv4(host)) return Uint8Array.from(host.split('.'), Number);
  if (!isIPv6(host)) throw new RangeError(`"${host}" is no IP address`);
  const [plain = ''] = host.split('%');
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(plain);
  const pair = (high: string | undefined, low: string | undefined): string =>
    ((Number(high) << 8) | Number(low)).toString(16);
  const hex = dotted ? `${dotted[1]}${pair(dotted[2], dotted[3])}:${pair(dotted[4], dotted[5])}` : plain;
  const [head = '', tail] = hex.split('::');
  const left = head ? head.split(':') : [];
  const right = tail ? tail.split(':') : [];
  const groups = [...left, ...Array<string>(8 - left.length - right.length).fill('0'), ...right];
  const bytes = Buffer.alloc(IPV6_LENGTH);
  for (const [index, group] of groups.entries()) bytes.writeUInt16BE(Number.parseInt(group, 16), index * 2);
  return new Uint8Array(bytes);
}

/** The IP literal of 4 or 16 bytes; an IPv4-mapped address reads as IPv4. Throws `WireError` for another length. */
export function ipFromBytes(bytes: Uint8Array): string {
  if (bytes.length === IPV4_LENGTH) return bytes.join('.');
  if (bytes.length !== IPV6_LENGTH) throw new WireError('malformed', `an address of ${bytes.length} bytes`);
  if (MAPPED_PREFIX.equals(bytes.subarray(0, 12))) return bytes.subarray(12).join('.');
  const buffer = Buffer.from(bytes);
  const groups = Array.from({ length: 8 }, (_, index) => buffer.readUInt16BE(index * 2).toString(16)).join(':');
  return shortened(groups);
}

/** RFC 5952 §4.2: the URL standard writes IPv6 hosts in this form, the first of two equally long runs shortened. */
function shortened(groups: string): string {
  return new URL(`http://[${groups}]/`).hostname.slice(1, -1);
}
