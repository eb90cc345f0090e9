import { setImmediate as turn } from 'node:timers/promises';
import { SkeinError } from '../common/index.ts';

/** More than this waiting means that something is stuck; the next one is told so. */
const maximumWaiting = 4096;

/**
 * Runs actions one after the other. The kernel calls of this room are synchronous and some take tens of milliseconds
 * (removing a link waits for all processors), so that running them beside each other would gain nothing; between two
 * actions the rest of the process has its turn.
 */
export class SerialQueue {
  #waiting = 0;
  #tail: Promise<void> = Promise.resolve();

  /**
   * Runs `action` when all earlier ones have ended. Its result and its error are the caller's.
   * @throws SkeinError ResourceExhausted when too many wait already.
   */
  async run<T>(action: () => Promise<T> | T): Promise<T> {
    if (this.#waiting >= maximumWaiting) {
      throw new SkeinError('ResourceExhausted', `${this.#waiting} operations on this host's networks wait already`);
    }
    this.#waiting += 1;
    const previous = this.#tail;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#tail = promise;
    try {
      await previous;
      await turn();
      return await action();
    } finally {
      this.#waiting -= 1;
      resolve();
    }
  }
}
