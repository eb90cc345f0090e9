/** How far a service is, counted from its tasks (swarmkit manager/controlapi/service.go: ListServiceStatuses). */
import type { Service, Task } from '../../swarm/gen/objects_pb.js';
import { TaskState } from '../../swarm/gen/types_pb.js';

export interface ServiceStatus {
  RunningTasks: number;
  DesiredTasks: number;
  CompletedTasks: number;
}

export function serviceStatus(service: Service, tasks: readonly Task[]): ServiceStatus {
  const mode = service.spec?.mode;
  const job = mode?.case === 'replicatedJob' || mode?.case === 'globalJob';
  const iteration = service.jobStatus?.jobIteration?.index;
  // Of a job only the present iteration counts.
  const counted = job ? tasks.filter((task) => task.jobIteration?.index === iteration) : tasks;
  const inState = (state: TaskState): number => counted.filter((task) => task.status?.state === state).length;
  return {
    RunningTasks: inState(TaskState.RUNNING),
    DesiredTasks: desiredTasks(service, counted),
    CompletedTasks: job ? inState(TaskState.COMPLETE) : 0,
  };
}

function desiredTasks({ spec }: Service, tasks: readonly Task[]): number {
  switch (spec?.mode.case) {
    case 'replicated':
      return Number(spec.mode.value.replicas);
    case 'replicatedJob':
      return Number(spec.mode.value.maxConcurrent);
    case 'globalJob':
      return tasks.filter(
        (task) => task.desiredState === TaskState.COMPLETE && task.status?.state !== TaskState.COMPLETE,
      ).length;
    default:
      return tasks.filter((task) => task.desiredState === TaskState.RUNNING).length;
  }
}
