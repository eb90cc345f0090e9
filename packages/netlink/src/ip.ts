/**
 * IP addresses and prefixes: text ↔ bytes and the arithmetic of CIDR, exact for IPv4 and IPv6.
 * An address is text at every public edge ('10.0.1.3', 'fd00::1'), bytes in network order on the wire.
 */
import { isIPv4, isIPv6 } from 'node:net';

/** Of ASCII; the dot is below it. */
const ZERO = '0'.charCodeAt(0);

export type Family = 'ipv4' | 'ipv6';

/** The text is not an IP address or not a prefix. */
export class InvalidAddressError extends TypeError {
  override readonly name = 'InvalidAddressError';
  readonly code = 'ERR_INVALID_IP_ADDRESS';
}

/** The family of an address in text; throws InvalidAddressError. */
export function familyOf(address: string): Family {
  if (isIPv4(address)) return 'ipv4';
  if (isIPv6(address) && !address.includes('%')) return 'ipv6';
  throw new InvalidAddressError(`not an IP address: '${address}'`);
}

/** Bits in an address of the family: 32 or 128. */
export function addressBits(family: Family): 32 | 128 {
  return family === 'ipv4' ? 32 : 128;
}

/** Text → 4 or 16 bytes in network order. IPv4-mapped IPv6 text stays IPv6; zones ('%eth0') are refused. */
export function parseAddress(address: string): Uint8Array {
  return familyOf(address) === 'ipv4' ? parseIpv4(address) : parseIpv6(address);
}

/** By its digits: each DNS answer comes here. */
function parseIpv4(address: string): Uint8Array {
  const bytes = new Uint8Array(4);
  let octet = 0;
  for (let index = 0; index < address.length; index++) {
    const digit = address.charCodeAt(index) - ZERO;
    if (digit < 0) octet += 1;
    else bytes[octet] = (bytes[octet] ?? 0) * 10 + digit;
  }
  return bytes;
}

function parseIpv6(address: string): Uint8Array {
  const dotted = address.lastIndexOf(':') + 1;
  const text = address.includes('.') ? `${address.slice(0, dotted)}${embeddedIpv4(address.slice(dotted))}` : address;
  const [head = '', tail] = text.split('::');
  const left = groups(head);
  const right = groups(tail ?? '');
  const bytes = new DataView(new ArrayBuffer(16));
  for (const [index, group] of left.entries()) bytes.setUint16(index * 2, group);
  for (const [index, group] of right.entries()) bytes.setUint16(16 - (right.length - index) * 2, group);
  return new Uint8Array(bytes.buffer);
}

const groups = (text: string): number[] =>
  text === '' ? [] : text.split(':').map((group) => Number.parseInt(group, 16));

