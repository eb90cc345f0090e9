import type { Cluster, Service, Task } from '../../gen/objects_pb.js';
import { TaskState } from '../../gen/types_pb.js';
import type { ReadTransaction, StoreEvent } from '../../store/index.ts';
import type { LoopContext, LoopTask } from '../loop.ts';
import { isAlive, isWanted, stateOf } from '../tasks.ts';
import { byAge, slotKey } from './slots.ts';

/** swarmkit api/defaults: kept tasks of each slot, with the present one. */
const defaultHistoryLimit = 5n;

/** The loop that deletes tasks: removed ones once they have ended, and ended ones beyond the history that is kept. */
export class TaskReaper implements LoopTask {
  readonly name = 'task reaper';
  readonly #context: LoopContext;
  /** Services whose tasks changed. BOUNDED by the services. */
  readonly #dirty = new Set<string>();

  constructor(context: LoopContext) {
    this.#context = context;
    this.#markAll();
  }

  notice(events: readonly StoreEvent[]): boolean {
    for (const { table, action, object } of events) {
      if (table === 'task') this.#dirty.add((object as Task).serviceId);
      else if (table === 'cluster' || (table === 'node' && action === 'delete')) this.#markAll();
    }
    return this.#dirty.size > 0;
  }

  run(): number | undefined {
    this.#context.store.update((tx) => {
      const cluster = tx.list('cluster')[0];
      for (const id of this.#dirty) {
        const service = tx.get('service', id);
        const tasks = tx.tasksByService(id);
        const doomed = new Set(tasks.filter((task) => isRemovable(tx, task)));
        if (service) for (const task of beyondHistory(service, tasks, historyLimit(cluster, service))) doomed.add(task);
        for (const task of doomed) tx.delete('task', task.id);
      }
      if (this.#dirty.has(''))
        for (const task of tx.list('task')) if (isLostAttachment(task)) tx.delete('task', task.id);
    });
    this.#dirty.clear();
    return undefined;
  }

  #markAll(): void {
    this.#context.store.view((tx) => {
      for (const task of tx.list('task')) this.#dirty.add(task.serviceId);
    });
  }
}

/** A removed task goes when it has ended, never came to a node, or its node is gone. */
function isRemovable(tx: ReadTransaction, task: Task): boolean {
  if (task.desiredState !== TaskState.REMOVE) return false;
  return !isAlive(task) || stateOf(task) < TaskState.ASSIGNED || !tx.get('node', task.nodeId);
}

/** A plain container's attachment whose node is lost; others are detached by their node. */
function isLostAttachment(task: Task): boolean {
  return task.serviceId === '' && stateOf(task) === TaskState.ORPHANED;
}

/** As many as the cluster says (none is deleted when that is negative), but all that counting restarts needs. */
function historyLimit(cluster: Cluster | undefined, service: Service): bigint {
  const maxAttempts = service.spec?.task?.restart?.maxAttempts ?? 0n;
  if (maxAttempts > 0n) return maxAttempts + 1n;
  return cluster?.spec?.orchestration?.taskHistoryRetentionLimit ?? defaultHistoryLimit;
}

/** @returns the oldest ended tasks of each slot that has more tasks than the limit. */
function beyondHistory(service: Service, tasks: readonly Task[], limit: bigint): Task[] {
  if (limit < 0n) return [];
  const groups = Map.groupBy(tasks, (task) => slotKey(service, task));
  return [...groups.values()].flatMap((group) => {
    // The last task says what became of the slot: it stays whatever the limit.
    const surplus = group.length - Math.max(Number(limit), 1);
    if (surplus <= 0) return [];
    const ended = group.filter((task) => !isAlive(task) || (stateOf(task) < TaskState.ASSIGNED && !isWanted(task)));
    return ended.sort(byAge).slice(0, surplus);
  });
}
