/**
 * Wakes one waiting loop. Notifications that come while it works are kept as one, so a loop that looks at the newest
 * state after each wake-up misses nothing and needs no queue.
 */
export class Wakeup {
  #pending = false;
  #wake: (() => void) | undefined;

  notify(): void {
    this.#pending = true;
    this.#wake?.();
  }

  /** Forgets a notification that came before. */
  reset(): void {
    this.#pending = false;
  }

  /** @returns true after a notification, false when `signal` aborted. */
  async next(signal: AbortSignal): Promise<boolean> {
    if (signal.aborted) return false;
    if (!this.#pending) {
      await new Promise<void>((resolve) => {
        const done = () => {
          this.#wake = undefined;
          signal.removeEventListener('abort', done);
          resolve();
        };
        this.#wake = done;
        signal.addEventListener('abort', done, { once: true });
      });
    }
    this.#pending = false;
    return !signal.aborted;
  }
}
