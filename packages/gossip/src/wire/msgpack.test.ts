import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decode, encode } from '@msgpack/msgpack';
import fc from 'fast-check';
import { WireError } from './errors.ts';
import { field, Reader, struct, Writer } from './msgpack.ts';

const sample = struct({
  seqNo: field('SeqNo', 'uint32'),
  port: field('Port', 'uint16'),
  state: field('State', 'uint8'),
  node: field('Node', 'string'),
  addr: field('Addr', 'bytes'),
  nack: field('Nack', 'bool'),
  source: field('Source', 'bytes', true),
});
const values = fc.record({
  seqNo: fc.nat(0xffffffff),
  port: fc.nat(0xffff),
  state: fc.nat(0xff),
  node: fc.string({ unit: 'grapheme', maxLength: 300 }),
  addr: fc.uint8Array({ maxLength: 70_000, size: 'large' }),
  nack: fc.boolean(),
  source: fc.uint8Array({ maxLength: 20 }),
});

function bytesOf(value: Parameters<typeof sample.encode>[0]): Uint8Array {
  const writer = new Writer();
  sample.encode(value, writer);
  return writer.finish();
}
const plain = <T extends object>(value: T): T => structuredClone(value);

test('a struct reads back as it was written', () => {
  fc.assert(
    fc.property(values, (value) => assert.deepEqual(plain(sample.decode(new Reader(bytesOf(value)))), plain(value))),
    { numRuns: 200 },
  );
});

test('what we write another msgpack decoder reads, and strings and bytes are both raw', () => {
  fc.assert(
    fc.property(values, (value) => {
      const read = decode(bytesOf(value), {
        rawStrings: true,
        mapKeyConverter: (key) => Buffer.from(key as Uint8Array).toString(),
      });
      const { Source: source = new Uint8Array(0), ...rest } = read as Record<string, unknown>;
      const { node, addr, seqNo, port, state, nack } = value;
      assert.deepEqual(Buffer.from(source as Uint8Array), Buffer.from(value.source));
      assert.deepEqual(
        plain(rest),
        plain({ SeqNo: seqNo, Port: port, State: state, Node: Buffer.from(node).subarray(), Addr: addr, Nack: nack }),
      );
    }),
    { numRuns: 100 },
  );
});

test('what another encoder writes we read: bin, str8, any integer width, keys in any order, unknown fields', () => {
  const extra = fc.anything({ maxDepth: 3, withBigInt: false, withNullPrototype: false }).filter((value) => {
    try {
      encode(value);
      return true;
    } catch {
      return false;
    }
  });
  fc.assert(
    fc.property(values, extra, (value, unknown) => {
      const { seqNo, port, state, node, addr, nack, source } = value;
      const bytes = encode({
        Extra: unknown,
        Source: source,
        Nack: nack,
        Addr: addr,
        Node: node,
        State: state,
        Port: port,
        SeqNo: seqNo,
      });
      assert.deepEqual(plain(sample.decode(new Reader(bytes))), plain(value));
    }),
    { numRuns: 200 },
  );
});

test('absent and nil fields are zero values; signed and 64-bit forms are integers too', () => {
  const decodeHex = (hex: string) => sample.decode(new Reader(Buffer.from(hex, 'hex')));
  assert.equal(decodeHex('80').node, '');
  assert.deepEqual([...decodeHex('81a441646472c0').addr], []);
  assert.equal(decodeHex('81a55365714e6fd3000000000000002a').seqNo, 42);
  assert.equal(decodeHex('81a55365714e6fd02a').seqNo, 42);
  assert.throws(() => decodeHex('81a55365714e6fff'), WireError);
  assert.throws(() => decodeHex('81a4506f7274ce00010000'), WireError);
});

test('the bytes of a ping are the ones that Go writes', () => {
  const ping = struct({ seqNo: field('SeqNo', 'uint32'), node: field('Node', 'string') });
  const writer = new Writer();
  ping.encode({ seqNo: 300, node: 'ab' }, writer);
  assert.equal(Buffer.from(writer.finish()).toString('hex'), '82a55365714e6fcd012ca44e6f6465a26162');
});

test('no input makes the decoder throw anything but a WireError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      try {
        sample.decode(new Reader(bytes));
      } catch (error) {
        assert.ok(error instanceof WireError, String(error));
      }
    }),
    { numRuns: 2_000 },
  );
});
