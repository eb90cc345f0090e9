/** memberlist's settings, all times in ms. */
export interface MemberlistConfig {
  /** One member is probed per interval, times local health. */
  readonly probeInterval: number;
  /** Wait for the direct ack before others are asked. */
  readonly probeTimeout: number;
  /** A node that is not well probes, and gives up waiting, up to so many times more slowly. */
  readonly slowestPace: number;
  /** Members asked to ping in our place. */
  readonly indirectChecks: number;
  readonly gossipInterval: number;
  /** Wait, after a rest, for what is told together with the first news. Ours: upstream waits for its next tick. */
  readonly gossipDelay: number;
  /** Members that one gossip tick reaches. */
  readonly gossipNodes: number;
  /** How long the dead are still told, so that they can refute; afterwards they are forgotten. */
  readonly gossipToTheDead: number;
  /** Up to 32 nodes; longer in larger clusters. */
  readonly pushPullInterval: number;
  /** Longest stream exchange. */
  readonly streamTimeout: number;
  /** A broadcast is sent `retransmitMult` × ceil(log10(n + 1)) times. */
  readonly retransmitMult: number;
  /** How long a suspect has to refute if its host answers; longer in clusters of more than ten nodes, by log10. */
  readonly suspicion: number;
  /** The same before its host is asked, and found silent. */
  readonly silentSuspicion: number;
  /** A suspect's host has this long to answer. */
  readonly hostTimeout: number;
  /** The time is so much longer while nobody confirms. */
  readonly suspicionMaxTimeoutMult: number;
  /** So many others must confirm until it is as short as it gets. */
  readonly confirmations: number;
  /** Local health stays below this. */
  readonly awarenessMaxMultiplier: number;
  /** Ping over TCP when UDP gives no answer. */
  readonly streamPing: boolean;
  /** Broadcasts waiting to be sent. */
  readonly maxQueuedBroadcasts: number;
  /** Members that are taken in. */
  readonly maxMembers: number;
}

/**
 * DefaultLANConfig with networkdb's changes. A node that is well probes twice as often as there, and a suspect has upstream's time
 * (4 × 1 s) only if its host answers: see docs/adr/0011. The last two are bounds of our own.
 */
export const lanConfig: MemberlistConfig = {
  probeInterval: 500,
  probeTimeout: 250,
  slowestPace: 2,
  indirectChecks: 3,
  gossipInterval: 200,
  gossipDelay: 20,
  gossipNodes: 3,
  gossipToTheDead: 30_000,
  pushPullInterval: 30_000,
  streamTimeout: 10_000,
  retransmitMult: 4,
  suspicion: 4_000,
  silentSuspicion: 600,
  hostTimeout: 300,
  suspicionMaxTimeoutMult: 6,
  confirmations: 2,
  awarenessMaxMultiplier: 8,
  streamPing: true,
  maxQueuedBroadcasts: 16_384,
  maxMembers: 16_384,
};

/** Clusters up to this size push/pull at the plain interval (pushPullScaleThreshold upstream). */
const PUSH_PULL_SCALE_THRESHOLD = 32;

/** The interval in a cluster of `nodes`: one step longer for every doubling above 32. */
export function pushPullInterval(interval: number, nodes: number): number {
  if (nodes <= PUSH_PULL_SCALE_THRESHOLD) return interval;
  const steps = Math.ceil(Math.log2(nodes) - Math.log2(PUSH_PULL_SCALE_THRESHOLD)) + 1;
  return steps * interval;
}

/** How often a broadcast is sent in a cluster of `nodes`. */
export function retransmitLimit(multiplier: number, nodes: number): number {
  return multiplier * Math.ceil(Math.log10(nodes + 1));
}
