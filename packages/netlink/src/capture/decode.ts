/**
 * Frames as layers, outermost first: Ethernet, ARP, IPv4, IPv6, UDP, TCP, ICMP, and what VXLAN carries, down to the
 * innermost. For people and tests that look at traffic; not a firewall: checksums are not verified, fragments and IPv6
 * extension headers are not followed.
 */
import { formatAddress } from '../ip.ts';
import { formatMac } from '../mac.ts';

export type Layer =
  | { readonly type: 'ethernet'; readonly source: string; readonly destination: string; readonly etherType: number }
  | {
      readonly type: 'arp';
      readonly operation: number;
      readonly senderMac: string;
      readonly senderIp: string;
      readonly targetMac: string;
      readonly targetIp: string;
    }
  | {
      readonly type: 'ipv4' | 'ipv6';
      readonly source: string;
      readonly destination: string;
      readonly protocol: number;
      /** TTL or hop limit. */
      readonly ttl: number;
    }
  | { readonly type: 'udp'; readonly sourcePort: number; readonly destinationPort: number }
  | { readonly type: 'tcp'; readonly sourcePort: number; readonly destinationPort: number; readonly flags: number }
  | {
      readonly type: 'icmp' | 'icmpv6';
      readonly message: number;
      readonly code: number;
      /** Of an echo: which ping, and which of its packets. */
      readonly identifier: number;
      readonly sequence: number;
    }
  | { readonly type: 'vxlan'; readonly vni: number }
  /** What is not decoded, or cut off. */
  | { readonly type: 'payload'; readonly data: Uint8Array };

// IEEE 802 numbers
const ETHERTYPE_IPV4 = 0x0800;
const ETHERTYPE_ARP = 0x0806;
const ETHERTYPE_IPV6 = 0x86dd;
// IANA protocol numbers
const PROTOCOL_ICMP = 1;
const PROTOCOL_TCP = 6;
const PROTOCOL_UDP = 17;
const PROTOCOL_ICMPV6 = 58;
/** RFC 7348 */
const VXLAN_PORT = 4789;

