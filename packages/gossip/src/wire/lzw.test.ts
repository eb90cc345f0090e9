import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { WireError } from './errors.ts';
import { compress, decompress } from './lzw.ts';

const LIMIT = 1 << 20;

/** Packs codes LSB first; the widths follow the table as the format says. */
function pack(codes: readonly { code: number; width: number }[]): Uint8Array {
  const bits = codes.flatMap(({ code, width }) => Array.from({ length: width }, (_, bit) => (code >> bit) & 1));
  return Uint8Array.from({ length: Math.ceil(bits.length / 8) }, (_, byte) => {
    return bits.slice(byte * 8, byte * 8 + 8).reduce((value, bit, index) => value | (bit << index), 0);
  });
}

test('what is compressed unfolds to the same', () => {
  const repetitive = fc
    .array(fc.integer({ min: 0, max: 3 }), { maxLength: 20_000, size: 'max' })
    .map((items) => Uint8Array.from(items));
  fc.assert(
    fc.property(fc.oneof(fc.uint8Array({ maxLength: 10_000, size: 'max' }), repetitive), (bytes) => {
      assert.ok(Buffer.from(bytes).equals(decompress(compress(bytes), LIMIT)));
    }),
    { numRuns: 60 },
  );
});

test('a table that fills several times is cleared and filled again', () => {
  const bytes = Buffer.from(Array.from({ length: 60_000 }, (_, index) => `${index * 7919}`).join(','));
  const small = compress(bytes);
  assert.ok(small.length < bytes.length);
  assert.ok(bytes.equals(decompress(small, LIMIT)));
});

test('the bytes are those of the format: clear, literals, end', () => {
  const expected = pack([256, 97, 98, 257].map((code) => ({ code, width: 9 })));
  assert.deepEqual(compress(Buffer.from('ab')), expected);
});

test('clear codes are optional at the start and allowed in the middle; a code may name the row being defined', () => {
  const nine = (...codes: number[]): Uint8Array => pack(codes.map((code) => ({ code, width: 9 })));
  assert.equal(Buffer.from(decompress(nine(97, 258, 257), LIMIT)).toString(), 'aaa');
  assert.equal(Buffer.from(decompress(nine(256, 97, 256, 98, 98, 258, 257), LIMIT)).toString(), 'abbbb');
});

test('unknown codes, missing ends and bombs are refused', () => {
  const code = (expected: string) => (error: unknown) => error instanceof WireError && error.code === expected;
  assert.throws(() => decompress(pack([{ code: 300, width: 9 }]), LIMIT), code('malformed'));
  assert.throws(() => decompress(pack([{ code: 97, width: 9 }]), LIMIT), code('truncated'));
  assert.throws(() => decompress(compress(new Uint8Array(100_000)), 99_999), code('too-large'));
});

test('no input makes the decoder throw anything but a WireError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 500 }), (bytes) => {
      try {
        decompress(bytes, 1_000);
      } catch (error) {
        assert.ok(error instanceof WireError, String(error));
      }
    }),
    { numRuns: 1_000 },
  );
});
