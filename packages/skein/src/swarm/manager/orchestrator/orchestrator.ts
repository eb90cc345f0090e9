import { equals } from '@bufbuild/protobuf';
import { errorText } from '../../../common/index.ts';
import type { Node, Task } from '../../gen/objects_pb.js';
import { NodeSpecSchema } from '../../gen/specs_pb.js';
import { NodeDescriptionSchema } from '../../gen/types_pb.js';
import type { StoreEvent } from '../../store/index.ts';
import { Earliest, type LoopContext, type LoopTask } from '../loop.ts';
import { isAlive, isJob } from '../tasks.ts';
import { releaseTasks, restartTasks } from './restart.ts';
import { Rollouts } from './rollout.ts';
import { endEarlierIterations, removeTasks, scale } from './scale.ts';
import { isGlobal } from './slots.ts';

/** Wait before a service whose reconciliation failed is tried again. */
const retryMs = 5_000;

/** The loop that keeps each service's tasks as its spec asks. */
export class Orchestrator implements LoopTask {
  readonly name = 'orchestrator';
  readonly #context: LoopContext;
  readonly #rollouts = new Rollouts();
  /** Services to look at in the next run. BOUNDED by the services, with those that are gone but have tasks. */
  readonly #dirty = new Set<string>();
  /** Services to look at later, with the time. */
  readonly #due = new Map<string, number>();

  constructor(context: LoopContext) {
    this.#context = context;
    context.store.view((tx) => {
      for (const service of tx.list('service')) this.#dirty.add(service.id);
      for (const task of tx.list('task')) if (task.serviceId !== '') this.#dirty.add(task.serviceId);
    });
  }

  notice(events: readonly StoreEvent[]): boolean {
    for (const event of events) {
      if (event.table === 'service') this.#dirty.add(event.object.id);
      if (event.table === 'task' && this.#changesService(event)) this.#dirty.add((event.object as Task).serviceId);
      if (event.table === 'node' && changesPlaces(event)) this.#noticeNode(event.object.id);
    }
    this.#dirty.delete('');
    return this.#dirty.size > 0;
  }

  run(): number | undefined {
    const now = this.#context.clock.now();
    for (const [id, at] of this.#due) if (at <= now) this.#dirty.add(id);
    const ids = [...this.#dirty];
    this.#dirty.clear();
    for (const id of ids) {
      this.#due.delete(id);
      const next = this.#reconcile(id, now);
      if (next !== undefined) this.#due.set(id, next);
    }
    const earliest = new Earliest();
    for (const at of this.#due.values()) earliest.add(at);
    return earliest.time;
  }

  #reconcile(id: string, now: number): number | undefined {
    try {
      return this.#context.store.update((tx) => {
        const service = tx.get('service', id);
        if (!service || service.pendingDelete) {
          this.#rollouts.forget(id);
          removeTasks(tx, tx.tasksByService(id));
          return undefined;
        }
        const next = new Earliest();
        if (isJob(service)) endEarlierIterations(tx, service);
        restartTasks(tx, service, now);
        scale(tx, service, now);
        if (!isJob(service)) next.add(this.#rollouts.step(tx, service, now));
        next.add(releaseTasks(tx, service, now));
        return next.time;
      });
    } catch (error) {
      this.#rollouts.forget(id);
      this.#context.logger.error({ err: error, service: id }, `cannot reconcile a service: ${errorText(error)}`);
      return now + retryMs;
    }
  }

  /** A task's way up to RUNNING changes nothing, unless an update waits for it. */
  #changesService({ action, object, previous }: StoreEvent): boolean {
    const [after, before] = [object as Task, previous as Task];
    if (action !== 'update' || this.#rollouts.awaits(after.serviceId)) return true;
    return !isAlive(after) || after.desiredState !== before.desiredState;
  }

  /** A node concerns the global services and those that have tasks on it. */
  #noticeNode(nodeId: string): void {
    this.#context.store.view((tx) => {
      for (const service of tx.list('service')) if (isGlobal(service)) this.#dirty.add(service.id);
      for (const task of tx.tasksByNode(nodeId)) this.#dirty.add(task.serviceId);
    });
  }
}

/** @returns whether a node's change can decide where tasks may be. */
function changesPlaces({ action, object, previous }: StoreEvent): boolean {
  if (action !== 'update') return true;
  const [after, before] = [object as Node, previous as Node];
  return (
    after.status?.state !== before.status?.state ||
    after.status?.addr !== before.status?.addr ||
    after.role !== before.role ||
    !(after.spec && before.spec && equals(NodeSpecSchema, after.spec, before.spec)) ||
    !(after.description && before.description && equals(NodeDescriptionSchema, after.description, before.description))
  );
}
