/** Carries a main process's output from its pipes to the log and to whoever is attached. */
import { once } from 'node:events';
import type { PassThrough, Readable } from 'node:stream';
import type { Logger } from '../../common/index.ts';
import { nowText } from '../time.ts';
import type { ProcessStreams } from '../types.ts';
import { LineSplitter } from './json-log.ts';
import type { LogFile } from './log-file.ts';

type StreamName = 'stdout' | 'stderr';
/** An attached reader that takes nothing for this long is cut off, in milliseconds, so that it cannot stop the process. */
const slowReaderMs = 10_000;

/** The streams of one who is attached; made by the container, so that they can be there before the process is. */
export interface AttachedClient {
  readonly stdin: PassThrough | undefined;
  readonly stdout: PassThrough;
  readonly stderr: PassThrough | undefined;
}

/** The output of one run. Ends when the process has closed its pipes. */
export class ProcessOutput {
  readonly #streams: ProcessStreams;
  readonly #log: LogFile | undefined;
  readonly #attached: Record<StreamName, Set<PassThrough>> = { stdout: new Set(), stderr: new Set() };
  readonly #logger: Logger;
  #isLogBroken = false;
  #closed = false;
  /** Settles when all output is in the log, as far as that could be written. */
  readonly ended: Promise<void>;

  /** @param closeInput tells the shim that the process's input has ended. */
  constructor(
    streams: ProcessStreams,
    log: LogFile | undefined,
    options: { logger: Logger; closeInput: () => Promise<void> },
  ) {
    const { logger } = options;
    this.#logger = logger;
    this.#streams = streams;
    streams.stdin?.once('finish', () => {
      options
        .closeInput()
        .catch((error: unknown) => logger.debug({ err: error }, 'closing a container’s input failed'));
    });
    this.#log = log;
    const pumps = [this.#pump('stdout', streams.stdout)];
    if (streams.stderr) pumps.push(this.#pump('stderr', streams.stderr));
    this.ended = Promise.allSettled(pumps).then((ends) => {
      const [error] = ends.flatMap((end) => (end.status === 'rejected' ? [end.reason as unknown] : []));
      if (error !== undefined && !this.#closed) logger.error({ err: error }, 'reading a container’s output failed');
    });
  }

  async #pump(name: StreamName, source: Readable): Promise<void> {
    const splitter = new LineSplitter();
    try {
      for await (const chunk of source as AsyncIterable<Buffer>) {
        await this.#write(name, splitter.push(chunk));
        await Promise.all([...this.#attached[name]].map((reader) => this.#give(name, reader, chunk)));
      }
    } finally {
      const rest = splitter.flush();
      if (rest) await this.#write(name, [rest]);
      for (const reader of this.#attached[name]) reader.end();
      this.#attached[name].clear();
    }
  }

  async #write(stream: StreamName, lines: Buffer[]): Promise<void> {
    if (lines.length === 0) return;
    const timestamp = nowText();
    try {
      await this.#log?.append(lines.map((line) => ({ stream, timestamp, line })));
      this.#isLogBroken = false;
    } catch (error) {
      // On a full disk, say. The process would wait for ever for somebody to read what it writes.
      if (!this.#isLogBroken) this.#logger.error({ err: error }, 'a container’s output could not be logged');
      this.#isLogBroken = true;
    }
  }

  async #give(name: StreamName, reader: PassThrough, chunk: Buffer): Promise<void> {
    if (reader.destroyed) {
      this.#attached[name].delete(reader);
      return;
    }
    if (reader.write(chunk)) return;
    try {
      await once(reader, 'drain', { signal: AbortSignal.timeout(slowReaderMs) });
    } catch {
      this.#attached[name].delete(reader);
      reader.destroy();
    }
  }

  /** Gives a client the output from now on. */
  connect(client: AttachedClient): void {
    for (const name of ['stdout', 'stderr'] as const) {
      const reader = client[name];
      if (reader && this.#streams[name]?.readableEnded === false) this.#attached[name].add(reader);
      else reader?.end();
    }
  }

  /** Gives the process, which must run, the client's input. */
  connectInput(client: AttachedClient, options: { endsInput: boolean }): void {
    // Each client has an input of its own, so that one which is destroyed leaves the pipe to the others.
    if (this.#streams.stdin) client.stdin?.pipe(this.#streams.stdin, { end: options.endsInput });
  }

  /** Lets go of the pipes without waiting for their end. */
  close(): void {
    this.#closed = true;
    this.#streams.stdin?.destroy();
    this.#streams.stdout.destroy();
    this.#streams.stderr?.destroy();
  }
}