function embeddedIpv4(text: string): string {
  const [a = 0, b = 0, c = 0, d = 0] = text.split('.').map(Number);
  return `${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
}

/** 4 or 16 bytes in network order → canonical text (RFC 5952 for IPv6). */
export function formatAddress(bytes: Uint8Array): string {
  if (bytes.length === 4) return bytes.join('.');
  if (bytes.length === 16) return formatIpv6(bytes);
  throw new InvalidAddressError(`an IP address has 4 or 16 bytes, not ${bytes.length}`);
}

function formatIpv6(bytes: Uint8Array): string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, 16);
  const parts = Array.from({ length: 8 }, (_, index) => view.getUint16(index * 2));
  // RFC 5952 §5: IPv4-mapped addresses are shown with their IPv4 part dotted.
  if (parts.slice(0, 5).every((part) => part === 0) && parts[5] === 0xffff) {
    return `::ffff:${bytes.subarray(12).join('.')}`;
  }
  const zeros = longestZeroRun(parts);
  const hex = (from: number, to: number) =>
    parts
      .slice(from, to)
      .map((part) => part.toString(16))
      .join(':');
  return zeros.length < 2 ? hex(0, 8) : `${hex(0, zeros.start)}::${hex(zeros.start + zeros.length, 8)}`;
}

/** RFC 5952 §4.2: the longest run of zero groups is shortened, the first one when equal. */
function longestZeroRun(parts: number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  for (const [index, part] of parts.entries()) {
    if (part !== 0) start = index + 1;
    else if (index + 1 - start > best.length) best = { start, length: index + 1 - start };
  }
  return best;
}

/** Two texts of one address compare equal ('FD00::0001' and 'fd00::1'). */
export function normalizeAddress(address: string): string {
  return formatAddress(parseAddress(address));
}

/** The address as an unsigned number. */
export function addressToBigInt(address: string): bigint {
  return parseAddress(address).reduce((value, byte) => (value << 8n) | BigInt(byte), 0n);
}

/** The inverse of addressToBigInt; throws RangeError when the value does not fit the family. */
export function addressFromBigInt(value: bigint, family: Family): string {
  const bits = addressBits(family);
  if (value < 0n || value >> BigInt(bits) !== 0n) throw new RangeError(`${value} is not an ${family} address`);
  const bytes = new Uint8Array(bits / 8);
  for (let index = bytes.length - 1, rest = value; index >= 0; index--, rest >>= 8n) bytes[index] = Number(rest & 255n);
  return formatAddress(bytes);
}

/** A network in CIDR terms. Immutable; host bits of the text it came from are cleared. */
export class Prefix {
  readonly family: Family;
  /** Prefix length in bits. */
  readonly length: number;
  readonly #network: bigint;

  private constructor(family: Family, network: bigint, length: number) {
    this.family = family;
    this.length = length;
    this.#network = network;
  }

  /** '10.0.1.0/24', or an address alone (then a host prefix). Throws InvalidAddressError. */
  static parse(text: string): Prefix {
    const [address = '', length, ...rest] = text.split('/');
    const family = familyOf(address);
    if (length === undefined) return Prefix.of(address, addressBits(family));
    if (rest.length > 0 || !/^\d{1,3}$/.test(length)) throw new InvalidAddressError(`not a prefix: '${text}'`);
    return Prefix.of(address, Number(length));
  }

  /** The prefix of `length` bits that holds `address`. */
  static of(address: string, length: number): Prefix {
    const family = familyOf(address);
    const bits = addressBits(family);
    if (!Number.isInteger(length) || length < 0 || length > bits) {
      throw new InvalidAddressError(`prefix length of ${address} must be 0 to ${bits}, not ${length}`);
    }
    const hostBits = BigInt(bits - length);
    return new Prefix(family, (addressToBigInt(address) >> hostBits) << hostBits, length);
  }

  /** Number of addresses, network and broadcast included. */
  get size(): bigint {
    return 1n << BigInt(addressBits(this.family) - this.length);
  }

  /** The first address. */
  get network(): string {
    return this.address(0n);
  }

  /** The last address: in IPv4 the broadcast address of prefixes shorter than /31. */
  get broadcast(): string {
    return this.address(this.size - 1n);
  }

  /** The netmask as an address: 255.255.255.0 for a /24. */
  get netmask(): string {
    const bits = BigInt(addressBits(this.family));
    return addressFromBigInt((1n << bits) - this.size, this.family);
  }

  /** The nth address, counted from 0; a negative n counts from the end (-1 is the last). Throws RangeError. */
  address(n: bigint | number): string {
    const offset = BigInt(n) < 0n ? this.size + BigInt(n) : BigInt(n);
    if (offset < 0n || offset >= this.size) throw new RangeError(`${this} has no address number ${n}`);
    return addressFromBigInt(this.#network + offset, this.family);
  }

  /** Position of an address in the prefix, or undefined when it is outside. */
  indexOf(address: string): bigint | undefined {
    if (familyOf(address) !== this.family) return undefined;
    const offset = addressToBigInt(address) - this.#network;
    return offset >= 0n && offset < this.size ? offset : undefined;
  }

  /** True when the address, or every address of the prefix, lies inside. */
  contains(other: string | Prefix): boolean {
    if (typeof other === 'string') return this.indexOf(other) !== undefined;
    return other.length >= this.length && this.contains(other.network);
  }

  /** True when the two share an address. Two prefixes overlap only if one holds the other. */
  overlaps(other: Prefix): boolean {
    return this.contains(other) || other.contains(this);
  }

  equals(other: Prefix): boolean {
    return this.length === other.length && this.contains(other);
  }

  /** The prefixes of `length` bits inside this one, in order (lazily: there may be many). */
  *subnets(length: number): Generator<Prefix> {
    if (length < this.length || length > addressBits(this.family)) {
      throw new RangeError(`${this} cannot be divided into /${length}`);
    }
    const step = 1n << BigInt(addressBits(this.family) - length);
    for (let offset = 0n; offset < this.size; offset += step) {
      yield new Prefix(this.family, this.#network + offset, length);
    }
  }

  /** '10.0.1.0/24' */
  toString(): string {
    return `${this.network}/${this.length}`;
  }

  toJSON(): string {
    return this.toString();
  }
}
