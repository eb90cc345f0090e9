/** Arbitrary, changed and truncated bytes: every decoder answers or throws a WireError, soon, and without eating the memory. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { protobufCodec } from '../networkdb/codec.ts';
import { decrypt } from './crypt.ts';
import { WireError } from './errors.ts';
import { decodePacket, FRAME_HEADER_SIZE, frameLength, Keyring, MAX_DECOMPRESSED } from './index.ts';
import { compress, decompress } from './lzw.ts';
import { compressed } from './messages.ts';
import { Reader, Writer } from './msgpack.ts';
import { decodeStreamMessage } from './stream.ts';

const plainRing = new Keyring();
/** Generous: the slowest decoder unfolds 40 MiB. */
const slowestMs = 5_000;
const mostMemory = 256 * 1024 * 1024;

const fixture = JSON.parse(readFileSync(join(import.meta.dirname, 'fixtures/dockerd-20.10.json'), 'utf8')) as {
  keys: string[];
  exchanges: { transport: string; bytes: string }[];
};
const ring = new Keyring(fixture.keys.map((key) => Buffer.from(key, 'hex')));
/** What dockerd sent, decrypted: where a change gets past the encryption. */
const samples = fixture.exchanges.map(({ transport, bytes }) => {
  const data = Buffer.from(bytes, 'hex');
  if (transport === 'udp') return decrypt(data, ring);
  return decrypt(data.subarray(FRAME_HEADER_SIZE), ring, data.subarray(0, FRAME_HEADER_SIZE));
});

const decoders: Readonly<Record<string, (bytes: Uint8Array) => unknown>> = {
  packet: (bytes) => decodePacket(bytes, plainRing),
  'encrypted packet': (bytes) => decodePacket(bytes, ring),
  stream: (bytes) => decodeStreamMessage(bytes),
  'frame header': (bytes) => frameLength(bytes),
  networkdb: (bytes) => protobufCodec.decode(bytes),
  lzw: (bytes) => decompress(bytes, MAX_DECOMPRESSED),
  msgpack: (bytes) => compressed.decode(new Reader(bytes)),
};

function survives(bytes: Uint8Array): void {
  for (const [name, decode] of Object.entries(decoders)) {
    try {
      decode(bytes);
    } catch (error) {
      assert.ok(error instanceof WireError, `${name}: ${String(error)} for ${Buffer.from(bytes).toString('hex')}`);
    }
  }
}

/** Runs `action` and checks what it cost. */
function bounded(action: () => void): void {
  const before = { time: performance.now(), memory: process.memoryUsage().rss };
  action();
  const took = performance.now() - before.time;
  const grew = process.memoryUsage().rss - before.memory;
  assert.ok(took < slowestMs, `${took} ms`);
  assert.ok(grew < mostMemory, `${grew} bytes`);
}

test("every cut of dockerd's own messages is refused or read, never more", () => {
  bounded(() => {
    for (const sample of samples) for (let end = 0; end < sample.length; end++) survives(sample.subarray(0, end));
  });
});

test("dockerd's own messages with bytes changed, repeated and left out", () => {
  const sample = fc.constantFrom(...samples);
  const edit = fc.record({ at: fc.nat(2_000), with: fc.uint8Array({ maxLength: 6 }), skip: fc.nat(6) });
  bounded(() => {
    fc.assert(
      fc.property(sample, fc.array(edit, { minLength: 1, maxLength: 4 }), (original, edits) => {
        let bytes = Buffer.from(original);
        for (const { at, with: insert, skip } of edits) {
          const place = at % (bytes.length + 1);
          bytes = Buffer.concat([bytes.subarray(0, place), insert, bytes.subarray(place + skip)]);
        }
        survives(bytes);
      }),
      { numRuns: 1_500 },
    );
  });
});

test('lengths that promise more than there is cost nothing', () => {
  const huge = ['df7fffffff', 'dd7fffffff', 'c6ffffffff', 'dbffffffff', 'deffff', 'dcffff'];
  bounded(() => {
    for (const hex of huge) {
      for (const prefix of ['', '06', '08', '09', '0d', '00', '81a3427566', '81a15e', '0983a3427566'])
        survives(Buffer.from(prefix + hex, 'hex'));
    }
    // A push/pull of four thousand million nodes, a user message of as many bytes.
    survives(
      Buffer.from(
        '0683a54e6f646573ceffffffffac557365725374617465 4c656eceffffffffa44a6f696ec2'.replace(' ', ''),
        'hex',
      ),
    );
    survives(Buffer.from('0881aa557365724d73674c656eceffffffff', 'hex'));
    survives(Buffer.from('07ff', 'hex'));
  });
});

test('a bomb, msgpack too deep and compression in compression are refused', () => {
  bounded(() => {
    assert.throws(() => decompress(compress(new Uint8Array(MAX_DECOMPRESSED + 1)), MAX_DECOMPRESSED), {
      code: 'too-large',
    });
    survives(Buffer.alloc(100_000, 0x91));
    survives(Buffer.concat([Buffer.of(6), Buffer.alloc(100_000, 0x81)]));
    let nested: Uint8Array = Buffer.of(8, 1);
    for (let depth = 0; depth < 50; depth++) {
      const writer = new Writer();
      writer.byte(9);
      compressed.encode({ algo: 0, buf: compress(nested) }, writer);
      nested = writer.finish();
    }
    survives(nested);
    let compound: Buffer = Buffer.of(8, 1);
    for (let depth = 0; depth < 100; depth++)
      compound = Buffer.concat([Buffer.of(7, 1, compound.length >> 8, compound.length & 0xff), compound]);
    survives(compound);
  });
});
