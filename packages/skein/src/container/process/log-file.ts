/** One container's log: appended to, rotated within its bounds, read with tail, since and follow. */
import { EventEmitter, once } from 'node:events';
import { appendFileSync } from 'node:fs';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { SkeinError } from '../../common/index.ts';
import { parseTime } from '../time.ts';
import type { LogEntry, LogOptions } from '../types.ts';
import { decodeEntry, encodeEntry } from './json-log.ts';

const units: Readonly<Record<string, number>> = { '': 1, b: 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 };
const readBytes = 64 * 1024;

/** @returns Docker's `max-size` (`10m`) in bytes. @throws SkeinError InvalidArgument. */
export function parseSize(text: string): number {
  const [, count = '', unit = ''] = /^(\d+(?:\.\d+)?)\s*([kmgb]?)b?$/i.exec(text) ?? [];
  if (count === '') throw new SkeinError('InvalidArgument', `invalid size: '${text}'`);
  return Math.floor(Number(count) * (units[unit.toLowerCase()] ?? 1));
}

/** `max-size` and `max-file` of json-file; no size is no rotation. */
export interface LogLimits {
  readonly maximumBytes: number;
  readonly maximumFiles: number;
}

/** @throws SkeinError InvalidArgument for a driver or options that Skein does not have. */
export function logLimits(logConfig: { Type: string; Config: Record<string, string> }): LogLimits {
  if (!['', 'json-file', 'none'].includes(logConfig.Type)) {
    throw new SkeinError('InvalidArgument', `logger: no log driver named '${logConfig.Type}' is registered`);
  }
  const { 'max-size': size, 'max-file': files } = logConfig.Config;
  const maximumBytes = size === undefined || size === '-1' ? Number.POSITIVE_INFINITY : parseSize(size);
  const maximumFiles = files === undefined ? 1 : Number(files);
  if (!Number.isInteger(maximumFiles) || maximumFiles < 1) {
    throw new SkeinError('InvalidArgument', 'max-file cannot be less than 1');
  }
  return { maximumBytes, maximumFiles };
}

/** The file and its older ones `.1`, `.2`, …. Appends are in order; readers may come and go. */
export class LogFile implements AsyncDisposable {
  readonly #path: string;
  readonly #limits: LogLimits;
  /** After each append, and when the process has ended. */
  readonly #changes = new EventEmitter<{ changed: [] }>().setMaxListeners(0);
  #file: FileHandle | undefined;
  #size = 0;
  #generation = 0;
  #running = false;
  #queue: Promise<void> = Promise.resolve();

  constructor(path: string, limits: LogLimits) {
    this.#path = path;
    this.#limits = limits;
  }

  /** A run of the process begins: followers wait for more until `finish`. */
  begin(): void {
    this.#running = true;
  }

  /** Appends entries in the order of the calls; resolves when they are written. */
  append(entries: readonly LogEntry[]): Promise<void> {
    const written = this.#queue.then(() => this.#write(entries));
    this.#queue = written.catch(() => undefined);
    return written;
  }

  async #write(entries: readonly LogEntry[]): Promise<void> {
    for (const entry of entries) {
      const line = Buffer.from(encodeEntry(entry));
      if (this.#size + line.length > this.#limits.maximumBytes && this.#size > 0) await this.#rotate();
      const file = await this.#open();
      // At once: what was read of a process's output is lost with the daemon until it is written.
      appendFileSync(file.fd, line);
      this.#size += line.length;
    }
    this.#changes.emit('changed');
  }

  async #open(): Promise<FileHandle> {
    if (this.#file) return this.#file;
    this.#file = await open(this.#path, 'a+', 0o640);
    this.#size = (await this.#file.stat()).size;
    const { bytesRead, buffer } = await this.#file.read(Buffer.alloc(1), 0, 1, Math.max(0, this.#size - 1));
    if (bytesRead === 1 && buffer[0] !== 0x0a) {
      await this.#file.write('\n'); // A crash cut the last line short.
      this.#size += 1;
    }
    return this.#file;
  }

