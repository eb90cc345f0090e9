import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import fc from 'fast-check';
import { demultiplex } from './demultiplex.ts';

function frame(stream: number, text: string): Buffer {
  const body = Buffer.from(text);
  const head = Buffer.from([stream, 0, 0, 0, 0, 0, 0, 0]);
  head.writeUInt32BE(body.length, 4);
  return Buffer.concat([head, body]);
}

test('puts frames together again however the bytes arrive', async () => {
  const frames = fc.array(fc.record({ stream: fc.constantFrom(1, 2), text: fc.string() }), { maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(frames, fc.integer({ min: 1, max: 9 }), async (list, size) => {
      const bytes = Buffer.concat(list.map(({ stream, text }) => frame(stream, text)));
      const chunks = Array.from({ length: Math.ceil(bytes.length / size) }, (_none, index) =>
        bytes.subarray(index * size, (index + 1) * size),
      );
      const seen: string[] = [];
      await demultiplex(Readable.from(chunks), (stream, piece) => {
        seen.push(`${stream}:${piece}`);
        return undefined;
      });
      assert.deepEqual(
        seen,
        list.map(({ stream, text }) => `${stream === 2 ? 'stderr' : 'stdout'}:${text}`),
      );
    }),
    { numRuns: 50 },
  );
});

test('refuses a frame cut off and a stream that is none', async () => {
  const ignore = () => undefined;
  await assert.rejects(demultiplex(Readable.from([frame(1, 'abc').subarray(0, 9)]), ignore), /middle of a frame/);
  await assert.rejects(demultiplex(Readable.from([frame(7, 'abc')]), ignore), /unknown stream number 7/);
  await assert.rejects(demultiplex(Readable.from([frame(3, 'boom')]), ignore), /boom/);
});
