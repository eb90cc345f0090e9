import { clone } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { type Task, TaskSchema } from '../../gen/objects_pb.js';
import { TaskState } from '../../gen/types_pb.js';
import type { StoreEvent, WriteTransaction } from '../../store/index.ts';
import { AddressBook, allocateNodeFor, type Quarantine } from '../allocator/index.ts';
import type { LoopContext, LoopTask } from '../loop.ts';
import { isAlive, isWanted, setStatus, stateOf } from '../tasks.ts';
import { chooseNode } from './choose.ts';
import { NodeLoad } from './node-load.ts';

/** Tasks assigned in one transaction. */
const maxTasksPerRun = 500;
/** Messages of an assigned task (swarmkit manager/scheduler). */
const assignedMessage = 'scheduler assigned task to node';
const confirmedMessage = 'scheduler confirmed task can run on preassigned node';

/** The loop that gives PENDING tasks a node, together with that node's address on their networks. */
export class Scheduler implements LoopTask {
  readonly name = 'scheduler';
  readonly #context: LoopContext;
  readonly #quarantine: Quarantine;

  constructor(context: LoopContext, quarantine: Quarantine) {
    this.#context = context;
    this.#quarantine = quarantine;
  }

  notice(events: readonly StoreEvent[]): boolean {
    return events.some(concernsScheduling);
  }

  run(): number | undefined {
    const { store, clock } = this.#context;
    const waiting = store.view((tx) => tx.list('task').filter(waitsForNode));
    if (waiting.length === 0) return undefined;
    const complete = store.update((tx) => this.#assign(tx, waiting));
    return complete ? undefined : clock.now();
  }

  /** @returns whether all tasks were looked at. */
  #assign(tx: WriteTransaction, waiting: readonly Task[]): boolean {
    const now = this.#context.clock.now();
    const loads = new Map(tx.list('node').map((node) => [node.id, new NodeLoad(tx, node, now)]));
    let book: AddressBook | undefined;
    const context = {
      tx,
      book: () => {
        book ??= new AddressBook(tx, this.#quarantine);
        return book;
      },
    };
    let assigned = 0;
    for (const task of waiting) {
      if (assigned >= maxTasksPerRun) return false;
      const preassigned = loads.get(task.nodeId);
      if (task.nodeId !== '' && !preassigned) continue;
      const choice = chooseNode(task, preassigned ? [preassigned] : [...loads.values()], context);
      if ('reason' in choice) {
        explain(tx, task, now, choice.reason);
        continue;
      }
      const changed = clone(TaskSchema, task);
      changed.nodeId = choice.load.node.id;
      setStatus(changed, now, TaskState.ASSIGNED, preassigned ? confirmedMessage : assignedMessage);
      tx.update('task', changed);
      choice.load.add(changed);
      const node = tx.get('node', changed.nodeId);
      // Here addresses are only given; the allocator takes them back.
      if (node) allocateNodeFor(tx, node, changed, context.book);
      choice.load.node = tx.get('node', changed.nodeId) ?? choice.load.node;
      assigned++;
    }
    return true;
  }
}

function waitsForNode(task: Task): boolean {
  return stateOf(task) === TaskState.PENDING && isWanted(task);
}

/** Says in the task's status why no node takes it. */
function explain(tx: WriteTransaction, stored: Task, now: number, reason: string): void {
  if (stored.status?.err === reason) return;
  const task = clone(TaskSchema, stored);
  if (!task.status) return;
  task.status.timestamp = timestampFromMs(now);
  task.status.err = reason;
  tx.update('task', task);
}

/**
 * Nodes change what is possible; so does a task that gets its addresses, ends, or is not wanted any more, a network that
 * grows, and a service that leaves its virtual IPs to others.
 */
function concernsScheduling({ table, action, object, previous }: StoreEvent): boolean {
  if (table === 'node') return true;
  if (table === 'network' || table === 'service') return action !== 'create';
  if (table !== 'task') return false;
  const task = object as Task;
  if (action !== 'update') return action === 'delete' || waitsForNode(task);
  const before = previous as Task;
  return (
    (waitsForNode(task) && !isExplanation(task, before)) ||
    (isAlive(before) && !isAlive(task)) ||
    (isWanted(before) && !isWanted(task))
  );
}

/** @returns whether nothing changed but the reason for which a task waits: that was written here. */
function isExplanation(task: Task, before: Task): boolean {
  return waitsForNode(before) && task.status?.err !== before.status?.err;
}
