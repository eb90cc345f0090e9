import type { Clock } from './clock.ts';

const DEFAULT_PERIOD = 60_000;
const DEFAULT_LIMIT = 256;

/**
 * Tells the first of each kind from its repetitions, so that a log has what a peer does wrong once, not once a packet.
 * A kind is new again after `period` ms. BOUNDED by `limit` kinds a period; those beyond are not new.
 */
export class Novelty {
  readonly #clock: Clock;
  readonly #period: number;
  readonly #limit: number;
  readonly #seen = new Set<string>();
  #until = 0;

  constructor(clock: Clock, period = DEFAULT_PERIOD, limit = DEFAULT_LIMIT) {
    this.#clock = clock;
    this.#period = period;
    this.#limit = limit;
  }

  isNew(kind: string): boolean {
    const now = this.#clock.now();
    if (now >= this.#until) {
      this.#seen.clear();
      this.#until = now + this.#period;
    }
    if (this.#seen.has(kind) || this.#seen.size >= this.#limit) return false;
    this.#seen.add(kind);
    return true;
  }
}
