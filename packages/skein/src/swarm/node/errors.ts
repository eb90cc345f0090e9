/** Docker's words about a node's place in a swarm (moby daemon/cluster/errors.go). */
import { SkeinError } from '../../common/index.ts';

export const alreadyInSwarm = () =>
  new SkeinError(
    'Unavailable',
    'This node is already part of a swarm. Use "docker swarm leave" to leave this swarm and join another one.',
  );

export const notInSwarm = () => new SkeinError('Unavailable', 'This node is not part of a swarm');

export const notManagerNoSwarm = () =>
  new SkeinError(
    'Unavailable',
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm and try again.',
  );

export const notManagerWorker = () =>
  new SkeinError(
    'Unavailable',
    "This node is not a swarm manager. Worker nodes can't be used to view or modify cluster state. Please run this command on a manager node or promote the current node to a manager.",
  );

export const managerNotReady = () =>
  new SkeinError(
    'Unavailable',
    'This node is not a swarm manager. Manager is being prepared or has trouble connecting to the cluster.',
  );

export const joinTimedOut = () =>
  new SkeinError(
    'DeadlineExceeded',
    'Timeout was reached before node joined. The attempt to join the swarm will continue in the background. Use the "docker info" command to see the current swarm status of your node.',
  );

/** Beyond Docker, whose manager asks itself without the network. */
export const managerUnreachable = (address: string, lastError: string) =>
  new SkeinError(
    'Unavailable',
    `this node has no session with its own manager at ${address}: check that the host's loopback lets it through. No swarm was made${lastError && ` (${lastError})`}`,
  );

/** Beyond Docker, which says only "context deadline exceeded". */
export const noManagerAnswers = (managers: readonly string[], timeoutMs: number, cause: unknown) =>
  new SkeinError(
    'Unavailable',
    `no manager answered at ${managers.join(', ')} within ${timeoutMs / 1000} seconds: check the address, and that its port is open`,
    { cause },
  );

export const lastManagerLeaves = () =>
  new SkeinError(
    'Unavailable',
    'You are attempting to leave the swarm on a node that is participating as a manager. Removing the last manager erases all current state of the swarm. Use `--force` to ignore this message.',
  );

/** Docker has raft for this; Skein has one manager so far. */
export const secondManager = () =>
  new SkeinError(
    'Unimplemented',
    'Skein runs one manager so far: join as a worker, with the token of "docker swarm join-token worker" from the manager',
  );
