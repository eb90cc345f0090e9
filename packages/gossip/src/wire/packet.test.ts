import assert from 'node:assert/strict';
import { createCipheriv } from 'node:crypto';
import { SocketAddress } from 'node:net';
import { test } from 'node:test';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { systemRandom } from '../runtime/index.ts';
import { ipFromBytes, ipToBytes, parseAddress } from './address.ts';
import { decrypt, encrypt } from './crypt.ts';
import { WireError } from './errors.ts';
import { Keyring } from './keyring.ts';
import { compress } from './lzw.ts';
import { compressed, type Message, toPart } from './messages.ts';
import { Writer } from './msgpack.ts';
import { decodePacket, encodePacket } from './packet.ts';
import {
  decodeFrame,
  decodeStreamMessage,
  encodeFrame,
  FRAME_HEADER_SIZE,
  frameLength,
  type StreamMessage,
} from './stream.ts';

const key = (byte: number): Uint8Array => new Uint8Array(16).fill(byte);
const plainRing = new Keyring();
const ring = new Keyring([key(1), key(2), key(3)], key(2));
const EMPTY = new Uint8Array(0);
const plain = <T>(value: T): T => structuredClone(value);
const uint32 = fc.nat(0xffffffff);
const bytes = fc.uint8Array({ maxLength: 40 });
const source = { sourceAddr: bytes, sourcePort: fc.nat(0xffff), sourceNode: fc.string() };
const accusation = fc.record({ incarnation: uint32, node: fc.string(), from: fc.string() });
const message: fc.Arbitrary<Message> = fc.oneof(
  fc.record({ type: fc.constant('ping' as const), body: fc.record({ seqNo: uint32, node: fc.string(), ...source }) }),
  fc.record({
    type: fc.constant('indirectPing' as const),
    body: fc.record({
      seqNo: uint32,
      target: bytes,
      port: fc.nat(0xffff),
      node: fc.string(),
      nack: fc.boolean(),
      ...source,
    }),
  }),
  fc.record({ type: fc.constant('ackResp' as const), body: fc.record({ seqNo: uint32, payload: bytes }) }),
  fc.record({ type: fc.constantFrom('suspect' as const, 'dead' as const), body: accusation }) as fc.Arbitrary<Message>,
  fc.record({
    type: fc.constant('alive' as const),
    body: fc.record({
      incarnation: uint32,
      node: fc.string(),
      addr: bytes,
      port: fc.nat(0xffff),
      meta: bytes,
      vsn: bytes,
    }),
  }),
  fc.record({ type: fc.constant('user' as const), body: bytes }),
);

test('packets read back, plain and encrypted, one message or many', () => {
  fc.assert(
    fc.property(
      fc.array(message, { minLength: 1, maxLength: 12 }),
      fc.constantFrom(plainRing, ring),
      (messages, keys) => {
        const { parts, errors } = decodePacket(encodePacket(messages.map(toPart), keys, systemRandom), keys);
        assert.deepEqual(errors, []);
        assert.deepEqual(plain(parts.map((part) => part.message)), plain(messages));
      },
    ),
    { numRuns: 200 },
  );
});

test('any installed key opens a packet, a foreign one does not, and one changed bit spoils it', () => {
  const part = toPart({ type: 'user', body: Buffer.from('hello') });
  for (const byte of [1, 2, 3]) {
    assert.equal(decodePacket(encodePacket([part], new Keyring([key(byte)]), systemRandom), ring).parts.length, 1);
  }
  const undecryptable = { code: 'undecryptable' };
  assert.throws(() => decodePacket(encodePacket([part], new Keyring([key(9)]), systemRandom), ring), undecryptable);
  const packet = encodePacket([part], ring, systemRandom);
  packet[20] = (packet[20] ?? 0) ^ 1;
  assert.throws(() => decodePacket(packet, ring), undecryptable);
});

test('the padded encryption of protocol version 0 is read', () => {
  const nonce = key(7).subarray(0, 12);
  const cipher = createCipheriv('aes-128-gcm', key(1), nonce);
  const padded = Buffer.concat([Buffer.from('hello'), Buffer.alloc(11, 11)]);
  const sealed = Buffer.concat([Buffer.of(0), nonce, cipher.update(padded), cipher.final(), cipher.getAuthTag()]);
  assert.equal(Buffer.from(decrypt(sealed, ring)).toString(), 'hello');
});

test('checksum, compression and compound are unwrapped in this order; a bad part leaves the others', () => {
  const good = toPart({ type: 'user', body: Buffer.from('good') }).bytes;
  const compound = Buffer.concat([Buffer.of(7, 2, 0, good.length, 0, 1), good, Buffer.of(99)]);
  const writer = new Writer();
  writer.byte(9);
  compressed.encode({ algo: 0, buf: compress(compound) }, writer);
  const inner = writer.finish();
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32BE(crc32(inner));
  const { parts, errors } = decodePacket(Buffer.concat([Buffer.of(12), checksum, inner]), plainRing);
  assert.deepEqual(
    parts.map((part) => Buffer.from(part.bytes).toString()),
    ['\bgood'],
  );
  assert.deepEqual(
    errors.map((error) => error.code),
    ['unsupported'],
  );
  assert.throws(() => decodePacket(Buffer.concat([Buffer.of(12, 0, 0, 0, 0), inner]), plainRing), { code: 'checksum' });
  assert.throws(() => decodePacket(Buffer.of(244, 1, 65, 8), plainRing), { code: 'label' });
});

