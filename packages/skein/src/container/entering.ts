/** Processes on their way into a container, and the freezing that must not meet them. */
import { setTimeout as sleep } from 'node:timers/promises';
import { SkeinError } from '../common/index.ts';

/** How long a process may take to be put into the container before a pause is refused, in milliseconds. */
const enterTimeoutMs = 10_000;

/** A process that is frozen on its way in holds the container's shim for ever, so neither happens while the other does. */
export class Entering {
  readonly #id: string;
  /** BOUNDED by the calls under way. */
  readonly #entering = new Set<Promise<unknown>>();
  #isFreezing = false;

  constructor(containerId: string) {
    this.#id = containerId;
  }

  /** Puts a further process into the container. @throws SkeinError Conflict of one that is paused, or is just being. */
  async enter<T>(isPaused: boolean, action: () => Promise<T>): Promise<T> {
    if (isPaused || this.#isFreezing) {
      throw new SkeinError('Conflict', `Container ${this.#id} is paused, unpause the container before exec`);
    }
    const entering = action();
    this.#entering.add(entering);
    try {
      return await entering;
    } finally {
      this.#entering.delete(entering);
    }
  }

  /** Freezes the container once nobody is on his way in. @throws SkeinError Unavailable when somebody does not arrive. */
  async freeze(action: () => Promise<unknown>): Promise<void> {
    this.#isFreezing = true;
    try {
      const entered = Promise.allSettled(this.#entering).then(() => true);
      if (!(await Promise.race([entered, sleep(enterTimeoutMs, false, { ref: false })]))) {
        throw new SkeinError('Unavailable', `Container ${this.#id} has a process that is still being started`);
      }
      await action();
    } finally {
      this.#isFreezing = false;
    }
  }
}
