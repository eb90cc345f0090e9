/** Lifeguard's local health: 0 is well; each missed ack or refutation makes us slower to accuse others. */
export class Awareness {
  readonly #max: number;
  #score = 0;

  /** The score stays in [0, max). */
  constructor(max: number) {
    this.#max = max;
  }

  get score(): number {
    return this.#score;
  }

  apply(delta: number): void {
    this.#score = Math.min(this.#max - 1, Math.max(0, this.#score + delta));
  }

  /** How many times slower this node should go, `slowest` at most. */
  pace(slowest: number): number {
    return Math.min(this.#score + 1, slowest);
  }

  /** A time-out as this node should wait for it. */
  scale(timeout: number): number {
    return timeout * (this.#score + 1);
  }
}
