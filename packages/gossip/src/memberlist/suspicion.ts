/** Lifeguard's suspicion: the more members confirm it, the sooner it becomes death. */
import type { Clock, Timer } from '../runtime/index.ts';

/** Shortest time, in ms, that a member of a cluster of `nodes` stays suspected. */
export function suspicionTimeout(multiplier: number, nodes: number, probeInterval: number): number {
  return multiplier * Math.max(1, Math.log10(Math.max(1, nodes))) * probeInterval;
}

/** Time that is left, in ms, after `confirmations` of the `expected`: from max down to min on a log scale. */
export function remainingSuspicion(
  confirmations: number,
  expected: number,
  elapsed: number,
  min: number,
  max: number,
): number {
  const share = Math.log(confirmations + 1) / Math.log(expected + 1);
  return Math.max(min, Math.floor(max - share * (max - min))) - elapsed;
}

/** A running suspicion. BOUNDED: it remembers as many accusers as it expects. */
export class Suspicion {
  readonly #clock: Clock;
  readonly #accusers: Set<string>;
  readonly #expected: number;
  readonly #min: number;
  readonly #max: number;
  readonly #expire: () => void;
  readonly #start: number;
  #timer: Timer;

  /** `expire` runs once, unless `cancel` comes first. The first accuser does not count as a confirmation. */
  constructor(clock: Clock, accuser: string, expected: number, min: number, max: number, expire: () => void) {
    this.#clock = clock;
    this.#accusers = new Set([accuser]);
    this.#expected = expected;
    this.#min = min;
    this.#max = max;
    this.#expire = expire;
    this.#start = clock.now();
    this.#timer = clock.setTimeout(expire, expected < 1 ? min : max);
  }

  /** Takes a confirmation; true when it is news that should be passed on. */
  confirm(accuser: string): boolean {
    const confirmations = this.#accusers.size;
    if (confirmations > this.#expected || this.#accusers.has(accuser)) return false;
    this.#accusers.add(accuser);
    const elapsed = this.#clock.now() - this.#start;
    const remaining = remainingSuspicion(confirmations, this.#expected, elapsed, this.#min, this.#max);
    this.#clock.clearTimeout(this.#timer);
    this.#timer = this.#clock.setTimeout(this.#expire, Math.max(0, remaining));
    return true;
  }

  cancel(): void {
    this.#clock.clearTimeout(this.#timer);
  }
}
