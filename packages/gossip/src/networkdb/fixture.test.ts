/** What real dockerds said to each other (wire/fixtures/, made by e2e/record.ts) is read, and written again byte for byte. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { systemRandom } from '../runtime/index.ts';
import {
  decodeFrame,
  decodePacket,
  encodeFrame,
  encodePacket,
  FRAME_HEADER_SIZE,
  frameLength,
  Keyring,
  type Message,
  type StreamMessage,
  toPart,
} from '../wire/index.ts';
import { protobufCodec } from './codec.ts';

interface Fixture {
  readonly keys: readonly string[];
  readonly exchanges: readonly { readonly transport: 'udp' | 'tcp'; readonly bytes: string }[];
}
const fixture = JSON.parse(
  readFileSync(join(import.meta.dirname, '../wire/fixtures/dockerd-20.10.json'), 'utf8'),
) as Fixture;
const keyring = new Keyring(fixture.keys.map((key) => Buffer.from(key, 'hex')));
const of = (transport: 'udp' | 'tcp'): Buffer[] =>
  fixture.exchanges.filter((one) => one.transport === transport).map(({ bytes }) => Buffer.from(bytes, 'hex'));
const frame = (bytes: Buffer): StreamMessage =>
  decodeFrame(bytes.subarray(0, FRAME_HEADER_SIZE), bytes.subarray(FRAME_HEADER_SIZE), keyring);
const plain = <T>(value: T): T => structuredClone(value);

test("dockerd's packets are read, and each message is written again as it was", () => {
  const seen = new Set<string>();
  for (const bytes of of('udp')) {
    const { parts, errors } = decodePacket(bytes, keyring);
    assert.deepEqual(errors, []);
    for (const { message, bytes: original } of parts) {
      seen.add(message.type);
      const again = decodePacket(encodePacket([toPart(message)], keyring, systemRandom), keyring).parts[0]?.message;
      assert.deepEqual(plain(again), plain(message));
      // Go writes a map's keys in any order, and nil for no bytes: one byte, as an empty string has.
      assert.equal(toPart(message).bytes.length, original.length, message.type);
    }
  }
  assert.deepEqual([...seen].sort(), ['ackResp', 'alive', 'dead', 'ping', 'user']);
});

test("dockerd's streams are read: push/pull both ways and bulk sync both ways", () => {
  const seen: string[] = [];
  for (const bytes of of('tcp')) {
    assert.equal(frameLength(bytes.subarray(0, FRAME_HEADER_SIZE)), bytes.length - FRAME_HEADER_SIZE);
    const message = frame(bytes);
    seen.push(message.type);
    assert.deepEqual(plain(frame(Buffer.from(encodeFrame(message, keyring, systemRandom)))), plain(message));
    if (message.type !== 'pushPull') continue;
    assert.ok(message.body.nodes.every(({ addr, vsn }) => addr.length === 4 && vsn.length === 6));
    assert.equal(protobufCodec.decode(message.body.userState).type, 'pushPull');
  }
  assert.deepEqual(seen.sort(), ['pushPull', 'pushPull', 'user', 'user']);
});

test("networkdb's messages of dockerd are written again byte for byte", () => {
  const seen = new Set<string>();
  const check = (data: Uint8Array): void => {
    const message = protobufCodec.decode(data);
    seen.add(message.type === 'table' ? `${message.body.tableName} ${message.body.type}` : message.type);
    assert.equal(Buffer.from(protobufCodec.encode(message)).toString('hex'), Buffer.from(data).toString('hex'));
    if (message.type === 'compound') message.body.forEach(check);
    if (message.type === 'bulkSync') message.body.events.forEach(check);
  };
  const messages: (Message | StreamMessage)[] = [
    ...of('udp').flatMap((bytes) => decodePacket(bytes, keyring).parts.map(({ message }) => message)),
    ...of('tcp').map(frame),
  ];
  for (const message of messages) {
    if (message.type === 'user') check(message.body);
    if (message.type === 'pushPull') check(message.body.userState);
  }
  for (const kind of ['node', 'network', 'pushPull', 'bulkSync', 'compound'])
    assert.ok(seen.has(kind), `no ${kind} among ${[...seen].join(', ')}`);
  assert.ok(
    [...seen].some((kind) => kind.startsWith('overlay_peer_table')),
    [...seen].join(', '),
  );
  assert.ok(
    [...seen].some((kind) => kind.startsWith('endpoint_table')),
    [...seen].join(', '),
  );
});
