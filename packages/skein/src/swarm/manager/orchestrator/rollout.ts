import { create } from '@bufbuild/protobuf';
import { durationMs, timestampMs } from '@bufbuild/protobuf/wkt';
import type { Service, Task } from '../../gen/objects_pb.js';
import {
  UpdateStatus_UpdateState as State,
  TaskState,
  type UpdateConfig,
  UpdateConfig_UpdateOrder,
  UpdateConfigSchema,
} from '../../gen/types_pb.js';
import type { WriteTransaction } from '../../store/index.ts';
import { createdMs, isAlive, isOutdated, isWanted, newTask, setDesiredState, stateOf } from '../tasks.ts';
import { isOccupied } from './scale.ts';
import { type Slot, slotsOf, wantedTasks } from './slots.ts';
import { actOnFailure, setUpdateStatus } from './update-status.ts';

/** swarmkit api/defaults: Service.Update and Service.Rollback. */
const defaultConfig = create(UpdateConfigSchema, { parallelism: 1n });
const defaultMonitorMs = 5_000;
/** Added to a delay that is longer than the monitoring, so that the last task is still watched (swarmkit updater). */
const monitorAfterDelayMs = 1_000;

/** The state of one running update that is not in the store. */
interface Progress {
  readonly specVersion: bigint;
  /** Slots that were outdated when it began: what the failure ratio is of. */
  readonly total: number;
  /** Slots being replaced, with the new task. BOUNDED by the parallelism. */
  readonly busy: Map<string, string>;
  /** When each task that this update made was seen running (or ended). BOUNDED by the slots. */
  readonly seenUp: Map<string, number>;
  readonly made: Set<string>;
  readonly failed: Set<string>;
}

/**
 * Rolls services' tasks over to their present spec: so many slots at a time, with a delay, watching each new task for
 * a while, and pausing or rolling back when too many fail. What it remembers can be lost: after a restart of the
 * manager the update goes on with what is still outdated and watches the new tasks once more.
 */
export class Rollouts {
  readonly #progress = new Map<string, Progress>();
  /** Services whose paused update left old tasks beside new ones that may still come up. BOUNDED by the services. */
  readonly #halfDone = new Set<string>();

  /** @returns whether it matters to a service that a task of it comes up. */
  awaits(serviceId: string): boolean {
    return this.#progress.has(serviceId) || this.#halfDone.has(serviceId);
  }

  forget(serviceId: string): void {
    this.#progress.delete(serviceId);
    this.#halfDone.delete(serviceId);
  }

  /** Takes the next steps of a service's update, if one is due. @returns when to look again. */
  step(tx: WriteTransaction, service: Service, now: number): number | undefined {
    const state = service.updateStatus?.state ?? State.UNKNOWN;
    this.#halfDone.delete(service.id);
    if (state === State.PAUSED || state === State.ROLLBACK_PAUSED) {
      this.#progress.delete(service.id);
      if (finishBegun(tx, service)) this.#halfDone.add(service.id);
      return undefined;
    }
    const slots = [...slotsOf(tx, service).values()].filter((slot) => isOccupied(service, slot, now));
    const outdated = slots.filter((slot) => needsWork(tx, service, slot));
    const inProgress = state === State.UPDATING || state === State.ROLLBACK_STARTED;
    let progress = this.#progress.get(service.id);
    if (progress && progress.specVersion !== specVersion(service)) progress = undefined;
    if (!progress) {
      this.#progress.delete(service.id);
      if (outdated.length === 0 && !inProgress) return undefined;
      progress = recover(service, slots, outdated.length, now);
      this.#progress.set(service.id, progress);
      if (!service.updateStatus) {
        setUpdateStatus(tx, service.id, State.UPDATING, 'update in progress', now);
        service = tx.get('service', service.id) ?? service;
      }
    }
    return this.#advance(tx, service, progress, slots, outdated, now);
  }

