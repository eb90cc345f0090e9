/**
 * The msgpack that hashicorp/go-msgpack speaks in its old mode: strings and bytes share the raw family
 * (fixraw a0-bf, raw16 da, raw32 db); str8 and bin are read, never written. Maps are schema-typed:
 * `struct` names the Go fields, so that every value is read as the type that Go gave it.
 */
import { WireError } from './errors.ts';

const NIL = 0xc0;
const FALSE = 0xc2;
const TRUE = 0xc3;
/** Deepest nesting that is skipped over in an unknown field. */
const MAX_SKIP_DEPTH = 16;

interface KindTypes {
  uint8: number;
  uint16: number;
  uint32: number;
  string: string;
  bytes: Uint8Array;
  bool: boolean;
}
type Kind = keyof KindTypes;

const MAX_OF = { uint8: 0xff, uint16: 0xffff, uint32: 0xffffffff } as const;

/** One field of a Go struct: its name on the wire, its type, and whether a zero value is left out. */
export interface Field<K extends Kind = Kind> {
  readonly wire: string;
  readonly kind: K;
  readonly omitEmpty: boolean;
}

/** Declares a field; `omitEmpty` is Go's `codec:",omitempty"`. */
export function field<K extends Kind>(wire: string, kind: K, omitEmpty = false): Field<K> {
  return { wire, kind, omitEmpty };
}

type Fields = Readonly<Record<string, Field>>;
type ValueOf<F extends Fields> = { readonly [P in keyof F]: F[P] extends Field<infer K> ? KindTypes[K] : never };

/** A coder for one Go struct. */
export interface Struct<T> {
  encode(value: T, writer: Writer): void;
  decode(reader: Reader): T;
}

/** The TypeScript type of a struct's values. */
export type Infer<S> = S extends Struct<infer T> ? T : never;

/** Appends msgpack values to a growing buffer. */
export class Writer {
  #buffer = Buffer.allocUnsafe(256);
  #length = 0;

  #reserve(size: number): number {
    const start = this.#length;
    const end = start + size;
    if (end > this.#buffer.length) {
      const grown = Buffer.allocUnsafe(Math.max(end, this.#buffer.length * 2));
      this.#buffer.copy(grown, 0, 0, start);
      this.#buffer = grown;
    }
    this.#length = end;
    return start;
  }

  byte(value: number): void {
    const at = this.#reserve(1);
    this.#buffer[at] = value;
  }

  /** Bytes as they are, without a msgpack header. */
  append(bytes: Uint8Array): void {
    const at = this.#reserve(bytes.length);
    this.#buffer.set(bytes, at);
  }

  map(size: number): void {
    if (size > 15) throw new RangeError(`a struct of ${size} fields does not fit a fixmap`);
    this.byte(0x80 | size);
  }

  unsigned(value: number): void {
    if (!Number.isInteger(value) || value < 0 || value > MAX_OF.uint32) {
      throw new RangeError(`${value} is not a 32-bit unsigned integer`);
    }
    if (value < 0x80) this.byte(value);
    else if (value <= 0xff) {
      const at = this.#reserve(2);
      this.#buffer[at] = 0xcc;
      this.#buffer[at + 1] = value;
    } else if (value <= 0xffff) {
      const at = this.#reserve(3);
      this.#buffer[at] = 0xcd;
      this.#buffer.writeUInt16BE(value, at + 1);
    } else {
      const at = this.#reserve(5);
      this.#buffer[at] = 0xce;
      this.#buffer.writeUInt32BE(value, at + 1);
    }
  }

  raw(bytes: Uint8Array): void {
    this.#rawHeader(bytes.length);
    this.append(bytes);
  }

  string(text: string): void {
    const length = Buffer.byteLength(text);
    this.#rawHeader(length);
    const at = this.#reserve(length);
    this.#buffer.write(text, at);
  }

  bool(value: boolean): void {
    this.byte(value ? TRUE : FALSE);
  }

  #rawHeader(length: number): void {
    if (length < 32) this.byte(0xa0 | length);
    else if (length <= 0xffff) {
      const at = this.#reserve(3);
      this.#buffer[at] = 0xda;
      this.#buffer.writeUInt16BE(length, at + 1);
    } else {
      const at = this.#reserve(5);
      this.#buffer[at] = 0xdb;
      this.#buffer.writeUInt32BE(length, at + 1);
    }
  }

