/** Lifeguard's suspicion: the more members confirm it, the sooner it becomes death. */
import type { Clock, Timer } from '../runtime/index.ts';

/** Shortest time, in ms, that a member of a cluster of `nodes` stays suspected: `base` up to ten nodes. */
export function suspicionTimeout(base: number, nodes: number): number {
  return base * Math.max(1, Math.log10(Math.max(1, nodes)));
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

/** How long a suspicion takes, in ms: `min` when enough members have confirmed it, `max` while none has. */
export interface SuspicionTimes {
  readonly min: number;
  readonly max: number;
}

/** A running suspicion. BOUNDED: it remembers as many accusers as it expects. */
export class Suspicion {
  readonly #clock: Clock;
  readonly #accusers: Set<string>;
  readonly #expected: number;
  readonly #expire: () => void;
  readonly #start: number;
  #times: SuspicionTimes;
  /** Undefined while what follows from the end of the time is being decided. */
  #timer: Timer | undefined;

  /** `expire` runs once, and once more after `prolong`, unless `cancel` comes first. The first accuser confirms nothing. */
  constructor(clock: Clock, accuser: string, expected: number, times: SuspicionTimes, expire: () => void) {
    this.#clock = clock;
    this.#accusers = new Set([accuser]);
    this.#expected = expected;
    this.#times = times;
    this.#expire = expire;
    this.#start = clock.now();
    this.#arm();
  }

  #arm(): void {
    const elapsed = this.#clock.now() - this.#start;
    const { min, max } = this.#times;
    const confirmations = this.#accusers.size - 1;
    const remaining =
      this.#expected < 1 ? min - elapsed : remainingSuspicion(confirmations, this.#expected, elapsed, min, max);
    this.#timer = this.#clock.setTimeout(
      () => {
        this.#timer = undefined;
        this.#expire();
      },
      Math.max(0, remaining),
    );
  }

  /** Takes a confirmation; true when it is news that should be passed on. */
  confirm(accuser: string): boolean {
    if (this.#accusers.size > this.#expected || this.#accusers.has(accuser)) return false;
    this.#accusers.add(accuser);
    if (this.#timer) this.prolong(this.#times);
    return true;
  }

  /** Lets it take as long as these times say, counted from its beginning. */
  prolong(times: SuspicionTimes): void {
    this.cancel();
    this.#times = times;
    this.#arm();
  }

  cancel(): void {
    if (this.#timer) this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
