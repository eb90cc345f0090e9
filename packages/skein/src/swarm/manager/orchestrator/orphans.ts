import { clone } from '@bufbuild/protobuf';
import { TaskSchema } from '../../gen/objects_pb.js';
import { NodeStatus_State, TaskState } from '../../gen/types_pb.js';
import type { StoreEvent, WriteTransaction } from '../../store/index.ts';
import { Earliest, type LoopContext, type LoopTask } from '../loop.ts';
import { isAlive, setStatus, stateOf } from '../tasks.ts';

/** How long a node may be down before its tasks are given up (swarmkit manager/dispatcher: defaultNodeDownPeriod). */
const nodeDownPeriodMs = 24 * 3_600_000;
const downMessage = 'Task belonged to a node that has been down for too long';
const deletedMessage = 'Task belonged to a node that has been deleted';

/** Declares a node's tasks ORPHANED: nobody will ever say how they ended, so that what they hold becomes free. */
export function orphanTasks(tx: WriteTransaction, nodeId: string, message: string, now: number): void {
  for (const stored of tx.tasksByNode(nodeId)) {
    if (!isAlive(stored) || stateOf(stored) < TaskState.ASSIGNED) continue;
    const task = clone(TaskSchema, stored);
    setStatus(task, now, TaskState.ORPHANED, message);
    tx.update('task', task);
  }
}

/** The loop that orphans the tasks of nodes that are gone, at once, or have been down for a day. */
export class OrphanKeeper implements LoopTask {
  readonly name = 'orphan keeper';
  readonly #context: LoopContext;
  /** Since when each down node has been seen down; a manager's restart begins anew. BOUNDED by the nodes. */
  readonly #downSince = new Map<string, number>();

  constructor(context: LoopContext) {
    this.#context = context;
  }

  notice(events: readonly StoreEvent[]): boolean {
    return events.some(({ table }) => table === 'node');
  }

  run(): number | undefined {
    const now = this.#context.clock.now();
    const next = new Earliest();
    this.#context.store.update((tx) => {
      const down = tx.list('node').filter((node) => node.status?.state === NodeStatus_State.DOWN);
      for (const id of this.#downSince.keys()) if (!down.some((node) => node.id === id)) this.#downSince.delete(id);
      for (const { id } of down) {
        const since = this.#downSince.get(id) ?? now;
        this.#downSince.set(id, since);
        if (since + nodeDownPeriodMs <= now) orphanTasks(tx, id, downMessage, now);
        else next.add(since + nodeDownPeriodMs);
      }
      const gone = new Set(
        tx
          .list('task')
          .map((task) => task.nodeId)
          .filter((id) => id !== '' && !tx.get('node', id)),
      );
      for (const id of gone) orphanTasks(tx, id, deletedMessage, now);
    });
    return next.time;
  }
}
