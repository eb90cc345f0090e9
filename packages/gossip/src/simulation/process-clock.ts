import type { Clock, Timer } from '../runtime/index.ts';

interface ProcessTimer {
  readonly callback: () => void;
  timer: Timer;
}

/** A process's clock: while it is stopped (SIGSTOP) nothing comes due, and what was due comes late and all at once. */
export class ProcessClock implements Clock {
  readonly #clock: Clock;
  /** What came due during the stop; undefined while the process runs. */
  #late: Set<ProcessTimer> | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  now(): number {
    return this.#clock.now();
  }

  setTimeout(callback: () => void, delay: number): Timer {
    const own: ProcessTimer = { callback, timer: {} };
    own.timer = this.#clock.setTimeout(() => {
      if (this.#late) this.#late.add(own);
      else callback();
    }, delay);
    return own;
  }

  clearTimeout(timer: Timer): void {
    const own = timer as ProcessTimer;
    this.#late?.delete(own);
    if (own.timer) this.#clock.clearTimeout(own.timer);
  }

  stop(): void {
    this.#late ??= new Set();
  }

  continue(): void {
    const late = this.#late;
    // A callback may clear another that is late as well.
    for (const own of late ?? []) {
      late?.delete(own);
      own.callback();
    }
    this.#late = undefined;
  }
}
