/** Time as the rooms see it, so that tests decide when minutes and months pass. */
export interface Clock {
  /** Milliseconds since the epoch. */
  now(): number;
  /** Calls `action` once after `milliseconds`. */
  setTimeout(action: () => void, milliseconds: number): Timer;
  clearTimeout(timer: Timer | undefined): void;
}

/** What `setTimeout` gave; only good for `clearTimeout` of the same clock. */
export type Timer = object;

/** Longest delay that Node's timers can hold; longer ones fire at once (Node.js timers documentation). */
export const longestTimeoutMs = 2 ** 31 - 1;

/** Real time; a delay beyond 24.8 days is cut to that. */
export const systemClock: Clock = {
  now: () => Date.now(),
  setTimeout: (action, milliseconds) => setTimeout(action, Math.min(milliseconds, longestTimeoutMs)),
  clearTimeout: (timer) => clearTimeout(timer as NodeJS.Timeout | undefined),
};

/**
 * Waits.
 * @returns after `milliseconds` of the clock. @throws the signal's reason, at once, when it aborts.
 */
export function delay(clock: Clock, milliseconds: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) {
      reject(signal.reason);
      return;
    }
    const timer = clock.setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, milliseconds);
    const stop = () => {
      clock.clearTimeout(timer);
      reject(signal?.reason);
    };
    signal?.addEventListener('abort', stop, { once: true });
  });
}