  /** A copy of what was written. */
  finish(): Uint8Array {
    return new Uint8Array(this.#buffer.subarray(0, this.#length));
  }
}

/** Reads msgpack values; throws `WireError` 'truncated' where the bytes end too early. */
export class Reader {
  readonly #buffer: Buffer;
  offset: number;

  constructor(bytes: Uint8Array, offset = 0) {
    this.#buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.offset = offset;
  }

  get remaining(): number {
    return this.#buffer.length - this.offset;
  }

  /** The next `length` bytes, not copied. */
  take(length: number): Buffer {
    const end = this.offset + length;
    if (end > this.#buffer.length) throw new WireError('truncated', `${end - this.#buffer.length} bytes are missing`);
    const bytes = this.#buffer.subarray(this.offset, end);
    this.offset = end;
    return bytes;
  }

  byte(): number {
    const value = this.#buffer[this.offset];
    if (value === undefined) throw new WireError('truncated', 'one byte is missing');
    this.offset++;
    return value;
  }

  /** An unsigned big-endian integer of `size` bytes. */
  big(size: 1 | 2 | 4): number {
    return this.take(size).readUIntBE(0, size);
  }

  mapSize(): number {
    const tag = this.byte();
    if ((tag & 0xf0) === 0x80) return tag & 0x0f;
    if (tag === 0xde) return this.big(2);
    if (tag === 0xdf) return this.big(4);
    if (tag === NIL) return 0;
    throw new WireError('malformed', `0x${tag.toString(16)} where a map was expected`);
  }

  /** Any integer form, signed or not. */
  integer(): number {
    const tag = this.byte();
    if (tag < 0x80) return tag;
    if (tag >= 0xe0) return tag - 0x100;
    switch (tag) {
      case 0xcc:
        return this.big(1);
      case 0xcd:
        return this.big(2);
      case 0xce:
        return this.big(4);
      case 0xcf:
        return Number(this.take(8).readBigUInt64BE());
      case 0xd0:
        return this.take(1).readInt8();
      case 0xd1:
        return this.take(2).readInt16BE();
      case 0xd2:
        return this.take(4).readInt32BE();
      case 0xd3:
        return Number(this.take(8).readBigInt64BE());
      case NIL:
        return 0;
      default:
        throw new WireError('malformed', `0x${tag.toString(16)} where an integer was expected`);
    }
  }

  /** Raw, str or bin; nil reads as empty. */
  raw(): Buffer {
    const tag = this.byte();
    const length = this.#rawLength(tag);
    if (length === undefined) throw new WireError('malformed', `0x${tag.toString(16)} where bytes were expected`);
    return this.take(length);
  }

  #rawLength(tag: number): number | undefined {
    if (tag >= 0xa0 && tag <= 0xbf) return tag & 0x1f;
    if (tag === NIL) return 0;
    if (tag === 0xd9 || tag === 0xc4) return this.big(1);
    if (tag === 0xda || tag === 0xc5) return this.big(2);
    if (tag === 0xdb || tag === 0xc6) return this.big(4);
    return undefined;
  }

  bool(): boolean {
    const tag = this.byte();
    if (tag === TRUE) return true;
    if (tag === FALSE || tag === NIL) return false;
    throw new WireError('malformed', `0x${tag.toString(16)} where a boolean was expected`);
  }

