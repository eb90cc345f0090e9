/** networkdb's settings, times in ms (networkdb.go and cluster.go of libnetwork). */
export interface NetworkDBConfig {
  readonly gossipInterval: number;
  /** Wait, after a rest, for what is told together with the first news. Ours: upstream waits for its next tick. */
  readonly gossipDelay: number;
  /** Peers of a network that one tick reaches. */
  readonly gossipNodes: number;
  readonly retransmitMult: number;
  /** With more relayed events waiting than this, those from a bulk sync are not relayed. */
  readonly maxRelayedOnSync: number;
  readonly bulkSyncInterval: number;
  /** Wait for the answer to a bulk sync. */
  readonly bulkSyncTimeout: number;
  /** A newcomer on a network has this long to ask before it is asked. */
  readonly newcomerDelay: number;
  /** About so many nodes ask a new one what it is on, if it does not say so. */
  readonly askingWhoIsNew: number;
  /** A node that was held for dead exchanges its networks with at most this many peers at once. */
  readonly syncedOnReturn: number;
  /** An encoded bulk sync is split beyond this many bytes. */
  readonly bulkSyncChunk: number;
  /** A deleted entry is remembered this long. */
  readonly reapEntry: number;
  /** A network that was left is remembered this long. */
  readonly reapNetwork: number;
  /** A node that failed or left is remembered this long. */
  readonly reapNode: number;
  /** How often tombstones and own networks are looked through. */
  readonly reapInterval: number;
  /** How often other nodes and their networks are. */
  readonly reapPeersInterval: number;
  /** One failed node is tried again per interval. */
  readonly reconnectInterval: number;
  /** How often it is seen to that a bootstrap address is a member. */
  readonly rejoinInterval: number;
  readonly rejoinRetry: number;
  readonly rejoinDuration: number;
  /** Wait for the news of this node's leaving to be sent. */
  readonly leaveBroadcastTimeout: number;
  readonly leaveTimeout: number;
  /** Bounds of our own. */
  readonly maxEntriesPerNetwork: number;
  readonly maxAttachments: number;
  readonly maxQueuedEvents: number;
  readonly maxNetworks: number;
}

const SECOND = 1_000;
const MINUTE = 60 * SECOND;

export const networkDBConfig: NetworkDBConfig = {
  gossipInterval: 200,
  gossipDelay: 20,
  gossipNodes: 3,
  retransmitMult: 4,
  maxRelayedOnSync: 500,
  bulkSyncInterval: 30 * SECOND,
  bulkSyncTimeout: 30 * SECOND,
  newcomerDelay: SECOND,
  askingWhoIsNew: 4,
  syncedOnReturn: 16,
  bulkSyncChunk: 4 * 1024 * 1024,
  reapEntry: 30 * MINUTE,
  reapNetwork: 30 * MINUTE + 25 * SECOND,
  reapNode: 24 * 60 * MINUTE,
  reapInterval: 5 * SECOND,
  reapPeersInterval: MINUTE,
  reconnectInterval: SECOND,
  rejoinInterval: MINUTE,
  rejoinRetry: SECOND,
  rejoinDuration: 10 * SECOND,
  leaveBroadcastTimeout: 5 * SECOND,
  leaveTimeout: SECOND,
  maxEntriesPerNetwork: 262_144,
  maxAttachments: 262_144,
  maxQueuedEvents: 8_192,
  maxNetworks: 4_096,
};
