/** What a container's first process reads and writes: the pipes of its run, who is attached to them, the log of all runs. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { SkeinError } from '../common/index.ts';
import { unlessNotFound } from './containerd/client.ts';
import type { Context } from './context.ts';
import { type FifoPaths, initPipes, makeFifos, openFifos, presentFifos } from './process/fifos.ts';
import { LogFile, logLimits } from './process/log-file.ts';
import { type AttachedClient, ProcessOutput } from './process/output.ts';
import type { ContainerRecord } from './state.ts';
import type { LogEntry, LogOptions, ProcessStreams } from './types.ts';

/** How long output may still come after the process has ended, in milliseconds. */
const outputTimeoutMs = 2_000;
const maximumEarlyClients = 100;

export class ContainerStreams {
  readonly #record: ContainerRecord;
  readonly #context: Context;
  readonly #log: LogFile;
  #run: { readonly output: ProcessOutput; takesInput: boolean } | undefined;
  /** Attached before the process runs. BOUNDED by `maximumEarlyClients`. */
  #early: AttachedClient[] = [];

  constructor(record: ContainerRecord, context: Context) {
    this.#record = record;
    this.#context = context;
    this.#log = new LogFile(this.logPath, logLimits(record.hostConfig.LogConfig));
  }

  get logPath(): string {
    return join(this.#context.store.directoryOf(this.#record.id), `${this.#record.id}-json.log`);
  }

  /** Makes the pipes of a run and opens them. Who waits for the start gets its output, and later gives it input. */
  async open(): Promise<FifoPaths> {
    const { Tty, OpenStdin } = this.#record.config;
    const fifos = await makeFifos(this.#fifoDirectory, { stdin: OpenStdin, stdout: true, stderr: !Tty });
    this.#run = { output: await this.#connect(fifos), takesInput: false };
    for (const client of this.#early) this.#run.output.connect(client);
    return fifos;
  }

  /** Opens the pipes of a run that an earlier daemon began. @param fifos undefined: those that there are. */
  async reopen(fifos: FifoPaths = presentFifos(this.#fifoDirectory)): Promise<void> {
    this.#run = { output: await this.#connect(fifos), takesInput: true };
  }

  /**
   * The process runs: it gets the input of who waited for it. Input that ends before the shim has opened the pipe would be
   * lost, and its end as well.
   */
  started(): void {
    if (this.#run) this.#run.takesInput = true;
    for (const client of this.#early.splice(0)) this.#connectInput(client);
  }

  /** The start came to nothing. A shim that was left in the middle finds no pipe to wait at, with all of its containers. */
  async abandon(): Promise<void> {
    try {
      await rm(this.#fifoDirectory, { recursive: true, force: true });
    } finally {
      this.#run?.output.close();
      this.#run = undefined;
      this.endEarlyClients();
    }
  }

  /** The process has ended: what it wrote is read and in the log. */
  async finish(): Promise<void> {
    await this.#outputEnds();
    this.#run?.output.close();
    this.#run = undefined;
    await this.#log.finish();
  }

  /** Of a container that does not run: the streams of its next run, as `docker start --attach` wants them. */
  attach(options: { stdin: boolean }): ProcessStreams {
    const { OpenStdin, Tty } = this.#record.config;
    const client: AttachedClient = {
      stdin: options.stdin && OpenStdin ? new PassThrough() : undefined,
      stdout: new PassThrough(),
      stderr: Tty ? undefined : new PassThrough(),
    };
    const run = this.#run;
    if (!run?.takesInput) this.#awaitStart(client);
    run?.output.connect(client);
    if (run?.takesInput) this.#connectInput(client);
    return client;
  }

  #awaitStart(client: AttachedClient): void {
    // Without those who have hung up meanwhile.
    this.#early = this.#early.filter(({ stdout, stderr }) => !stdout.destroyed && !stderr?.destroyed);
    if (this.#early.length >= maximumEarlyClients) {
      const why = `Container ${this.#record.id} has ${maximumEarlyClients} clients that wait for its start`;
      throw new SkeinError('ResourceExhausted', why);
    }
    this.#early.push(client);
  }

  /** There is no next run for those who wait for it. */
  endEarlyClients(): void {
    for (const client of this.#early.splice(0)) {
      client.stdout.end();
      client.stderr?.end();
    }
  }

  logs(options: LogOptions): AsyncIterable<LogEntry> {
    if (!this.#keepsLog) {
      throw new SkeinError('Unimplemented', 'configured logging driver does not support reading');
    }
    const signals = [this.#context.closed, ...(options.signal ? [options.signal] : [])];
    return this.#log.read({ ...options, signal: AbortSignal.any(signals) });
  }

  closeLog(): Promise<void> {
    return this.#log[Symbol.asyncDispose]();
  }

  /** Lets go of the pipes; the process runs on. */
  async release(): Promise<void> {
    this.#run?.output.close();
    await this.#outputEnds();
    this.endEarlyClients();
  }

  get #fifoDirectory(): string {
    return join(this.#context.runDirectory, this.#record.id, initPipes);
  }

  get #keepsLog(): boolean {
    return this.#record.hostConfig.LogConfig.Type !== 'none';
  }

  async #connect(fifos: FifoPaths): Promise<ProcessOutput> {
    this.#log.begin();
    const { containerd, logger } = this.#context;
    const { id, state } = this.#record;
    return new ProcessOutput(await openFifos(fifos), this.#keepsLog ? this.#log : undefined, {
      logger,
      closeInput: async () => {
        if (state.Running) await unlessNotFound(containerd.tasks.closeIO({ containerId: id, stdin: true }));
      },
    });
  }

  /** Who hangs up a terminal leaves its process running, as with dockerd (moby container/stream/attach.go). */
  #connectInput(client: AttachedClient): void {
    const { StdinOnce = true, Tty } = this.#record.config;
    this.#run?.output.connectInput(client, { endsInput: StdinOnce && !Tty });
  }

  /** All that was read is in the log; who does not take it in time is not waited for. */
  async #outputEnds(): Promise<void> {
    await Promise.race([this.#run?.output.ended, sleep(outputTimeoutMs, undefined, { ref: false })]);
  }
}
