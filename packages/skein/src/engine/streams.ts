/** Long answers: with back-pressure, and an end when the client is gone. */
import type { Readable, Writable } from 'node:stream';
import { stringify } from './json.ts';

/** Header of a multiplexed frame: stream type, three zeros, length (big endian); see Docker's attach format. */
const frameHeaderLength = 8;
const streamTypes = { stdin: 0, stdout: 1, stderr: 2 } as const;
export type StreamName = keyof typeof streamTypes;

export const rawStream = 'application/vnd.docker.raw-stream';
export const multiplexedStream = 'application/vnd.docker.multiplexed-stream';
/** The API version that names multiplexed streams so; before, all were called raw. */
const multiplexedSince = 42;

/** @returns the content type of a process's output. */
export function outputType(tty: boolean, apiVersion: number): string {
  return tty || apiVersion < multiplexedSince ? rawStream : multiplexedStream;
}

/** @returns the chunk behind its header. */
export function frame(name: StreamName, chunk: Uint8Array): Buffer {
  const framed = Buffer.allocUnsafe(frameHeaderLength + chunk.length);
  framed.writeUInt32BE(0, 0);
  framed.writeUInt8(streamTypes[name], 0);
  framed.writeUInt32BE(chunk.length, 4);
  framed.set(chunk, frameHeaderLength);
  return framed;
}

/** Writes and waits until the reader has room. @returns false when nobody reads any more. */
export async function write(target: Writable, chunk: Uint8Array | string, signal: AbortSignal): Promise<boolean> {
  if (signal.aborted || target.destroyed || target.writableEnded) return false;
  if (target.write(chunk)) return true;
  await new Promise<void>((resolve) => {
    const done = (): void => {
      target.off('drain', done).off('close', done).off('error', done);
      signal.removeEventListener('abort', done);
      resolve();
    };
    target.once('drain', done).once('close', done).once('error', done);
    signal.addEventListener('abort', done, { once: true });
  });
  return !signal.aborted && !target.destroyed;
}

/** Copies a process's output, framed unless it has a TTY, until it ends or nobody reads. */
export async function copyOutput(
  source: Readable,
  target: Writable,
  name: StreamName | 'tty',
  signal: AbortSignal,
): Promise<void> {
  const stop = (): void => {
    source.destroy();
  };
  if (signal.aborted) stop();
  else signal.addEventListener('abort', stop, { once: true });
  try {
    for await (const chunk of source) {
      const bytes = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk as string | Uint8Array);
      if (!(await write(target, name === 'tty' ? bytes : frame(name, bytes), signal))) break;
    }
  } catch (error) {
    if (!signal.aborted) throw error;
  } finally {
    signal.removeEventListener('abort', stop);
    source.destroy();
  }
}

/** One JSON object per line, as the progress and event streams are. */
export function jsonLine(value: unknown): string {
  return `${stringify(value)}\r\n`;
}
