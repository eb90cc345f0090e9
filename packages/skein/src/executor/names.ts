import { createHash } from 'node:crypto';
import type { Task } from '../swarm/gen/objects_pb.js';

/** Labels that dockerd puts on a task's container (moby daemon/cluster/executor/container/container.go). */
export const taskLabel = {
  task: 'com.docker.swarm.task',
  taskId: 'com.docker.swarm.task.id',
  taskName: 'com.docker.swarm.task.name',
  nodeId: 'com.docker.swarm.node.id',
  serviceId: 'com.docker.swarm.service.id',
  serviceName: 'com.docker.swarm.service.name',
} as const;

/**
 * @returns the 64-hex ID of a task's container. It is derived from the task's ID, so that a create that is repeated
 * after a crash finds what the first one made.
 */
export function containerIdOf(taskId: string): string {
  return createHash('sha256').update(`skein container of task ${taskId}`).digest('hex');
}

/** @returns the task's name, which is its container's name too: `<service>.<slot>.<task id>`, for a global service `<service>.<node id>.<task id>`. */
export function taskNameOf(task: Task): string {
  const own = task.annotations?.name;
  if (own) return own;
  const place = task.slot > 0n ? String(task.slot) : task.nodeId;
  return `${task.serviceAnnotations?.name ?? ''}.${place}.${task.id}`;
}

/** @returns the labels that every task's container carries. */
export function swarmLabels(task: Task): Record<string, string> {
  return {
    [taskLabel.task]: '',
    [taskLabel.taskId]: task.id,
    [taskLabel.taskName]: taskNameOf(task),
    [taskLabel.nodeId]: task.nodeId,
    [taskLabel.serviceId]: task.serviceId,
    [taskLabel.serviceName]: task.serviceAnnotations?.name ?? '',
  };
}
