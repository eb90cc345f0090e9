import type { Service, Task } from '../../gen/objects_pb.js';
import { TaskState } from '../../gen/types_pb.js';
import type { ReadTransaction } from '../../store/index.ts';
import { createdMs, isJob, isWanted } from '../tasks.ts';

/**
 * One place of a service: a slot number of a replicated one, a node of a global one; with the tasks it has had. Tasks
 * that are to be removed do not count, nor do those of a job's earlier iterations.
 */
export interface Slot {
  readonly key: string;
  readonly number: bigint;
  /** '' in a replicated service. */
  readonly nodeId: string;
  /** Oldest first. */
  readonly tasks: readonly Task[];
}

export function isGlobal(service: Service): boolean {
  const mode = service.spec?.mode.case;
  return mode === 'global' || mode === 'globalJob';
}

/** @returns whether a task belongs to what its service does at present: each update of a job begins a new iteration. */
export function isPresent(service: Service, task: Task): boolean {
  return !isJob(service) || task.jobIteration?.index === (service.jobStatus?.jobIteration?.index ?? 0n);
}

/** @returns a task's place in its service. */
export function slotKey(service: Service, task: Task): string {
  return isGlobal(service) ? task.nodeId : String(task.slot);
}

/** @returns a service's slots by their key. */
export function slotsOf(tx: ReadTransaction, service: Service): Map<string, Slot> {
  const tasks = tx
    .tasksByService(service.id)
    .filter((task) => task.desiredState < TaskState.REMOVE && isPresent(service, task));
  const groups = Map.groupBy(tasks, (task) => slotKey(service, task));
  const slots = new Map<string, Slot>();
  for (const [key, group] of groups)
    slots.set(key, {
      key,
      number: group[0]?.slot ?? 0n,
      nodeId: isGlobal(service) ? key : '',
      tasks: group.sort(byAge),
    });
  return slots;
}

export function wantedTasks(slot: Slot): Task[] {
  return slot.tasks.filter(isWanted);
}

/** Older first; tasks of one moment by ID, to have one order everywhere. */
export function byAge(a: Task, b: Task): number {
  return createdMs(a) - createdMs(b) || (a.id < b.id ? -1 : 1);
}
