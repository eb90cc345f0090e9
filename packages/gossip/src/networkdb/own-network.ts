import { BroadcastQueue } from '../memberlist/broadcast-queue.ts';

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
  /** Peers whose events came before the news that they are on the network. BOUNDED by MAX_MISSED. */
  readonly missed: Set<string>;
}

export const MAX_MISSED = 256;

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
    missed: new Set(),
  };
}
