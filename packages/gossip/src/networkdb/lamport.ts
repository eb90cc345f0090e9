/** Times beyond this are refused, so that a clock never loses precision. */
export const MAX_LAMPORT_TIME = Number.MAX_SAFE_INTEGER - 1;

/** A Lamport clock (hashicorp/serf's, as networkdb uses it). */
export class LamportClock {
  #time = 0;

  get time(): number {
    return this.#time;
  }

  /** Steps on; returns the new time. */
  increment(): number {
    this.#time++;
    return this.#time;
  }

  /** Moves past a time that was seen. */
  witness(time: number): void {
    if (time >= this.#time) this.#time = time + 1;
  }
}
