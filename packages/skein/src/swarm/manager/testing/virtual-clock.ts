import type { Clock, Timer } from '../../../common/index.ts';

/** Timers that may run in one `advance` before that counts as a loop without end. */
const maxRuns = 100_000;

interface WaitingTimer {
  readonly at: number;
  readonly callback: () => void;
}

/** A clock that stands still until it is told to advance; timers run in the order of their times. For tests. */
export class VirtualClock implements Clock {
  readonly #timers = new Set<Timer>();
  #now: number;

  constructor(now = 1_700_000_000_000) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  setTimeout(callback: () => void, delayMs: number): Timer {
    const timer: WaitingTimer = { at: this.#now + Math.max(0, delayMs), callback };
    this.#timers.add(timer);
    return timer;
  }

  clearTimeout(timer: Timer | undefined): void {
    if (timer) this.#timers.delete(timer);
  }

  /** Timers that wait, for leak checks. */
  get pending(): number {
    return this.#timers.size;
  }

  /** Moves the time on by `ms`, running every timer that falls due, also those set meanwhile. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (let runs = 0; ; runs++) {
      if (runs > maxRuns) throw new Error('the timers set each other without end');
      const due = [...this.#timers].map((timer) => timer as WaitingTimer).filter(({ at }) => at <= end);
      const [first] = due;
      if (!first) break;
      const next = due.reduce((best, timer) => (timer.at < best.at ? timer : best), first);
      this.#timers.delete(next);
      this.#now = Math.max(this.#now, next.at);
      next.callback();
    }
    this.#now = end;
  }
}
