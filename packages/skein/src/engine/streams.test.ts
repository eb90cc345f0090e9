import assert from 'node:assert/strict';
import { PassThrough, Readable } from 'node:stream';
import { describe, it } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { joinSession } from './routes/session.ts';
import { copyOutput, frame, outputType, write } from './streams.ts';

describe('frames', () => {
  it('carry any chunk behind its stream and length', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('stdin' as const, 'stdout' as const, 'stderr' as const),
        fc.uint8Array(),
        (name, chunk) => {
          const framed = frame(name, chunk);
          assert.equal(framed[0], ['stdin', 'stdout', 'stderr'].indexOf(name));
          assert.equal(framed.readUInt32BE(4), chunk.length);
          assert.deepEqual(new Uint8Array(framed.subarray(8)), chunk);
        },
      ),
    );
  });

  it('are named since API 1.42', () => {
    assert.equal(outputType(false, 42), 'application/vnd.docker.multiplexed-stream');
    assert.equal(outputType(false, 41), 'application/vnd.docker.raw-stream');
    assert.equal(outputType(true, 51), 'application/vnd.docker.raw-stream');
  });
});

describe('a slow reader', () => {
  it('holds the writer back', async () => {
    const target = new PassThrough({ highWaterMark: 10 });
    let taken = 0;
    const source = Readable.from(
      (function* () {
        for (; taken < 1_000; taken++) yield Buffer.alloc(8);
      })(),
      { highWaterMark: 1 },
    );
    const copy = copyOutput(source, target, 'tty', new AbortController().signal);
    await delay(30);
    assert.ok(taken < 50, `${taken} chunks taken while nobody reads`);
    target.resume();
    await copy;
    assert.equal(taken, 1_000);
  });

  it('that is gone or given up lets the writer go on', async () => {
    for (const leave of ['destroy', 'abort'] as const) {
      const target = new PassThrough({ highWaterMark: 1 });
      const given = new AbortController();
      const written = write(target, 'xx', given.signal);
      if (leave === 'destroy') target.destroy();
      else given.abort();
      assert.equal(await written, false, leave);
      assert.equal(target.listenerCount('drain'), 0);
    }
  });
});

describe('a session', () => {
  it('whose client hung up before it began leaves no process waiting for input', async () => {
    const streams = { stdin: new PassThrough(), stdout: new PassThrough(), stderr: new PassThrough() };
    const connection = new PassThrough();
    connection.destroy();
    const wanted = { stdin: true, stdout: true, stderr: true, tty: false, detachKeys: Uint8Array.of(16) };
    const session = joinSession(streams, connection, wanted, AbortSignal.abort());
    assert.equal(await Promise.race([session, delay(500, 'goes on', { ref: false })]), false);
    assert.equal(streams.stdin.writableEnded, true);
  });
});
