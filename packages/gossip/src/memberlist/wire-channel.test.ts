import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep, setImmediate as turn } from 'node:timers/promises';
import { Counters, silentLogger, systemClock, systemRandom } from '../runtime/index.ts';
import type { Stream, Transport } from '../transport/index.ts';
import { decodeFrame, encodeFrame, FRAME_HEADER_SIZE, Keyring, MAX_FRAME, MessageType } from '../wire/index.ts';
import { WireChannel } from './wire-channel.ts';

const keyring = new Keyring([new Uint8Array(16).fill(7)]);
const streamTimeout = 200;

test('strangers who begin many large frames do not fill the memory', async () => {
  let accept: (stream: Stream) => void = () => undefined;
  const transport = {
    address: { host: '127.0.0.1', port: 7946 },
    onPacket: () => undefined,
    onStream: (handler: typeof accept) => {
      accept = handler;
    },
  } as unknown as Transport;
  const drops = new Counters();
  const channel = new WireChannel({
    transport,
    keyring,
    clock: systemClock,
    random: systemRandom,
    logger: silentLogger,
    drops,
    streamTimeout,
  });
  channel.receive({
    packet: () => undefined,
    user: () => undefined,
    pushPull: () => assert.fail('nobody says so much'),
    ping: ({ seqNo }) => ({ seqNo, payload: new Uint8Array(0) }),
  });

  let held = 0;
  let most = 0;
  const chunk = Buffer.alloc(64 * 1024);
  const begin = (): void => {
    const header = Buffer.alloc(5);
    header[0] = MessageType.encrypt;
    header.writeUInt32BE(MAX_FRAME, 1);
    let taken = 0;
    const broken = Promise.withResolvers<never>();
    broken.promise.catch(() => undefined);
    accept({
      remote: { host: '192.0.2.1', port: 1 },
      read: async () => {
        if (taken + chunk.length > MAX_FRAME - 1) return broken.promise;
        taken += chunk.length;
        held += chunk.length;
        most = Math.max(most, held);
        return taken === chunk.length ? Buffer.concat([header, chunk.subarray(5)]) : chunk;
      },
      write: async () => undefined,
      end: () => undefined,
      destroy: () => {
        held -= taken;
        taken = 0;
        broken.reject(new Error('broken off'));
      },
    });
  };
  for (let stream = 0; stream < 128; stream++) begin();
  for (let round = 0; round < 400; round++) await turn();
  assert.ok(most > MAX_FRAME && most <= 5 * MAX_FRAME, `${most} bytes were held`);

  await sleep(streamTimeout + 50);
  assert.equal(held, 0);
  const answer = Promise.withResolvers<Uint8Array>();
  const body = { seqNo: 1, node: '', sourceAddr: new Uint8Array(0), sourcePort: 0, sourceNode: '' };
  const ping = encodeFrame({ type: 'ping', body }, keyring, systemRandom);
  accept({
    remote: { host: '192.0.2.2', port: 1 },
    read: async () => ping,
    write: async (bytes) => answer.resolve(bytes),
    end: () => undefined,
    destroy: () => answer.reject(new Error('a friend is refused')),
  });
  const answered = await answer.promise;
  const frame = decodeFrame(answered.subarray(0, FRAME_HEADER_SIZE), answered.subarray(FRAME_HEADER_SIZE), keyring);
  assert.equal(frame.type, 'ackResp');
});