const node = fc.record({
  name: fc.string(),
  addr: bytes,
  port: fc.nat(0xffff),
  meta: bytes,
  incarnation: uint32,
  state: fc.nat(3),
  vsn: bytes,
});
const streamMessage: fc.Arbitrary<StreamMessage> = fc.oneof(
  fc.record({
    type: fc.constant('pushPull' as const),
    body: fc.record({
      join: fc.boolean(),
      nodes: fc.array(node, { maxLength: 20 }),
      userState: fc.uint8Array({ maxLength: 2_000 }),
    }),
  }),
  fc.record({ type: fc.constant('user' as const), body: fc.uint8Array({ maxLength: 2_000 }) }),
  fc.record({ type: fc.constant('error' as const), body: fc.record({ error: fc.string() }) }),
);

test('frames read back, and their five header bytes are authenticated', () => {
  fc.assert(
    fc.property(streamMessage, (value) => {
      assert.deepEqual(plain(decodeStreamMessage(encodeFrame(value, plainRing, systemRandom))), plain(value));
      const frame = encodeFrame(value, ring, systemRandom);
      const header = frame.subarray(0, FRAME_HEADER_SIZE);
      assert.equal(frameLength(header), frame.length - FRAME_HEADER_SIZE);
      assert.deepEqual(plain(decodeFrame(header, frame.subarray(FRAME_HEADER_SIZE), ring)), plain(value));
      assert.throws(() => decrypt(frame.subarray(FRAME_HEADER_SIZE), ring), { code: 'undecryptable' });
    }),
    { numRuns: 100 },
  );
});

test('a plain or oversized stream is refused when keys are set', () => {
  assert.throws(() => frameLength(Buffer.of(6, 0, 0, 0, 1)), { code: 'unencrypted' });
  assert.throws(() => frameLength(Buffer.of(10, 0xff, 0, 0, 0)), { code: 'too-large' });
});

test('no packet or frame makes a decoder throw anything but a WireError', () => {
  const decoders = [
    (input: Uint8Array) => decodePacket(input, plainRing),
    (input: Uint8Array) => decodePacket(input, ring),
    (input: Uint8Array) => decodeStreamMessage(input),
  ];
  const type = fc.constantFrom(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 244);
  fc.assert(
    fc.property(type, fc.uint8Array({ maxLength: 200 }), (first, rest) => {
      for (const decoder of decoders) {
        try {
          decoder(Buffer.concat([Buffer.of(first), rest]));
        } catch (error) {
          assert.ok(error instanceof WireError, String(error));
        }
      }
    }),
    { numRuns: 2_000 },
  );
});

test('addresses: four bytes for IPv4, mapped ones read as IPv4, IPv6 in its short form', () => {
  assert.deepEqual([...ipToBytes('10.1.2.3')], [10, 1, 2, 3]);
  assert.equal(ipFromBytes(ipToBytes('::ffff:10.1.2.3')), '10.1.2.3');
  fc.assert(fc.property(fc.ipV4(), (ip) => assert.equal(ipFromBytes(ipToBytes(ip)), ip)));
  fc.assert(
    fc.property(fc.ipV6(), (ip) => {
      const read = ipFromBytes(ipToBytes(ip));
      const short = new SocketAddress({ address: ip, family: 'ipv6' }).address;
      if (!short.includes('.')) assert.equal(read, short);
    }),
    { numRuns: 2_000 },
  );
  assert.equal(ipFromBytes(ipToBytes('0:0:1:2:0:0:3:4')), '::1:2:0:0:3:4');
  assert.equal(ipFromBytes(ipToBytes('1:0:0:2:0:0:0:3')), '1:0:0:2::3');
  assert.equal(ipFromBytes(ipToBytes('1:0:2:0:3:0:4:0')), '1:0:2:0:3:0:4:0');
  assert.throws(() => ipFromBytes(EMPTY), { code: 'malformed' });
  assert.deepEqual(parseAddress('[fe80::1]:8000', 7946), { host: 'fe80::1', port: 8000 });
  assert.deepEqual(parseAddress('[FD00:31:1:0::5]', 7946), { host: 'fd00:31:1::5', port: 7946 });
  assert.deepEqual(parseAddress('FE80:0::1%eth0', 7946), { host: 'fe80::1%eth0', port: 7946 });
  assert.deepEqual(parseAddress('manager1', 7946), { host: 'manager1', port: 7946 });
  assert.throws(() => parseAddress('10.0.0.1:99999', 7946), RangeError);
});

test('a keyring rotates: the new primary encrypts, the dropped key opens nothing', () => {
  const keys = new Keyring([key(1), key(2), key(3)], key(2));
  const old = encrypt(Buffer.from('old'), key(1), systemRandom);
  assert.equal(Buffer.from(decrypt(old, keys)).toString(), 'old');
  keys.replace([key(2), key(3), key(4)], key(3));
  assert.deepEqual(keys.primary, key(3));
  assert.throws(() => decrypt(old, keys), { code: 'undecryptable' });
  assert.throws(() => keys.remove(key(3)), RangeError);
  assert.throws(() => keys.add(new Uint8Array(15)), RangeError);
});