/** Reads a header field by field. */
class Cursor {
  readonly #view: DataView;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  u8 = (): number => this.#view.getUint8(this.#move(1));
  u16 = (): number => this.#view.getUint16(this.#move(2));
  u32 = (): number => this.#view.getUint32(this.#move(4));
  mac = (): string => formatMac(this.#take(6));
  ipv4 = (): string => formatAddress(this.#take(4));
  ipv6 = (): string => formatAddress(this.#take(16));

  skip(length: number): void {
    this.#move(length);
  }

  /** The bytes after what was read; at most `length`. */
  rest(length = Number.POSITIVE_INFINITY): Uint8Array {
    return this.#take(Math.min(length, this.#view.byteLength - this.#offset));
  }

  #move(length: number): number {
    if (length < 0 || this.#offset + length > this.#view.byteLength) throw new RangeError('the frame is cut off');
    this.#offset += length;
    return this.#offset - length;
  }

  #take(length: number): Uint8Array {
    const start = this.#move(length);
    return new Uint8Array(this.#view.buffer, this.#view.byteOffset + start, length);
  }
}

type Decoder = (
  cursor: Cursor,
  context: Context,
) => { layer: Layer; next?: Decoder | undefined; length?: number | undefined };
interface Context {
  readonly vxlanPort: number;
}

/**
 * Decodes an Ethernet frame. Never throws: what is cut off or unknown is the last layer, as 'payload'.
 * @param options.vxlanPort UDP port to look for VXLAN behind; default 4789.
 */
export function decodeFrame(frame: Uint8Array, options: { vxlanPort?: number } = {}): Layer[] {
  const context = { vxlanPort: options.vxlanPort ?? VXLAN_PORT };
  const layers: Layer[] = [];
  let bytes = frame;
  for (let decode: Decoder | undefined = ethernet; bytes.length > 0; ) {
    const step: { layer: Layer; next?: Decoder | undefined; rest: Uint8Array } = decodeOne(decode, bytes, context);
    layers.push(step.layer);
    decode = step.next;
    bytes = step.rest;
  }
  return layers;
}

function decodeOne(decode: Decoder | undefined, bytes: Uint8Array, context: Context) {
  const payload = { layer: { type: 'payload', data: bytes } as const, rest: new Uint8Array(0) };
  if (decode === undefined) return payload;
  try {
    const cursor = new Cursor(bytes);
    const { layer, next, length } = decode(cursor, context);
    return { layer, next, rest: cursor.rest(length) };
  } catch (error) {
    if (error instanceof RangeError) return payload;
    throw error;
  }
}

const etherTypes = new Map<number, Decoder>([
  [ETHERTYPE_IPV4, ipv4],
  [ETHERTYPE_ARP, arp],
  [ETHERTYPE_IPV6, ipv6],
]);
const protocols = new Map<number, Decoder>([
  [PROTOCOL_ICMP, icmp('icmp')],
  [PROTOCOL_ICMPV6, icmp('icmpv6')],
  [PROTOCOL_TCP, tcp],
  [PROTOCOL_UDP, udp],
]);

function ethernet(cursor: Cursor): ReturnType<Decoder> {
  const [destination, source, etherType] = [cursor.mac(), cursor.mac(), cursor.u16()];
  return { layer: { type: 'ethernet', source, destination, etherType }, next: etherTypes.get(etherType) };
}

/** RFC 826, for Ethernet and IPv4 */
function arp(cursor: Cursor): ReturnType<Decoder> {
  cursor.skip(6);
  const operation = cursor.u16();
  const [senderMac, senderIp, targetMac, targetIp] = [cursor.mac(), cursor.ipv4(), cursor.mac(), cursor.ipv4()];
  // What follows is Ethernet's padding.
  return { layer: { type: 'arp', operation, senderMac, senderIp, targetMac, targetIp }, length: 0 };
}

/** RFC 791 §3.1 */
function ipv4(cursor: Cursor): ReturnType<Decoder> {
  const headerLength = (cursor.u8() & 0xf) * 4;
  cursor.skip(1);
  const totalLength = cursor.u16();
  cursor.skip(4);
  const [ttl, protocol] = [cursor.u8(), cursor.u8()];
  cursor.skip(2);
  const [source, destination] = [cursor.ipv4(), cursor.ipv4()];
  cursor.skip(headerLength - 20);
  const layer = { type: 'ipv4', source, destination, protocol, ttl } as const;
  // 0 stands for a length that does not fit: a segment that the device is to divide.
  const length = totalLength === 0 ? undefined : Math.max(0, totalLength - headerLength);
  return { layer, next: protocols.get(protocol), length };
}

/** RFC 8200 §3 */
function ipv6(cursor: Cursor): ReturnType<Decoder> {
  cursor.skip(4);
  const [length, protocol, ttl, source, destination] = [
    cursor.u16(),
    cursor.u8(),
    cursor.u8(),
    cursor.ipv6(),
    cursor.ipv6(),
  ];
  return { layer: { type: 'ipv6', source, destination, protocol, ttl }, next: protocols.get(protocol), length };
}

/** RFC 768 */
function udp(cursor: Cursor, { vxlanPort }: Context): ReturnType<Decoder> {
  const [sourcePort, destinationPort, length] = [cursor.u16(), cursor.u16(), cursor.u16()];
  cursor.skip(2);
  const next = destinationPort === vxlanPort ? vxlan : undefined;
  return { layer: { type: 'udp', sourcePort, destinationPort }, next, length: Math.max(0, length - 8) };
}

/** RFC 9293 §3.1 */
function tcp(cursor: Cursor): ReturnType<Decoder> {
  const [sourcePort, destinationPort] = [cursor.u16(), cursor.u16()];
  cursor.skip(8);
  const [headerLength, flags] = [(cursor.u8() >> 4) * 4, cursor.u8()];
  cursor.skip(headerLength - 14);
  return { layer: { type: 'tcp', sourcePort, destinationPort, flags } };
}

/** RFC 792 and RFC 4443; identifier and sequence are those of an echo */
function icmp(type: 'icmp' | 'icmpv6'): Decoder {
  return (cursor) => {
    const [message, code] = [cursor.u8(), cursor.u8()];
    cursor.skip(2);
    return { layer: { type, message, code, identifier: cursor.u16(), sequence: cursor.u16() } };
  };
}

/** RFC 7348 §5: flags, reserved, VNI in the upper 24 bits */
function vxlan(cursor: Cursor): ReturnType<Decoder> {
  cursor.skip(4);
  return { layer: { type: 'vxlan', vni: cursor.u32() >>> 8 }, next: ethernet };
}
