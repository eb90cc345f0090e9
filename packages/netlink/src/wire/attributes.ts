/**
 * Netlink attributes (linux/netlink.h): a list of type-length-value records, each padded to four bytes.
 *
 *     | length u16 | type u16 (N, O flags in bits 15, 14) | payload … | padding to 4 |
 *
 * A set of attributes is declared as a table, name → [number in the header, codec], and then encodes and decodes
 * whole objects. Attributes that a table does not name are skipped: newer kernels send more than we know.
 */
import { formatAddress, parseAddress } from '../ip.ts';
import { formatMac, parseMac } from '../mac.ts';
import { type FieldType, littleEndian, type Struct, type StructValue, struct } from './struct.ts';

/** sizeof(struct nlattr), and what everything is aligned to. */
const HEADER = 4;
const NLA_F_NESTED = 0x8000;
const NLA_TYPE_MASK = 0x3fff;
const MAX_LENGTH = 0xffff;

export const align = (length: number): number => (length + 3) & ~3;

export interface Codec<T> {
  encode(value: T): Uint8Array;
  decode(payload: Uint8Array): T;
  /** The attribute carries attributes: NLA_F_NESTED is set. */
  readonly nested?: boolean;
}

/** A malformed attribute or message: the bytes do not follow the format. */
export class WireFormatError extends Error {
  override readonly name = 'WireFormatError';
}

function number(type: FieldType): Codec<number> {
  const cell = struct({ value: type });
  return {
    encode: (value) => cell.encode({ value }),
    decode: (payload) => Number(cell.decode(payload).value),
  };
}

export const u8 = number('u8');
export const u16 = number('u16');
export const u32 = number('u32');
export const s32 = number('s32');
/** __be16: ports. */
export const be16 = number('be16');
/** __be32: what netfilter's netlink speaks. */
export const be32 = number('be32');
/** A __u8 that means yes or no. */
export const bool8: Codec<boolean> = {
  encode: (value) => Uint8Array.of(value ? 1 : 0),
  decode: (payload) => payload[0] !== 0,
};
/** An attribute without payload, whose presence means yes. */
export const flag: Codec<true> = { encode: () => new Uint8Array(0), decode: () => true };
export const bytes: Codec<Uint8Array> = { encode: (value) => value, decode: (payload) => new Uint8Array(payload) };
/** NUL-terminated UTF-8. */
export const string: Codec<string> = {
  encode: (value) => Buffer.from(`${value}\0`),
  decode: (payload) => {
    const end = payload.indexOf(0);
    return Buffer.from(end < 0 ? payload : payload.subarray(0, end)).toString();
  },
};
/** 4 or 16 bytes in network order ↔ text. */
export const ip: Codec<string> = { encode: parseAddress, decode: formatAddress };
export const mac: Codec<string> = { encode: parseMac, decode: formatMac };

/** A struct as payload. Decoding accepts a longer payload: kernels append fields. */
export function structure<F extends Record<string, FieldType>>(layout: Struct<F>): Codec<StructValue<F>> {
  return { encode: (value) => layout.encode(value), decode: (payload) => layout.decode(payload) };
}

/** Attributes inside an attribute. */
export function nested<T>(inner: Codec<T>): Codec<T> {
  return { encode: (value) => inner.encode(value), decode: (payload) => inner.decode(payload), nested: true };
}

type Table = Record<string, readonly [number, Codec<unknown>]>;
export type AttributeValues<T extends Table> = {
  [K in keyof T]?: T[K][1] extends Codec<infer V> ? V | undefined : never;
};

/** Declares a set of attributes. Values that are undefined are left out; attributes are written in table order. */
export function attributes<const T extends Table>(table: T): Codec<AttributeValues<T>> {
  const byType = new Map(Object.entries(table).map(([name, [type, codec]]) => [type, { name, codec }]));
  return {
    encode(values) {
      const parts: Uint8Array[] = [];
      for (const [name, [type, codec]] of Object.entries(table)) {
        const value = values[name];
        if (value !== undefined) parts.push(encodeAttribute(type, codec.encode(value), codec.nested));
      }
      return Buffer.concat(parts);
    },
    decode(payload) {
      const values: Record<string, unknown> = {};
      for (const attribute of splitAttributes(payload)) {
        const entry = byType.get(attribute.type);
        if (entry) values[entry.name] = entry.codec.decode(attribute.payload);
      }
      return values as AttributeValues<T>;
    },
  };
}

/** One attribute: header, payload, padding. */
export function encodeAttribute(type: number, payload: Uint8Array, isNested = false): Uint8Array {
  const length = HEADER + payload.length;
  if (length > MAX_LENGTH) throw new WireFormatError(`attribute ${type}: ${payload.length} bytes do not fit`);
  const encoded = new Uint8Array(align(length));
  const view = new DataView(encoded.buffer);
  view.setUint16(0, length, littleEndian);
  view.setUint16(2, isNested ? type | NLA_F_NESTED : type, littleEndian);
  encoded.set(payload, HEADER);
  return encoded;
}

/** Splits a run of attributes. Fewer than four bytes at the end are padding; a length that lies is an error. */
export function splitAttributes(payload: Uint8Array): { type: number; payload: Uint8Array }[] {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const found: { type: number; payload: Uint8Array }[] = [];
  for (let offset = 0; offset + HEADER <= payload.length; ) {
    const length = view.getUint16(offset, littleEndian);
    if (length < HEADER || offset + length > payload.length) {
      throw new WireFormatError(`attribute at ${offset} claims ${length} of ${payload.length - offset} bytes`);
    }
    const type = view.getUint16(offset + 2, littleEndian) & NLA_TYPE_MASK;
    found.push({ type, payload: payload.subarray(offset + HEADER, offset + length) });
    offset += align(length);
  }
  return found;
}
