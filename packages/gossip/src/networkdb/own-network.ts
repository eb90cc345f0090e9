import { BroadcastQueue } from '../memberlist/broadcast-queue.ts';
import type { TableEvent } from './codec.ts';

/** A network that this node is on, or was on not long ago. */
export interface OwnNetwork {
  readonly id: string;
  lTime: number;
  leaving: boolean;
  /** Clock time, in ms, of the last join or leave. */
  since: number;
  /** The first bulk sync is over: from now on this node relays. */
  inSync: boolean;
  /** Some peer's entries have been received, or nobody had any. */
  hasSynced: boolean;
  /** Own events go before those of others. BOUNDED by config.maxQueuedEvents each. */
  readonly own: BroadcastQueue;
  readonly relayed: BroadcastQueue;
  /** Events that came before the news that their owner is on the network. BOUNDED by `keepEarly`. */
  readonly early: Map<string, EarlyEvents>;
}

/** Of one owner, in the order in which they came. */
export interface EarlyEvents {
  readonly events: TableEvent[];
  /** Clock time, in ms, of the first. */
  readonly since: number;
}

const MAX_EARLY_OWNERS = 256;
const MAX_EARLY_EVENTS = 64;

/**
 * Keeps an event until its owner is known to be on the network: that may be late, and what was not kept comes with a bulk
 * sync only. Beyond the bounds the owner who has waited longest is given up, and an owner's further events are left out.
 * @returns whether it is the first of its owner.
 */
export function keepEarly({ early }: OwnNetwork, event: TableEvent, now: number): boolean {
  const known = early.get(event.nodeName);
  if (known !== undefined) {
    if (known.events.length < MAX_EARLY_EVENTS) known.events.push(event);
    return false;
  }
  const [longest] = early.keys();
  if (longest !== undefined && early.size >= MAX_EARLY_OWNERS) early.delete(longest);
  early.set(event.nodeName, { events: [event], since: now });
  return true;
}

/** Gives up owners whose events began before (clock time, in ms): nobody may remember any more what they have deleted. */
export function forgetEarly({ early }: OwnNetwork, before: number): void {
  for (const [owner, { since }] of early) if (since <= before) early.delete(owner);
}

export function newOwnNetwork(id: string, maxQueued: number, now: number): OwnNetwork {
  return {
    id,
    lTime: 0,
    leaving: false,
    since: now,
    inSync: false,
    hasSynced: false,
    own: new BroadcastQueue(maxQueued),
    relayed: new BroadcastQueue(maxQueued),
    early: new Map(),
  };
}
