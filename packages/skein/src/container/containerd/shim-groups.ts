/**
 * Which containers share a shim. containerd's shim for runc takes all containers whose specifications name one group
 * (containerd 1.6, runtime/v2/runc). It has one lock, which it holds while it creates a container, and it ends with its
 * last one. So a group creates one container at a time, nobody is put behind a creation that hangs, and nobody joins a
 * group that may be ending.
 */
import { newHexId } from '../../common/index.ts';

/** The annotation by which the shim groups (runtime/v2/runc/manager/manager_linux.go: groupLabels). */
export const groupAnnotation = 'io.containerd.runc.v2.group';

/** How many containers the death of one shim ends at most. */
const maximumMembers = 10;
/** Groups with room that have a creation under way; while there are so many, starts wait for one of them. */
const fillingGroups = 4;
/** A creation that takes longer may hang: nobody waits for it any more, and its group gets nobody until it returns. */
const slowMs = 5_000;

/** The shim that a container is to have. */
export interface Shim {
  /** Unique for ever: a shim that ends takes the socket away that its group's name stands for. */
  readonly group: string;
  /** The container for whose start the shim was started; the shim's command line names it. */
  readonly leader: string;
}

interface Group extends Shim {
  /** Those that are created and not about to be removed: the shim lives at least as long as one of them. */
  readonly members: Set<string>;
  /** Of the creation under way: resolves when that has ended or is slow. */
  creation: PromiseWithResolvers<void> | undefined;
  slow: boolean;
}

interface Waiting {
  readonly id: string;
  readonly enter: (group: Group) => void;
}

/** The shim of a container that shares none. */
export function ownShim(id: string): Shim {
  return { group: id, leader: id };
}

/** The groups that this daemon has made. Those of an earlier one get no new members, and end with their last. */
export class ShimGroups {
  /** Those that may get members. */
  readonly #groups = new Set<Group>();
  readonly #groupOf = new Map<string, Group>();
  readonly #died: (shim: Shim) => Promise<void>;
  /** First come, first served. */
  #waiting: Waiting[] = [];

  /** @param died takes away what a shim leaves that did not end by itself. */
  constructor(died: (shim: Shim) => Promise<void>) {
    this.#died = died;
  }

  /**
   * Creates a container in a shim that has room and no other creation under way.
   * @throws what `create` throws, and the signal's reason when that comes first.
   */
  async join<T>(id: string, create: (shim: Shim) => Promise<T>, signal: AbortSignal): Promise<T> {
    const group = await this.#enter(id, signal);
    const timer = setTimeout(() => {
      group.slow = true;
      group.creation?.resolve();
      this.#admit();
    }, slowMs);
    try {
      const result = await create(group);
      group.members.add(id);
      this.#groupOf.set(id, group);
      return result;
    } finally {
      clearTimeout(timer);
      group.creation?.resolve();
      group.creation = undefined;
      group.slow = false;
      if (group.members.size === 0) this.#groups.delete(group);
      this.#admit();
    }
  }

  /**
   * Removes a container from its shim, which ends if it was the last: then nobody joins any more.
   * @param remove resolves to false when there is no such container: its shim may have died.
   */
  async leave(id: string, remove: () => Promise<boolean>): Promise<void> {
    const group = this.#groupOf.get(id);
    if (!group) {
      await remove();
      return;
    }
    this.#groupOf.delete(id);
    group.members.delete(id);
    const isLast = await this.#mayEnd(group);
    if (!(await remove()) && isLast) await this.#died(group);
  }

  /** Who is just being created would lose its shim to the last one's removal. */
  async #mayEnd(group: Group): Promise<boolean> {
    if (group.members.size === 0) await group.creation?.promise;
    if (group.members.size > 0 || group.creation) return false;
    this.#groups.delete(group);
    return true;
  }

  async #enter(id: string, signal: AbortSignal): Promise<Group> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<Group>();
    const waiting: Waiting = { id, enter: resolve };
    const leaveQueue = (): void => {
      this.#waiting = this.#waiting.filter((each) => each !== waiting);
      reject(signal.reason);
    };
    signal.addEventListener('abort', leaveQueue, { once: true });
    this.#waiting.push(waiting);
    this.#admit();
    try {
      return await promise;
    } finally {
      signal.removeEventListener('abort', leaveQueue);
    }
  }

  #admit(): void {
    for (let first = this.#waiting[0]; first; first = this.#waiting[0]) {
      const group = this.#choose(first.id);
      if (!group) return;
      group.creation = Promise.withResolvers();
      this.#waiting.shift();
      first.enter(group);
    }
  }

  /** The fullest of those that can take one; else a new one, unless enough are being filled. */
  #choose(id: string): Group | undefined {
    const roomy = [...this.#groups].filter(({ members, slow }) => members.size < maximumMembers && !slow);
    const [fullest] = roomy.filter(({ creation }) => !creation).sort((a, b) => b.members.size - a.members.size);
    if (fullest) return fullest;
    if (roomy.length >= fillingGroups) return undefined;
    const group: Group = {
      group: `${id}-${newHexId().slice(0, 8)}`,
      leader: id,
      members: new Set(),
      creation: undefined,
      slow: false,
    };
    this.#groups.add(group);
    return group;
  }
}
