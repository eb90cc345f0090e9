import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { WireError } from '../wire/index.ts';
import { type GossipMessage, protobufCodec } from './codec.ts';
import { MAX_LAMPORT_TIME } from './lamport.ts';

const lTime = fc.maxSafeNat().map((time) => Math.min(time, MAX_LAMPORT_TIME));
const name = fc.string();
const bytes = fc.uint8Array({ maxLength: 300 });
const joinOrLeave = fc.constantFrom('join' as const, 'leave' as const);
const of = <T extends GossipMessage['type'], B>(type: T, body: fc.Arbitrary<B>) =>
  fc.record({ type: fc.constant(type), body });
const message = fc.oneof(
  of('node', fc.record({ type: joinOrLeave, lTime, nodeName: name })),
  of('network', fc.record({ type: joinOrLeave, lTime, nodeName: name, networkId: name })),
  of(
    'table',
    fc.record({
      type: fc.constantFrom('create' as const, 'update' as const, 'delete' as const),
      lTime,
      nodeName: name,
      networkId: name,
      tableName: name,
      key: name,
      value: bytes,
      residualReapTime: fc.nat(1_800),
    }),
  ),
  of(
    'pushPull',
    fc.record({
      lTime,
      nodeName: name,
      networks: fc.array(fc.record({ networkId: name, lTime, nodeName: name, leaving: fc.boolean() }), {
        maxLength: 10,
      }),
    }),
  ),
  of(
    'bulkSync',
    fc.record({
      lTime,
      unsolicited: fc.boolean(),
      nodeName: name,
      networks: fc.array(name),
      events: fc.array(bytes, { maxLength: 10 }),
    }),
  ),
  of('compound', fc.array(bytes, { maxLength: 10 })),
);

test('gossip messages read back as they were written', () => {
  fc.assert(
    fc.property(message, (value) => {
      assert.deepEqual(structuredClone(protobufCodec.decode(protobufCodec.encode(value))), structuredClone(value));
    }),
    { numRuns: 300 },
  );
});

test('the bytes of a network event follow the field table', () => {
  const bytesOf = protobufCodec.encode({
    type: 'network',
    body: { type: 'join', lTime: 300, nodeName: 'ab', networkId: 'n1' },
  });
  // GossipMessage {1: NETWORK_EVENT, 2: {1: JOIN, 2: 300, 3: "ab", 4: "n1"}}
  assert.equal(Buffer.from(bytesOf).toString('hex'), '0801120d080110ac021a02616222026e31');
});

test('no input makes the decoder throw anything but a WireError', () => {
  fc.assert(
    fc.property(fc.nat(8), fc.uint8Array({ maxLength: 120 }), (type, data) => {
      for (const input of [data, Buffer.concat([Buffer.of(8, type, 0x12, data.length), data])]) {
        try {
          protobufCodec.decode(input);
        } catch (error) {
          assert.ok(error instanceof WireError, String(error));
        }
      }
    }),
    { numRuns: 2_000 },
  );
});
