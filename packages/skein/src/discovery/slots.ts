/** So many may be under way at once; the rest wait, not for ever and not in any number. */
export class Slots {
  #free: number;
  readonly #maximumWaiters: number;
  readonly #patienceMs: number;
  /** BOUNDED by `maximumWaiters`. */
  readonly #waiters = new Set<(granted: boolean) => void>();

  constructor(limits: { slots: number; maximumWaiters: number; patienceMs: number }) {
    this.#free = limits.slots;
    this.#maximumWaiters = limits.maximumWaiters;
    this.#patienceMs = limits.patienceMs;
  }

  /** @returns the function that gives the slot back, or undefined if none came free in time. */
  async take(): Promise<(() => void) | undefined> {
    if (this.#free > 0) this.#free -= 1;
    else if (this.#waiters.size >= this.#maximumWaiters || !(await this.#wait())) return undefined;
    let isGiven = false;
    return () => {
      if (isGiven) return;
      isGiven = true;
      this.#give();
    };
  }

  #wait(): Promise<boolean> {
    return new Promise((resolve) => {
      const waiter = (granted: boolean): void => {
        clearTimeout(timer);
        this.#waiters.delete(waiter);
        resolve(granted);
      };
      const timer = setTimeout(() => waiter(false), this.#patienceMs);
      this.#waiters.add(waiter);
    });
  }

  #give(): void {
    const [next] = this.#waiters;
    if (next === undefined) this.#free += 1;
    else next(true);
  }
}
