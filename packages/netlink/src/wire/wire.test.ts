import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatAddress } from '../ip.ts';
import { formatMac, parseMac } from '../mac.ts';
import {
  attributes,
  be16,
  bool8,
  bytes,
  encodeAttribute,
  flag,
  ip,
  mac,
  nested,
  s32,
  splitAttributes,
  string,
  structure,
  u8,
  u16,
  u32,
  WireFormatError,
} from './attributes.ts';
import { decodeDone, decodeError, decodeMessages, encodeMessage, NLMSG_DONE, NLMSG_ERROR } from './message.ts';
import { littleEndian, struct } from './struct.ts';

const everyField = struct({ a: 'u8', b: 's16', c: 'u16', d: 'be16', e: 'u32', f: 's32', g: 'u64', h: 'u8' });
const everyFieldValue = fc.record({
  a: fc.integer({ min: 0, max: 0xff }),
  b: fc.integer({ min: -0x8000, max: 0x7fff }),
  c: fc.integer({ min: 0, max: 0xffff }),
  d: fc.integer({ min: 0, max: 0xffff }),
  e: fc.integer({ min: 0, max: 0xffffffff }),
  f: fc.integer({ min: -0x80000000, max: 0x7fffffff }),
  g: fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
  h: fc.integer({ min: 0, max: 0xff }),
});

const inner = attributes({ text: [1, string], port: [2, be16] });
const table = attributes({
  byte: [1, u8],
  half: [2, u16],
  word: [3, u32],
  signed: [4, s32],
  yes: [5, bool8],
  present: [6, flag],
  raw: [7, bytes],
  text: [8, string],
  address: [9, ip],
  mac: [10, mac],
  inner: [11, nested(inner)],
  fields: [12, structure(everyField)],
});
const text = fc.string({ maxLength: 40, unit: 'grapheme' }).filter((value) => !value.includes('\0'));
const octets = (length: number) => fc.uint8Array({ minLength: length, maxLength: length });
const values = fc.record(
  {
    byte: fc.integer({ min: 0, max: 0xff }),
    half: fc.integer({ min: 0, max: 0xffff }),
    word: fc.integer({ min: 0, max: 0xffffffff }),
    signed: fc.integer({ min: -0x80000000, max: 0x7fffffff }),
    yes: fc.boolean(),
    present: fc.constant<true>(true),
    raw: fc.uint8Array({ maxLength: 70 }),
    text,
    address: fc.oneof(octets(4), octets(16)).map(formatAddress),
    mac: octets(6).map(formatMac),
    inner: fc.record({ text, port: fc.integer({ min: 0, max: 0xffff }) }, { requiredKeys: [] }),
    fields: everyFieldValue,
  },
  { requiredKeys: [] },
);

test('a struct survives encoding, whatever its values', () => {
  fc.assert(
    fc.property(everyFieldValue, (value) => {
      const encoded = everyField.encode(value);
      assert.equal(encoded.length, everyField.size);
      assert.deepEqual({ ...everyField.decode(encoded) }, { ...value });
    }),
  );
});

test('a struct has the layout of the header, in the byte order of the host', { skip: !littleEndian }, () => {
  const ndmsg = struct({ family: 'u8', pad1: 'u8', pad2: 'u16', index: 's32', state: 'u16', flags: 'u8', type: 'u8' });
  const encoded = ndmsg.encode({ family: 7, index: 3, state: 0x80, flags: 2 });
  assert.equal(Buffer.from(encoded).toString('hex'), '070000000300000080000200');
  assert.throws(() => ndmsg.decode(encoded.subarray(1)), RangeError);
});

test('attributes survive encoding, in any combination', () => {
  fc.assert(
    fc.property(values, (value) => {
      const encoded = table.encode(value);
      assert.equal(encoded.length % 4, 0);
      assert.deepEqual(JSON.stringify(table.decode(encoded), comparable), JSON.stringify(value, comparable));
    }),
  );
});

/** Key order and prototypes aside. */
function comparable(_: string, value: unknown): unknown {
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
}

