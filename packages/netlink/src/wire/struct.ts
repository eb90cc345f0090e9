/**
 * Fixed C structs of the kernel's ABI as tables: field name → C type, in the header's order.
 * The tables used here have no implicit padding: where a header has some, the table names it.
 */
import { endianness } from 'node:os';

/** Netlink speaks the host's byte order. */
export const littleEndian = endianness() === 'LE';

const widths = { u8: 1, u16: 2, s16: 2, u32: 4, s32: 4, u64: 8, be16: 2, be32: 4 } as const;
export type FieldType = keyof typeof widths;
type FieldValue<T extends FieldType> = T extends 'u64' ? bigint : number;
export type StructValue<F extends Record<string, FieldType>> = { [K in keyof F]: FieldValue<F[K]> };

export interface Struct<F extends Record<string, FieldType>> {
  /** sizeof */
  readonly size: number;
  /** Missing fields are 0. */
  encode(value: Partial<StructValue<F>>): Uint8Array;
  /** Reads the first `size` bytes; throws RangeError when there are fewer. */
  decode(bytes: Uint8Array): StructValue<F>;
}

function put(view: DataView, offset: number, type: FieldType, value: number | bigint): void {
  if (type === 'u64') view.setBigUint64(offset, BigInt(value), littleEndian);
  else if (type === 'u8') view.setUint8(offset, Number(value));
  else if (type === 'u16') view.setUint16(offset, Number(value), littleEndian);
  else if (type === 's16') view.setInt16(offset, Number(value), littleEndian);
  else if (type === 'u32') view.setUint32(offset, Number(value), littleEndian);
  else if (type === 's32') view.setInt32(offset, Number(value), littleEndian);
  else if (type === 'be16') view.setUint16(offset, Number(value), false);
  else view.setUint32(offset, Number(value), false);
}

function take(view: DataView, offset: number, type: FieldType): number | bigint {
  if (type === 'u64') return view.getBigUint64(offset, littleEndian);
  if (type === 'u8') return view.getUint8(offset);
  if (type === 'u16') return view.getUint16(offset, littleEndian);
  if (type === 's16') return view.getInt16(offset, littleEndian);
  if (type === 'u32') return view.getUint32(offset, littleEndian);
  if (type === 's32') return view.getInt32(offset, littleEndian);
  if (type === 'be16') return view.getUint16(offset, false);
  return view.getUint32(offset, false);
}

/** Declares a struct by its table of fields. */
export function struct<const F extends Record<string, FieldType>>(fields: F): Struct<F> {
  let size = 0;
  const layout = Object.entries(fields).map(([name, type]) => {
    const field = { name, type, offset: size };
    size += widths[type];
    return field;
  });
  return {
    size,
    encode(value) {
      const bytes = new Uint8Array(size);
      const view = new DataView(bytes.buffer);
      for (const { name, type, offset } of layout) put(view, offset, type, value[name] ?? 0);
      return bytes;
    },
    decode(bytes) {
      if (bytes.length < size) throw new RangeError(`struct of ${size} bytes in ${bytes.length} bytes`);
      const view = new DataView(bytes.buffer, bytes.byteOffset, size);
      return Object.fromEntries(
        layout.map(({ name, type, offset }) => [name, take(view, offset, type)]),
      ) as StructValue<F>;
    },
  };
}
