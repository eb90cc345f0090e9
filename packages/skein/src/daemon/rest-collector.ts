/** Memory that a burst of work has left goes back to the kernel when the daemon rests: V8 collects when it needs room. */

/** How often it is looked at; milliseconds. */
const defaultIntervalMs = 10_000;
/** Whoever used less of a processor than this since the last look rests. */
const restingShare = 0.05;
/** So much more than was left by the last collection is worth one, which takes some 50 ms of the process; bytes. */
const worthBytes = 24 * 1024 * 1024;

/** What is asked of the process. */
export interface ProcessReadings {
  /** Processor time used so far; milliseconds. */
  cpuMs(): number;
  /** What the heap holds, collectable or not; bytes. */
  heapBytes(): number;
  /** Collects all; undefined where Node was started without `--expose-gc`. */
  readonly collect: (() => void) | undefined;
}

const thisProcess: ProcessReadings = {
  cpuMs: () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  },
  heapBytes: () => process.memoryUsage().heapUsed,
  collect: globalThis.gc && (() => globalThis.gc?.()),
};

export class RestCollector implements Disposable {
  readonly #process: ProcessReadings;
  readonly #intervalMs: number;
  readonly #timer: NodeJS.Timeout;
  #cpuMs: number;
  /** What the last collection left. */
  #keptBytes = 0;

  constructor(readings: ProcessReadings = thisProcess, intervalMs = defaultIntervalMs) {
    this.#process = readings;
    this.#intervalMs = intervalMs;
    this.#cpuMs = readings.cpuMs();
    this.#timer = setInterval(() => this.#look(), intervalMs);
    this.#timer.unref();
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }

  #look(): void {
    const { collect } = this.#process;
    const cpuMs = this.#process.cpuMs();
    const isResting = cpuMs - this.#cpuMs < restingShare * this.#intervalMs;
    this.#cpuMs = cpuMs;
    const bytes = this.#process.heapBytes();
    // V8 has collected by itself.
    this.#keptBytes = Math.min(this.#keptBytes, bytes);
    if (collect === undefined || !isResting || bytes - this.#keptBytes < worthBytes) return;
    collect();
    this.#keptBytes = this.#process.heapBytes();
    this.#cpuMs = this.#process.cpuMs();
  }
}