  async #rotate(): Promise<void> {
    await this.#file?.close();
    this.#file = undefined;
    this.#size = 0;
    const oldest = this.#limits.maximumFiles - 1;
    for (let number = oldest - 1; number >= 1; number--) {
      await rename(`${this.#path}.${number}`, `${this.#path}.${number + 1}`).catch(ignoreMissing);
    }
    if (oldest >= 1) await rename(this.#path, `${this.#path}.1`);
    else await rm(this.#path, { force: true });
    this.#generation += 1;
  }

  /** The process has ended: followers get the rest and end. */
  async finish(): Promise<void> {
    await this.#queue;
    this.#running = false;
    this.#changes.emit('changed');
  }

  /** @yields entries that match the options, oldest first. */
  async *read(options: LogOptions): AsyncGenerator<LogEntry> {
    const { files, generation } = await this.#openAll();
    try {
      const starts = await startsOfTail(files, options.tail);
      let last = files.at(-1);
      for (const [position, file] of files.entries()) {
        const start = starts[position];
        if (start === undefined) continue;
        if (file === last) break;
        yield* select(readLines(file, start).lines, options);
      }
      if (!last) {
        if (!options.follow) return;
        last = await open(this.#path, 'a+', 0o640);
        files.push(last);
      }
      yield* this.#follow(last, starts.at(-1) ?? 0, generation, options, files);
    } finally {
      await Promise.all(files.map((file) => file.close()));
    }
  }

  async *#follow(
    first: FileHandle,
    start: number,
    generation: number,
    options: LogOptions,
    opened: FileHandle[],
  ): AsyncGenerator<LogEntry> {
    let file = first;
    let position = start;
    let seen = generation;
    for (;;) {
      const running = this.#running;
      const rotated = seen !== this.#generation;
      const reading = readLines(file, position);
      for await (const entry of select(reading.lines, options)) {
        if (options.signal?.aborted) return;
        yield entry;
      }
      position = reading.position();
      if (rotated) {
        file = await open(this.#path, 'a+', 0o640);
        opened.push(file);
        position = 0;
        seen = this.#generation;
        continue;
      }
      if (!options.follow || !running || options.signal?.aborted) return;
      if (running === this.#running && seen === this.#generation && position >= this.#size) {
        await this.#changed(options.signal);
      }
    }
  }

  async #changed(signal: AbortSignal | undefined): Promise<void> {
    await once(this.#changes, 'changed', signal ? { signal } : {}).catch((error: Error) => {
      if (error.name !== 'AbortError') throw error;
    });
  }

  /** Between two appends, so that no rotation comes in between. */
  #openAll(): Promise<{ files: FileHandle[]; generation: number }> {
    const opened = this.#queue.then(() => this.#openFiles());
    this.#queue = opened.then(
      () => undefined,
      () => undefined,
    );
    return opened;
  }

  async #openFiles(): Promise<{ files: FileHandle[]; generation: number }> {
    const files: FileHandle[] = [];
    for (let number = this.#limits.maximumFiles - 1; number >= 0; number--) {
      const path = number === 0 ? this.#path : `${this.#path}.${number}`;
      const file = await open(path, 'r').catch(ignoreMissing);
      if (file) files.push(file);
    }
    return { files, generation: this.#generation };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.finish();
    await this.#file?.close();
    this.#file = undefined;
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): undefined {
  if (error.code !== 'ENOENT') throw error;
  return undefined;
}

/** @returns for each file where its part of the last `tail` lines starts; undefined: it has no part. */
async function startsOfTail(files: readonly FileHandle[], tail: number | undefined): Promise<(number | undefined)[]> {
  if (tail === undefined) return files.map(() => 0);
  const starts: (number | undefined)[] = files.map(() => undefined);
  let wanted = tail;
  for (let position = files.length - 1; position >= 0; position--) {
    const file = files[position];
    if (!file) continue;
    const { size } = await file.stat();
    if (wanted <= 0) {
      if (position === files.length - 1) starts[position] = size;
      continue;
    }
    const found = await startOfLastLines(file, size, wanted);
    starts[position] = found.start;
    wanted -= found.lines;
  }
  return starts;
}

/** Counts line ends backwards. */
async function startOfLastLines(
  file: FileHandle,
  size: number,
  wanted: number,
): Promise<{ start: number; lines: number }> {
  const buffer = Buffer.alloc(readBytes);
  let end = size;
  let lines = 0;
  while (end > 0) {
    const start = Math.max(0, end - readBytes);
    const { bytesRead } = await file.read(buffer, 0, end - start, start);
    for (let index = bytesRead - 1; index >= 0; index--) {
      if (buffer[index] !== 0x0a || start + index === size - 1) continue;
      lines += 1;
      if (lines === wanted) return { start: start + index + 1, lines };
    }
    end = start;
  }
  return { start: 0, lines: size > 0 ? lines + 1 : 0 };
}

/** Reads whole lines from a position; `position()` tells where the first unread line starts. */
function readLines(file: FileHandle, from: number): { lines: AsyncGenerator<string>; position: () => number } {
  let position = from;
  async function* lines(): AsyncGenerator<string> {
    const buffer = Buffer.alloc(readBytes);
    let rest: Buffer = Buffer.alloc(0);
    for (;;) {
      const { bytesRead } = await file.read(buffer, 0, readBytes, position + rest.length);
      if (bytesRead === 0) return;
      rest = Buffer.concat([rest, buffer.subarray(0, bytesRead)]);
      for (let newline = rest.indexOf(0x0a); newline !== -1; newline = rest.indexOf(0x0a)) {
        const line = rest.subarray(0, newline).toString('utf8');
        rest = rest.subarray(newline + 1);
        position += newline + 1;
        yield line;
      }
    }
  }
  return { lines: lines(), position: () => position };
}

async function* select(lines: AsyncGenerator<string>, options: LogOptions): AsyncGenerator<LogEntry> {
  for await (const line of lines) {
    const entry = decodeEntry(line);
    if (!entry || !options[entry.stream]) continue;
    if (options.since !== undefined && parseTime(entry.timestamp) < options.since) continue;
    if (options.until !== undefined && parseTime(entry.timestamp) > options.until) continue;
    yield entry;
  }
}
