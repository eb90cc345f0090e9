/**
 * How often work that costs much may be done: it rests for so many times as long as it takes, so that while many changes
 * come each pass serves several. A little work at a time never waits.
 */
const restFactor = 4;
/** So much rest may be owed before the next pass waits for it: that of a tenth of a second's work. */
const creditMs = 400;
const maximumRestMs = 1000;

/** Times are those of one clock, in milliseconds. */
export class Pace {
  /** When all rest that is owed is over. */
  #owesUntil = 0;

  /** @returns how long the next pass has to wait; 0: not at all. */
  waitMs(now: number): number {
    return Math.max(0, this.#owesUntil - creditMs - now);
  }

  /** A pass has ended that took so long. */
  spend(ms: number, now: number): void {
    // The time of the work itself is no rest.
    const owed = Math.max(this.#owesUntil + ms, now) + ms * restFactor;
    this.#owesUntil = Math.min(owed, now + creditMs + maximumRestMs);
  }
}