test('the bytes are those that libnl writes', { skip: !littleEndian }, () => {
  const encoded = attributes({ name: [3, string], info: [18, nested(inner)] }).encode({
    name: 'br0',
    info: { text: 'x' },
  });
  assert.equal(Buffer.from(encoded).toString('hex'), '08000300627230000c0012800600010078000000');
});

test('unknown attributes are skipped', () => {
  const encoded = Buffer.concat([encodeAttribute(99, Uint8Array.of(1, 2, 3)), table.encode({ word: 7 })]);
  assert.deepEqual(table.decode(encoded), { word: 7 });
});

test('whatever the bytes, splitting attributes ends and stays inside them', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (garbage) => {
      try {
        const total = splitAttributes(garbage).reduce((sum, { payload }) => sum + 4 + payload.length, 0);
        assert.ok(total <= garbage.length);
      } catch (error) {
        assert.ok(error instanceof WireFormatError, String(error));
      }
    }),
  );
});

test('an attribute that does not fit its length field is refused', () => {
  assert.throws(() => encodeAttribute(1, new Uint8Array(65_532)), WireFormatError);
});

const message = fc.record({
  type: fc.integer({ min: 0, max: 0xffff }),
  flags: fc.integer({ min: 0, max: 0xffff }),
  sequence: fc.integer({ min: 0, max: 0xffffffff }),
  port: fc.integer({ min: 0, max: 0xffffffff }),
  payload: fc.uint8Array({ maxLength: 60 }),
});

test('messages of one datagram come out as they went in', () => {
  fc.assert(
    fc.property(fc.array(message, { maxLength: 5 }), (messages) => {
      const datagram = Buffer.concat(messages.map(encodeMessage));
      const decoded = decodeMessages(datagram).map((each) => ({ ...each, payload: Uint8Array.from(each.payload) }));
      assert.deepEqual(
        decoded,
        messages.map((each) => ({ ...each })),
      );
    }),
  );
});

test('whatever the bytes, splitting messages ends and stays inside them', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (garbage) => {
      try {
        decodeMessages(garbage);
      } catch (error) {
        assert.ok(error instanceof WireFormatError, String(error));
      }
    }),
  );
});

const error = struct({ error: 's32', length: 'u32', type: 'u16', flags: 'u16', sequence: 'u32', port: 'u32' });
const acknowledgement = attributes({ text: [1, string], offset: [2, u32] });
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;

test("an error's text is found behind the echoed request, capped or whole", () => {
  const header = error.encode({ error: -17, length: 16 + 10, type: 16 });
  const tail = acknowledgement.encode({ text: 'no', offset: 20 });
  const outcome = { errno: 17, extendedAck: 'no', offset: 20 };
  const of = (flags: number, payload: Uint8Array) =>
    decodeError({ type: NLMSG_ERROR, flags, sequence: 1, port: 0, payload });
  assert.deepEqual(of(NLM_F_ACK_TLVS | NLM_F_CAPPED, Buffer.concat([header, tail])), outcome);
  // The request's ten bytes of payload are padded to twelve.
  assert.deepEqual(of(NLM_F_ACK_TLVS, Buffer.concat([header, new Uint8Array(12), tail])), outcome);
  assert.deepEqual(of(0, Buffer.concat([header, tail])), { errno: 17 });
});

test("a dump's end may carry an error", () => {
  const of = (payload: Uint8Array) => decodeDone({ type: NLMSG_DONE, flags: 0, sequence: 1, port: 0, payload });
  assert.deepEqual(of(new Uint8Array(0)), { errno: 0 });
  assert.deepEqual(of(s32.encode(-95)), { errno: 95 });
});

test('MAC addresses are read in both notations and written in one', () => {
  fc.assert(fc.property(octets(6), (raw) => assert.deepEqual(parseMac(formatMac(raw)), raw)));
  assert.equal(formatMac(parseMac('02-42-AC-11-00-02')), '02:42:ac:11:00:02');
  for (const bad of ['', '02:42:ac:11:00', '02:42:ac:11:00:0g', '0242.ac11.0002']) {
    assert.throws(() => parseMac(bad), TypeError, bad);
  }
});