  #advance(
    tx: WriteTransaction,
    service: Service,
    progress: Progress,
    slots: readonly Slot[],
    outdated: readonly Slot[],
    now: number,
  ): number | undefined {
    const config = configOf(service);
    const delayMs = config.delay ? durationMs(config.delay) : 0;
    const monitorMs = config.monitor ? durationMs(config.monitor) : defaultMonitorMs;
    for (const slot of slots) watchTasks(slot, progress, now);
    const failure = newFailure(slots, progress, monitorMs, now);
    if (failure && progress.failed.size / Math.max(progress.total, 1) > config.maxFailureRatio)
      if (actOnFailure(tx, service, failure, config, now)) {
        this.#progress.delete(service.id);
        return undefined;
      }

    let next: number | undefined;
    for (const [key, taskId] of progress.busy) {
      const slot = slots.find((candidate) => candidate.key === key);
      const up = progress.seenUp.get(taskId);
      if (!slot || !tx.get('task', taskId)) progress.busy.delete(key);
      else if (up !== undefined) {
        finishSlot(tx, service, slot);
        if (now >= up + delayMs) progress.busy.delete(key);
        else next = Math.min(next ?? up + delayMs, up + delayMs);
      }
    }
    const parallelism = config.parallelism === 0n ? Number.POSITIVE_INFINITY : Number(config.parallelism);
    for (const slot of outdated) {
      if (progress.busy.size >= parallelism) break;
      if (progress.busy.has(slot.key)) continue;
      const current = slotsOf(tx, service).get(slot.key);
      if (!current || !needsWork(tx, service, current)) continue;
      const task = replace(tx, service, current, config, now);
      progress.busy.set(slot.key, task.id);
      if (!slot.tasks.some(({ id }) => id === task.id)) progress.made.add(task.id);
      // One that runs already has had its turn; look again at once.
      if (stateOf(task) >= TaskState.RUNNING) next = now;
    }
    if (progress.busy.size > 0 || outdated.some((slot) => stillOutdated(tx, service, slot))) return next;
    return this.#finish(tx, service, progress, delayMs >= monitorMs ? delayMs + monitorAfterDelayMs : monitorMs, now);
  }

  /** Declares the update complete when the last new task has been watched long enough. */
  #finish(
    tx: WriteTransaction,
    service: Service,
    progress: Progress,
    watchMs: number,
    now: number,
  ): number | undefined {
    const done = Math.max(0, ...progress.seenUp.values()) + watchMs;
    if (now < done) return done;
    this.#progress.delete(service.id);
    if (service.updateStatus?.state === State.ROLLBACK_STARTED)
      setUpdateStatus(tx, service.id, State.ROLLBACK_COMPLETED, 'rollback completed', now);
    else setUpdateStatus(tx, service.id, State.COMPLETED, 'update completed', now);
    return undefined;
  }
}

function specVersion(service: Service): bigint {
  return service.specVersion?.index ?? 0n;
}

function configOf(service: Service): UpdateConfig {
  const isRollback = service.updateStatus?.state === State.ROLLBACK_STARTED;
  return (isRollback ? service.spec?.rollback : service.spec?.update) ?? defaultConfig;
}

/** @returns whether a slot has not exactly one task, of the present spec. */
function needsWork(tx: WriteTransaction, service: Service, slot: Slot): boolean {
  const tasks = wantedTasks(slot);
  const [only = slot.tasks.at(-1)] = tasks;
  return tasks.length > 1 || (only !== undefined && isOutdated(tx, service, only));
}

function stillOutdated(tx: WriteTransaction, service: Service, { key }: Slot): boolean {
  const slot = slotsOf(tx, service).get(key);
  return slot !== undefined && needsWork(tx, service, slot);
}

/** A new update, or one found in the store: then the tasks made since its start are its own, to be watched again. */
function recover(service: Service, slots: readonly Slot[], outdated: number, now: number): Progress {
  const progress: Progress = {
    specVersion: specVersion(service),
    total: outdated,
    busy: new Map(),
    seenUp: new Map(),
    made: new Set(),
    failed: new Set(),
  };
  const startedAt = service.updateStatus?.startedAt;
  if (!startedAt) return progress;
  const own = slots
    .flatMap((slot) => wantedTasks(slot))
    .filter(
      (task) => (task.specVersion?.index ?? 0n) === progress.specVersion && createdMs(task) >= timestampMs(startedAt),
    );
  for (const task of own) {
    progress.made.add(task.id);
    if (stateOf(task) === TaskState.RUNNING) progress.seenUp.set(task.id, now);
  }
  return { ...progress, total: outdated + own.length };
}

