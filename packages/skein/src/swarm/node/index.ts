/**
 * node: what this host is in a swarm. It makes or joins one, keeps the manager and the agent running over restarts, and
 * takes them down when the host leaves. It owns the swarm's state directory; it knows containers and networks only as
 * the executor that it is given.
 */
export { openSwarmNode, type SwarmNodeOptions } from './node.ts';
export type {
  Availability,
  HostExecutor,
  HostExecutorFactory,
  InitRequest,
  JoinRequest,
  LocalNodeState,
  SwarmNode,
  SwarmStatus,
} from './types.ts';
