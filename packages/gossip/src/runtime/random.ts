import { randomBytes } from 'node:crypto';

/** Where the protocols take their chance from. Simulations pass a seeded one. */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** `length` random bytes; nonces and node names come from here. */
  bytes(length: number): Uint8Array;
}

/** `Math.random` for choices, the kernel's generator for bytes. */
export const systemRandom: Random = {
  next: () => Math.random(),
  bytes: (length) => randomBytes(length),
};

/** Uniform integer in [0, bound). */
export function randomInteger(random: Random, bound: number): number {
  return Math.floor(random.next() * bound);
}

/** Fisher-Yates, in place. */
export function shuffle<T>(random: Random, items: T[]): void {
  for (let last = items.length - 1; last > 0; last--) {
    const other = randomInteger(random, last + 1);
    const item = items[last] as T;
    items[last] = items[other] as T;
    items[other] = item;
  }
}

/** At most this many draws per wanted item before a sparse choice gives up (as memberlist's kRandomNodes bounds its own). */
const DRAWS_PER_ITEM = 8;

/** Up to `count` different items that pass `accept`, picked at random without copying the list. */
export function sample<T>(random: Random, items: readonly T[], count: number, accept: (item: T) => boolean): T[] {
  if (items.length <= count * 2) {
    const candidates = items.filter(accept);
    shuffle(random, candidates);
    return candidates.slice(0, count);
  }
  const chosen: T[] = [];
  for (let draw = 0; draw < count * DRAWS_PER_ITEM && chosen.length < count; draw++) {
    const item = items[randomInteger(random, items.length)] as T;
    if (accept(item) && !chosen.includes(item)) chosen.push(item);
  }
  return chosen;
}
