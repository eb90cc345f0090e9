/**
 * LZW as Go's compress/lzw writes it with LSB order and 8-bit literals (the flavour of GIF): codes of 9 to 12 bits,
 * 256 clears the table, 257 ends the stream, the width grows when the table is full and not one code earlier.
 */
import { WireError } from './errors.ts';

const CLEAR = 256;
const END = 257;
const MIN_WIDTH = 9;
const MAX_WIDTH = 12;
const TABLE_SIZE = 1 << MAX_WIDTH;
const NONE = -1;

/**
 * Decompresses. A clear code at the start or anywhere else is optional; bytes after the end code are ignored.
 * Throws `WireError` 'too-large' beyond `limit` bytes, 'malformed' for a code that cannot be, 'truncated' without an end code.
 */
export function decompress(input: Uint8Array, limit: number): Uint8Array {
  const prefix = new Uint16Array(TABLE_SIZE);
  const suffix = new Uint8Array(TABLE_SIZE);
  const stack = new Uint8Array(TABLE_SIZE);
  let output = new Uint8Array(Math.min(limit, Math.max(64, input.length * 4)));
  let length = 0;
  let high = END;
  let width = MIN_WIDTH;
  let last = NONE;
  let bits = 0;
  let bitCount = 0;
  let offset = 0;
  for (;;) {
    while (bitCount < width) {
      const byte = input[offset++];
      if (byte === undefined) throw new WireError('truncated', 'compressed data without an end');
      bits |= byte << bitCount;
      bitCount += 8;
    }
    const code = bits & ((1 << width) - 1);
    bits >>>= width;
    bitCount -= width;
    if (code === END) return output.subarray(0, length);
    if (code === CLEAR) {
      high = END;
      width = MIN_WIDTH;
      last = NONE;
      continue;
    }
    if (code > high) throw new WireError('malformed', `compressed data holds the unknown code ${code}`);
    // The code that is just being defined stands for the last string plus its own first byte.
    let depth = 0;
    let walk = code;
    const isBeingDefined = code === high && last !== NONE;
    if (isBeingDefined) {
      walk = last;
      depth = 1;
    }
    while (walk > CLEAR) {
      stack[depth++] = suffix[walk] as number;
      walk = prefix[walk] as number;
    }
    stack[depth++] = walk;
    if (isBeingDefined) stack[0] = walk;
    if (length + depth > limit) throw new WireError('too-large', `compressed data holds more than ${limit} bytes`);
    if (length + depth > output.length) {
      const grown = new Uint8Array(Math.min(limit, Math.max(output.length * 2, length + depth)));
      grown.set(output.subarray(0, length));
      output = grown;
    }
    for (let index = depth; index > 0; ) output[length++] = stack[--index] as number;
    if (last !== NONE) {
      suffix[high] = walk;
      prefix[high] = last;
    }
    last = code;
    high++;
    if (high >= 1 << width) {
      if (width === MAX_WIDTH) {
        last = NONE;
        high--;
      } else width++;
    }
  }
}

/** Compresses; opens with a clear code and clears the table when it is full, as Go's writer does. */
export function compress(input: Uint8Array): Uint8Array {
  const codes = new Map<number, number>();
  let output = new Uint8Array(Math.max(16, input.length + (input.length >> 1)));
  let length = 0;
  let bits = 0;
  let bitCount = 0;
  let width = MIN_WIDTH;
  let high = END;
  const put = (code: number): void => {
    bits |= code << bitCount;
    bitCount += width;
    if (length + 4 > output.length) {
      const grown = new Uint8Array(output.length * 2);
      grown.set(output);
      output = grown;
    }
    while (bitCount >= 8) {
      output[length++] = bits & 0xff;
      bits >>>= 8;
      bitCount -= 8;
    }
  };
  /** Accounts for a new table row; false when the table was full and has been cleared. */
  const grow = (): boolean => {
    high++;
    if (high === 1 << width) width++;
    if (high < TABLE_SIZE - 1) return true;
    put(CLEAR);
    codes.clear();
    width = MIN_WIDTH;
    high = END;
    return false;
  };
  put(CLEAR);
  let current = NONE;
  for (const byte of input) {
    if (current === NONE) {
      current = byte;
      continue;
    }
    const key = (current << 8) | byte;
    const known = codes.get(key);
    if (known !== undefined) {
      current = known;
      continue;
    }
    put(current);
    current = byte;
    if (grow()) codes.set(key, high);
  }
  if (current !== NONE) {
    put(current);
    grow();
  }
  put(END);
  if (bitCount > 0) output[length++] = bits & 0xff;
  return output.slice(0, length);
}
