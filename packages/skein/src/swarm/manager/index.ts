/**
 * manager: the cluster's side that decides. `control` takes what users ask, the loops make it so, `server` speaks with
 * the nodes; all meet in the store. It runs no task and touches no kernel.
 */

export type { LocalRoute } from './loops.ts';
export { Manager, type ManagerOptions, type NewClusterOptions } from './manager.ts';
export type { ClusterLogMessage, ClusterLogRequest, ClusterLogs, Control } from './types.ts';
