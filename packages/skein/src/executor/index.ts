/**
 * executor: runs the tasks that the agent is given, by putting together a container (`container/`), its sandbox and
 * endpoints (`overlay/`) and its names (`discovery/`). It owns no state of its own beyond what those three keep:
 * the container's ID follows from the task's ID, so that everything can be found again after a restart.
 */

export { type Attachment, Attachments } from './attachments.ts';
export { type ClusterAddresses, ClusterNetwork, type GossipReport } from './cluster-network.ts';
export { ContainerExecutor, type ContainerExecutorOptions } from './executor.ts';
export { ingressSandboxId } from './ingress-entrance.ts';
export { containerIdOf, taskNameOf } from './names.ts';
export { gatewayAddresses } from './task-network.ts';