/** Notes when the awaited tasks come up; one that ends or is given up before counts too: its slot has had its turn. */
function watchTasks(slot: Slot, progress: Progress, now: number): void {
  const isWatched = ({ id }: Task) => progress.made.has(id) || progress.busy.get(slot.key) === id;
  for (const task of slot.tasks)
    if (isWatched(task) && !progress.seenUp.has(task.id) && (stateOf(task) >= TaskState.RUNNING || !isWanted(task)))
      progress.seenUp.set(task.id, now);
}

/** @returns a task of this update that has ended by itself while it was watched, if there is a new one. */
function newFailure(slots: readonly Slot[], progress: Progress, monitorMs: number, now: number): Task | undefined {
  let found: Task | undefined;
  for (const task of slots.flatMap((slot) => slot.tasks)) {
    const state = stateOf(task);
    const ended = state === TaskState.FAILED || state === TaskState.REJECTED || state === TaskState.COMPLETE;
    if (!ended || !progress.made.has(task.id) || progress.failed.has(task.id)) continue;
    if (now - (progress.seenUp.get(task.id) ?? now) > monitorMs) continue;
    progress.failed.add(task.id);
    found = task;
  }
  return found;
}

/** The slot's best task of the present spec: one that runs, then the newest. */
function currentTask(tx: WriteTransaction, service: Service, slot: Slot): Task | undefined {
  const current = wantedTasks(slot).filter((task) => isAlive(task) && !isOutdated(tx, service, task));
  return current.find((task) => stateOf(task) === TaskState.RUNNING) ?? current.at(-1);
}

/**
 * Begins to bring a slot to the present spec. Stop-first brings the old task down and holds the new one back until it
 * has stopped; start-first leaves the old one until the new one runs. @returns the task that is to stay.
 */
function replace(tx: WriteTransaction, service: Service, slot: Slot, config: UpdateConfig, now: number): Task {
  const startFirst = config.order === UpdateConfig_UpdateOrder.START_FIRST;
  const existing = currentTask(tx, service, slot);
  if (existing) {
    if (!startFirst || stateOf(existing) === TaskState.RUNNING) shutDownOthers(tx, slot, existing.id);
    return existing;
  }
  const hadTask = wantedTasks(slot).length > 0;
  const task = newTask({
    cluster: tx.list('cluster')[0],
    service,
    slot: slot.number,
    nodeId: slot.nodeId,
    start: startFirst || !hadTask ? 'now' : 'held',
    now,
  });
  tx.create('task', task);
  if (!startFirst) shutDownOthers(tx, slot, task.id);
  return task;
}

/** After the new task's turn: with a task of the present spec running, the others of its slot go. */
function finishSlot(tx: WriteTransaction, service: Service, slot: Slot): void {
  const current = currentTask(tx, service, slot);
  if (current && stateOf(current) === TaskState.RUNNING) shutDownOthers(tx, slot, current.id);
}

/**
 * A paused update begins no slot any more. Those that it has begun come to their end, as no slot is to run two tasks for
 * good: where a task of the present spec runs, be it the first or one that was restarted, the others go (swarmkit's
 * updater waits for the slots under way, too, but not for restarted tasks).
 * @returns whether some slot still has several tasks.
 */
function finishBegun(tx: WriteTransaction, service: Service): boolean {
  const doubled = (slot: Slot) => wantedTasks(slot).length > 1;
  for (const slot of slotsOf(tx, service).values()) if (doubled(slot)) finishSlot(tx, service, slot);
  return [...slotsOf(tx, service).values()].some(doubled);
}

function shutDownOthers(tx: WriteTransaction, slot: Slot, id: string): void {
  for (const task of slot.tasks) if (task.id !== id && isWanted(task)) setDesiredState(tx, task.id, TaskState.SHUTDOWN);
}
