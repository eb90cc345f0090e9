import type { Readable, Writable } from 'node:stream';
import { CommandError } from '../command/errors.ts';

/** The frame before each piece of output: stream number, three zero bytes, length (big endian). */
const headerBytes = 8;
const lengthOffset = 4;
/** Stream numbers of the multiplexed format (moby pkg/stdcopy). */
const streams = { stdin: 0, stdout: 1, stderr: 2, systemError: 3 } as const;
/** The largest frame that is believed; the engine writes at most 64 KiB a frame. */
const maxFrameBytes = 16 * 1024 * 1024;

/** Splits a multiplexed stream; `write` gets the pieces in order and may ask to wait. Ends with the source. */
export async function demultiplex(
  source: Readable,
  write: (stream: 'stdout' | 'stderr', piece: Buffer) => Promise<void> | undefined,
): Promise<void> {
  let pending: Buffer<ArrayBufferLike> = Buffer.alloc(0);
  for await (const chunk of source as AsyncIterable<Buffer>) {
    pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
    while (pending.length >= headerBytes) {
      const length = pending.readUInt32BE(lengthOffset);
      if (length > maxFrameBytes) throw new CommandError(`malformed output stream: a frame of ${length} bytes`);
      if (pending.length < headerBytes + length) break;
      const stream = pending[0];
      const piece = pending.subarray(headerBytes, headerBytes + length);
      pending = pending.subarray(headerBytes + length);
      if (stream === streams.systemError) throw new CommandError(`error from daemon in stream: ${piece.toString()}`);
      if (stream !== streams.stdin && stream !== streams.stdout && stream !== streams.stderr) {
        throw new CommandError(`malformed output stream: unknown stream number ${stream}`);
      }
      await write(stream === streams.stderr ? 'stderr' : 'stdout', piece);
    }
  }
  if (pending.length > 0) throw new CommandError('the output stream ended in the middle of a frame');
}

/** Writes a piece and waits for the stream to drain if it is full. */
export async function writeTo(target: Writable, piece: Buffer | string): Promise<void> {
  if (target.write(piece) || target.destroyed) return;
  await new Promise<void>((resolve) => {
    const done = () => {
      target.off('drain', done).off('close', done);
      resolve();
    };
    target.on('drain', done).on('close', done);
  });
}

/** Copies a raw stream until it ends. */
export async function copy(source: Readable, target: Writable): Promise<void> {
  for await (const chunk of source as AsyncIterable<Buffer>) await writeTo(target, chunk);
}
