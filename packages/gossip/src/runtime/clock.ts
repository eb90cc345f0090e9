/** What `Clock.setTimeout` returns; opaque to everyone but the clock that made it. */
export type Timer = object;

/** Time as the protocols see it. Tests and simulations pass a virtual one. */
export interface Clock {
  /** Monotonic time in ms. */
  now(): number;
  /** Runs `callback` once, `delay` ms from now. */
  setTimeout(callback: () => void, delay: number): Timer;
  /** Forgets a timer; does nothing for one that has fired. */
  clearTimeout(timer: Timer): void;
}

/** The process's own clock. */
export const systemClock: Clock = {
  now: () => performance.now(),
  setTimeout: (callback, delay) => setTimeout(callback, delay),
  clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout),
};

/**
 * Resolves after `delay` ms of `clock`'s time, or as soon as `signal` aborts.
 * It never rejects: the caller looks at `signal.aborted`.
 */
export function sleep(clock: Clock, delay: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = (): void => {
      clock.clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    };
    const timer = clock.setTimeout(done, delay);
    signal?.addEventListener('abort', done, { once: true });
  });
}
