import {
  COMPOUND_OVERHEAD,
  COMPOUND_PART_OVERHEAD,
  ENCRYPTION_OVERHEAD,
  PACKET_SIZE,
  type Part,
} from '../wire/index.ts';

interface Broadcast {
  readonly name: string;
  readonly part: Part;
  readonly onDone: (() => void) | undefined;
  /** Another broadcast took its place. */
  replaced: boolean;
}

/** More than this fits no packet, and would block the others. */
const LARGEST_PART = PACKET_SIZE - COMPOUND_OVERHEAD - ENCRYPTION_OVERHEAD - COMPOUND_PART_OVERHEAD;
/** Parts that did not fit are looked past this often before a packet counts as full. */
const MAX_MISFITS = 8;
/** Replaced broadcasts that may lie about, beyond as many as there are live ones. */
const REPLACED_SLACK = 256;
/** No message is smaller; less room than this is none. */
const SMALLEST_PART = 16;

/**
 * Broadcasts that ride in passing packets, each sent a limited number of times: those sent least come first, of these
 * the newest, and a newer one of the same name replaces the older. BOUNDED by `capacity`; the most sent goes first.
 */
export class BroadcastQueue {
  readonly #capacity: number;
  /** Tier t holds what was sent t times; the newest is last. */
  readonly #tiers: Broadcast[][] = [];
  readonly #byName = new Map<string, Broadcast>();
  /** Replaced broadcasts that still lie in a tier. BOUNDED by the live ones and REPLACED_SLACK. */
  #replaced = 0;

  constructor(capacity: number) {
    this.#capacity = capacity;
  }

  get size(): number {
    return this.#byName.size;
  }

  /** Queues a part; `onDone` runs when it was sent often enough, was replaced, or fell out. What fits no packet falls out at once. */
  push(name: string, part: Part, onDone?: () => void): void {
    if (part.bytes.length > LARGEST_PART) {
      onDone?.();
      return;
    }
    const older = this.#byName.get(name);
    if (older) this.#finish(older);
    else if (this.#byName.size >= this.#capacity) this.#evict();
    if (this.#replaced > this.#byName.size + REPLACED_SLACK) this.#compact();
    const broadcast = { name, part, onDone, replaced: false };
    this.#byName.set(name, broadcast);
    this.#tier(0).push(broadcast);
  }

  /** Forgets what is queued under a name. */
  remove(name: string): void {
    const broadcast = this.#byName.get(name);
    if (broadcast) this.#finish(broadcast);
  }

  clear(): void {
    for (const broadcast of [...this.#byName.values()]) this.#finish(broadcast);
    this.#compact();
  }

  /** Takes parts for one packet into `into` until `budget` bytes are used; returns the bytes that are left. */
  take(budget: number, limit: number, into: Part[], overhead = COMPOUND_PART_OVERHEAD): number {
    let free = budget;
    if (this.#byName.size === 0) return free;
    const sent: Broadcast[] = [];
    const sentTier: number[] = [];
    for (let tier = 0; tier < this.#tiers.length && free >= SMALLEST_PART; tier++) {
      const queue = this.#tiers[tier] as Broadcast[];
      const misfits: Broadcast[] = [];
      while (free >= SMALLEST_PART && misfits.length < MAX_MISFITS) {
        const broadcast = queue.pop();
        if (!broadcast) break;
        if (broadcast.replaced) {
          this.#replaced--;
          continue;
        }
        const cost = broadcast.part.bytes.length + overhead;
        if (cost > free) {
          misfits.push(broadcast);
          continue;
        }
        free -= cost;
        into.push(broadcast.part);
        sent.push(broadcast);
        sentTier.push(tier);
      }
      for (let index = misfits.length; index > 0; ) queue.push(misfits[--index] as Broadcast);
    }
    for (let index = sent.length; index > 0; )
      this.#wasSent(sent[--index] as Broadcast, sentTier[index] as number, limit);
    return free;
  }

  #wasSent(broadcast: Broadcast, tier: number, limit: number): void {
    if (tier + 1 >= limit) {
      this.#byName.delete(broadcast.name);
      broadcast.onDone?.();
    } else this.#tier(tier + 1).push(broadcast);
  }

  #finish(broadcast: Broadcast): void {
    broadcast.replaced = true;
    this.#replaced++;
    this.#byName.delete(broadcast.name);
    broadcast.onDone?.();
  }

  #compact(): void {
    for (const [tier, queue] of this.#tiers.entries()) {
      this.#tiers[tier] = queue.filter((broadcast) => !broadcast.replaced);
    }
    this.#replaced = 0;
  }

  #evict(): void {
    for (const queue of this.#tiers.toReversed()) {
      const victim = queue.find((broadcast) => !broadcast.replaced);
      if (victim) {
        this.#finish(victim);
        return;
      }
    }
  }

  #tier(index: number): Broadcast[] {
    let queue = this.#tiers[index];
    while (!queue) {
      this.#tiers.push([]);
      queue = this.#tiers[index];
    }
    return queue;
  }
}
