import { clone } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { RpcError } from '../../../common/index.ts';
import { NetworkSchema, type Task, TaskSchema } from '../../gen/objects_pb.js';
import { TaskState } from '../../gen/types_pb.js';
import type { StoreEvent, WriteTransaction } from '../../store/index.ts';
import type { LoopContext, LoopTask } from '../loop.ts';
import { isAlive, isWanted, stateOf } from '../tasks.ts';
import { AddressBook } from './addresses.ts';
import { allocateNode, allocateTask, awaitedNetworks } from './attachments.ts';
import { allocateNetwork, type NetworkAllocationOptions } from './networks.ts';
import type { Quarantine } from './quarantine.ts';
import { allocateService } from './services.ts';

/** Tasks that get their addresses in one transaction. */
const maxTasksPerRun = 500;

/**
 * The loop that allocates what is new. What cannot be allocated waits with the reason in its status, and is tried again
 * when something that holds addresses has gone.
 */
export class Allocator implements LoopTask {
  readonly name = 'allocator';
  readonly #context: LoopContext;
  readonly #quarantine: Quarantine;
  readonly #options: NetworkAllocationOptions;
  /** What could not be allocated in the last run and why, so that it is logged once. BOUNDED by the objects. */
  #failed: ReadonlyMap<string, string> = new Map();

  constructor(context: LoopContext, quarantine: Quarantine, options: NetworkAllocationOptions) {
    this.#context = context;
    this.#quarantine = quarantine;
    this.#options = { ...options, quarantine, warn: (message) => context.logger.warn(message) };
  }

  notice(events: readonly StoreEvent[]): boolean {
    return events.some(concernsAllocation);
  }

  run(): number | undefined {
    const { store, clock, logger } = this.#context;
    const failed = new Map<string, string>();
    const complete = store.update((tx) => {
      let current: AddressBook | undefined;
      const book = () => {
        current ??= new AddressBook(tx, this.#quarantine);
        return current;
      };
      this.#networks(tx, failed);
      for (const service of tx.list('service')) attempt(failed, service.id, () => allocateService(tx, service, book));
      const all = this.#tasks(tx, failed, book);
      const awaited = awaitedNetworks(tx);
      for (const node of tx.list('node')) {
        const full = allocateNode(tx, node, (id) => awaited.has(id), book);
        if (full) failed.set(node.id, book().describeFull(full));
      }
      return all;
    });
    for (const [id, reason] of failed)
      if (this.#failed.get(id) !== reason) logger.warn({ id }, `cannot allocate: ${reason}`);
    this.#failed = failed;
    return complete ? undefined : clock.now();
  }

  #networks(tx: WriteTransaction, failed: Map<string, string>): void {
    for (const network of tx.list('network')) {
      if (network.driverState) continue;
      attempt(failed, network.id, () => {
        const changed = clone(NetworkSchema, network);
        allocateNetwork(tx, changed, this.#options);
        tx.update('network', changed);
      });
    }
  }

  /** @returns whether all tasks were looked at. */
  #tasks(tx: WriteTransaction, failed: Map<string, string>, book: () => AddressBook): boolean {
    let count = 0;
    for (const task of tx.list('task')) {
      if (stateOf(task) !== TaskState.NEW || !isWanted(task)) continue;
      const ofService = failed.get(task.serviceId);
      if (count >= maxTasksPerRun) return false;
      if (ofService) failed.set(task.id, ofService);
      else attempt(failed, task.id, () => allocateTask(tx, task, this.#context.clock.now(), book));
      const reason = failed.get(task.id);
      if (reason) this.#explain(tx, task, reason);
      else count++;
    }
    return true;
  }

  /** Says in the task's status why it has no addresses; the user reads it as the task's error. */
  #explain(tx: WriteTransaction, stored: Task, reason: string): void {
    if (stored.status?.err === reason) return;
    const task = clone(TaskSchema, stored);
    if (!task.status) return;
    task.status.timestamp = timestampFromMs(this.#context.clock.now());
    task.status.err = reason;
    tx.update('task', task);
  }
}

/** Does `allocate`; notes why it could not. */
function attempt(failed: Map<string, string>, id: string, allocate: () => void): void {
  try {
    allocate();
  } catch (error) {
    if (!(error instanceof RpcError)) throw error;
    failed.set(id, error.description);
  }
}

/** A task's progress on its node changes nothing here; that it is new, ends or goes does. */
function concernsAllocation({ table, action, object, previous }: StoreEvent): boolean {
  if (table === 'network' || table === 'service' || table === 'node') return true;
  if (table !== 'task') return false;
  const [task, before] = [object as Task, previous as Task];
  if (action !== 'update') return true;
  const state = stateOf(task);
  const ended = isAlive(before) && !isAlive(task);
  return state === TaskState.NEW || state === TaskState.ASSIGNED || ended || task.status?.err !== before.status?.err;
}