  /** Steps over one value of any type. */
  skip(depth = 0): void {
    if (depth > MAX_SKIP_DEPTH) throw new WireError('malformed', `nested deeper than ${MAX_SKIP_DEPTH}`);
    const tag = this.byte();
    const rawLength = this.#rawLength(tag);
    if (rawLength !== undefined) this.take(rawLength);
    else if (tag < 0x80 || tag >= 0xe0 || tag === TRUE || tag === FALSE) return;
    else if ((tag & 0xf0) === 0x80) this.#skipMany((tag & 0x0f) * 2, depth);
    else if ((tag & 0xf0) === 0x90) this.#skipMany(tag & 0x0f, depth);
    else if (tag === 0xdc) this.#skipMany(this.big(2), depth);
    else if (tag === 0xdd) this.#skipMany(this.big(4), depth);
    else if (tag === 0xde) this.#skipMany(this.big(2) * 2, depth);
    else if (tag === 0xdf) this.#skipMany(this.big(4) * 2, depth);
    else this.#skipScalar(tag);
  }

  #skipMany(count: number, depth: number): void {
    for (let index = 0; index < count; index++) this.skip(depth + 1);
  }

  #skipScalar(tag: number): void {
    if (tag >= 0xcc && tag <= 0xcf) this.take(1 << (tag - 0xcc));
    else if (tag >= 0xd0 && tag <= 0xd3) this.take(1 << (tag - 0xd0));
    else if (tag === 0xca) this.take(4);
    else if (tag === 0xcb) this.take(8);
    else if (tag >= 0xd4 && tag <= 0xd8) this.take(1 + (1 << (tag - 0xd4)));
    else if (tag >= 0xc7 && tag <= 0xc9) this.take(1 + this.big((1 << (tag - 0xc7)) as 1 | 2 | 4));
    else throw new WireError('malformed', `0x${tag.toString(16)} is no msgpack value`);
  }
}

const EMPTY = new Uint8Array(0);
const ZERO: { readonly [K in Kind]: KindTypes[K] } = {
  uint8: 0,
  uint16: 0,
  uint32: 0,
  string: '',
  bytes: EMPTY,
  bool: false,
};

const write: { readonly [K in Kind]: (writer: Writer, value: KindTypes[K]) => void } = {
  uint8: (writer, value) => writer.unsigned(value),
  uint16: (writer, value) => writer.unsigned(value),
  uint32: (writer, value) => writer.unsigned(value),
  string: (writer, value) => writer.string(value),
  bytes: (writer, value) => writer.raw(value),
  bool: (writer, value) => writer.bool(value),
};

function readValue(reader: Reader, { kind, wire }: Field): KindTypes[Kind] {
  switch (kind) {
    case 'string':
      return reader.raw().toString('utf8');
    case 'bytes':
      return new Uint8Array(reader.raw());
    case 'bool':
      return reader.bool();
    default: {
      const value = reader.integer();
      if (value < 0 || value > MAX_OF[kind]) throw new WireError('malformed', `${wire}: ${value} is no ${kind}`);
      return value;
    }
  }
}

function isEmpty(value: KindTypes[Kind]): boolean {
  return value instanceof Uint8Array ? value.length === 0 : !value;
}

/** Builds the coder of a struct from its fields, in wire order. Absent fields read as Go's zero values; unknown ones are skipped. */
export function struct<F extends Fields>(fields: F): Struct<ValueOf<F>> {
  const entries = Object.entries(fields);
  const zero = Object.fromEntries(entries.map(([property, { kind }]) => [property, ZERO[kind]]));
  const byWire = new Map(entries.map(([property, declared]) => [declared.wire, { property, declared }]));
  return {
    encode(value, writer) {
      const record = value as Readonly<Record<string, KindTypes[Kind]>>;
      const present = entries.filter(([property, { omitEmpty }]) => !omitEmpty || !isEmpty(record[property] ?? EMPTY));
      writer.map(present.length);
      for (const [property, { wire, kind }] of present) {
        writer.string(wire);
        (write[kind] as (writer: Writer, value: unknown) => void)(writer, record[property]);
      }
    },
    decode(reader) {
      const record: Record<string, KindTypes[Kind]> = { ...zero };
      const size = reader.mapSize();
      for (let index = 0; index < size; index++) {
        const known = byWire.get(reader.raw().toString('latin1'));
        if (known) record[known.property] = readValue(reader, known.declared);
        else reader.skip();
      }
      return record as ValueOf<F>;
    },
  };
}
