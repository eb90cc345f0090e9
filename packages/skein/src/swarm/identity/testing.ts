/** A clock that tests move by hand. */
import type { Clock, Timer } from '../../common/index.ts';

interface Pending {
  readonly at: number;
  readonly action: () => void;
}

/** BOUNDED by what the test starts. */
export class TestClock implements Clock {
  #now: number;
  readonly #timers = new Set<Pending>();

  constructor(now: number = Date.now()) {
    this.#now = now;
  }

  now(): number {
    return this.#now;
  }

  setTimeout(action: () => void, milliseconds: number): Timer {
    const timer = { at: this.#now + milliseconds, action };
    this.#timers.add(timer);
    return timer;
  }

  clearTimeout(timer: Timer | undefined): void {
    this.#timers.delete(timer as Pending);
  }

  /** Moves time forward and runs what is due, in order; lets what that set off settle after each. */
  async advance(milliseconds: number): Promise<void> {
    const end = this.#now + milliseconds;
    for (;;) {
      const due = [...this.#timers].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0];
      if (due === undefined) break;
      this.#timers.delete(due);
      this.#now = Math.max(this.#now, due.at);
      due.action();
      await new Promise((resolve) => setImmediate(resolve));
    }
    this.#now = end;
  }
}
