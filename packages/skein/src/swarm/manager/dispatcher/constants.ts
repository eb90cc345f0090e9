/** Times and texts of the dispatcher (swarmkit manager/dispatcher/dispatcher.go, nodes.go). */

export const defaultHeartbeatPeriodMs = 5_000;
/** Each period is drawn from ± this around the cluster's. */
export const heartbeatEpsilonMs = 500;
/** Periods without a heartbeat before a node is down, and for nodes that a starting manager only knows from its store. */
export const gracePeriods = 3;
export const unknownGracePeriods = 6;
/** A host that answers nobody for this share of a period is gone: 1.5 s, after the gossip's verdict that takes as long. */
export const silentHostPeriods = 0.3;
/** Pause between two looks at the hosts that the gossip has lost. */
export const hostPollMs = 100;
/** A down node's tasks count as lost after this. */
export const orphanAfterMs = 24 * 3_600_000;
/** More registrations of one node within the period are refused. */
export const registrationLimit = { count: 3, periodMs: 8_000 } as const;
/** Least time between two messages or transactions; what comes after a pause goes at once. */
export const assignmentBatchMs = 100;
export const statusBatchMs = 100;
/** Weight of each manager in a Session message (swarmkit remotes: DefaultObservationWeight). */
export const managerWeight = 10n;

export const messages = {
  heartbeatFailure: 'heartbeat failure',
  hostGone: 'host does not answer',
  unknownHeartbeatFailure: 'heartbeat failure for node in "unknown" state',
  unknown: 'Node moved to "unknown" state due to leadership change in cluster',
  disconnected: 'node is currently trying to find new manager',
} as const;
