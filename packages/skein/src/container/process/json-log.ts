/**
 * Docker's json-file log: one JSON object a line, `{"log":"…\n","stream":"stdout","time":"…"}`. A line longer than
 * 16 KiB is written in parts, all but the last without line end (moby daemon/logger/copier.go).
 */
import type { LogEntry } from '../types.ts';

/** moby daemon/logger/copier.go: defaultBufSize. */
export const maximumLineBytes = 16 * 1024;

/** Cuts a stream of chunks into lines and parts of lines. */
export class LineSplitter {
  #rest: Buffer = Buffer.alloc(0);

  /** @returns the lines that the chunk completes, each with its line end, and parts of over-long ones. */
  push(chunk: Uint8Array): Buffer[] {
    const data = this.#rest.length === 0 ? Buffer.from(chunk) : Buffer.concat([this.#rest, chunk]);
    const lines: Buffer[] = [];
    let start = 0;
    while (start < data.length) {
      const newline = data.indexOf(0x0a, start);
      const end = newline === -1 ? data.length : newline + 1;
      if (end - start > maximumLineBytes) {
        lines.push(data.subarray(start, start + maximumLineBytes));
        start += maximumLineBytes;
      } else if (newline === -1) break;
      else {
        lines.push(data.subarray(start, end));
        start = end;
      }
    }
    this.#rest = Buffer.from(data.subarray(start));
    return lines;
  }

  /** @returns what is left when the stream ends, if anything. */
  flush(): Buffer | undefined {
    const rest = this.#rest;
    this.#rest = Buffer.alloc(0);
    return rest.length > 0 ? rest : undefined;
  }
}

/** @returns one line of the file. Bytes that are not UTF-8 become U+FFFD, as with Docker. */
export function encodeEntry(entry: LogEntry): string {
  const record = { log: Buffer.from(entry.line).toString('utf8'), stream: entry.stream, time: entry.timestamp };
  return `${JSON.stringify(record)}\n`;
}

/** @returns the entry of one line, or undefined for a line that a crash left broken. */
export function decodeEntry(line: string): LogEntry | undefined {
  try {
    const record = JSON.parse(line) as { log?: unknown; stream?: unknown; time?: unknown };
    if (typeof record.log !== 'string' || typeof record.time !== 'string') return undefined;
    if (record.stream !== 'stdout' && record.stream !== 'stderr') return undefined;
    return { stream: record.stream, timestamp: record.time, line: Buffer.from(record.log) };
  } catch {
    return undefined;
  }
}
