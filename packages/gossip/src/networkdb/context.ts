import type { Clock, Counters, Logger, Random } from '../runtime/index.ts';
import type { GossipCodec } from './codec.ts';
import type { NetworkDBConfig } from './config.ts';
import type { LamportClock } from './lamport.ts';
import type { OwnNetwork } from './own-network.ts';
import type { PeerTable } from './peers.ts';
import type { TableStore } from './tables.ts';

/** When an entry that lives is forgotten. */
export const NEVER = Number.POSITIVE_INFINITY;

/** What the parts of a NetworkDB share: its surroundings and its state. */
export interface Context {
  /** This node's name. */
  readonly self: string;
  readonly config: NetworkDBConfig;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly codec: GossipCodec;
  /** Refused input, by cause. */
  readonly drops: Counters;
  /** Table events that arrived, by network. */
  readonly received: Counters;
  /** Orders node events, network events and push/pulls. */
  readonly networkClock: LamportClock;
  /** Orders table events and bulk syncs. */
  readonly tableClock: LamportClock;
  /** Networks that this node is or was on. BOUNDED by config.maxNetworks. */
  readonly networks: Map<string, OwnNetwork>;
  readonly peers: PeerTable;
  readonly store: TableStore;
  /** Networks that this node is on. */
  attached(): Iterable<OwnNetwork>;
}
