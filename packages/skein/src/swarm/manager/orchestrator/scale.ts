import type { Service, Task } from '../../gen/objects_pb.js';
import { NodeSpec_Availability, type ReplicatedJob } from '../../gen/specs_pb.js';
import { TaskState, UpdateStatus_UpdateState } from '../../gen/types_pb.js';
import type { WriteTransaction } from '../../store/index.ts';
import { isDone, isUsable, isWanted, newTask, satisfiesPlacement, setDesiredState, stateOf } from '../tasks.ts';
import { mayRestart } from './restart.ts';
import { isGlobal, isPresent, type Slot, slotsOf, wantedTasks } from './slots.ts';

/**
 * Makes the service's slots as many as its spec asks for. Says nothing about which spec their tasks have.
 */
export function scale(tx: WriteTransaction, service: Service, now: number): void {
  const mode = service.spec?.mode;
  if (mode?.case === 'replicatedJob') scaleReplicatedJob(tx, service, mode.value, now);
  else if (isGlobal(service)) scaleGlobal(tx, service, now);
  else scaleReplicated(tx, service, now);
}

/**
 * @returns whether a slot counts: it has a wanted task, or one that has ended for good under its restart policy (unless
 * a rollback is on, which starts it again; swarmkit manager/orchestrator/restart: UpdatableTasksInSlot).
 */
export function isOccupied(service: Service, slot: Slot, now: number): boolean {
  if (wantedTasks(slot).length > 0) return true;
  if (service.updateStatus?.state === UpdateStatus_UpdateState.ROLLBACK_STARTED) return false;
  const last = slot.tasks.at(-1);
  return last !== undefined && !mayRestart(slot, last, now);
}

function scaleReplicated(tx: WriteTransaction, service: Service, now: number): void {
  const replicas = service.spec?.mode.case === 'replicated' ? Number(service.spec.mode.value.replicas) : 0;
  const slots = [...slotsOf(tx, service).values()];
  const occupied = slots.filter((slot) => isOccupied(service, slot, now));
  const kept = new Set(occupied);
  for (const slot of slots) if (!kept.has(slot)) removeTasks(tx, slot.tasks);
  for (const slot of surplus(occupied, occupied.length - replicas)) removeTasks(tx, slot.tasks);

  const numbers = new Set(occupied.map((slot) => slot.number));
  for (let number = 1n; numbers.size < replicas; number++) {
    if (numbers.has(number)) continue;
    numbers.add(number);
    createTask(tx, service, number, '', now);
  }
}

/** Chooses slots to give up: first those that do not run, then from the node with most of the service's tasks; the newest first. */
function surplus(slots: readonly Slot[], count: number): Slot[] {
  const left = slots.map((slot) => {
    const wanted = wantedTasks(slot);
    const running = wanted.find((task) => stateOf(task) === TaskState.RUNNING);
    return { slot, nodeId: running?.nodeId ?? '' };
  });
  const chosen: Slot[] = [];
  while (chosen.length < count) {
    const perNode = new Map<string, number>();
    for (const { nodeId } of left) perNode.set(nodeId, (perNode.get(nodeId) ?? 0) + 1);
    const weight = (nodeId: string) => (nodeId === '' ? Number.POSITIVE_INFINITY : (perNode.get(nodeId) ?? 0));
    const worst = left.reduce((a, b) =>
      weight(b.nodeId) > weight(a.nodeId) || (weight(b.nodeId) === weight(a.nodeId) && b.slot.number > a.slot.number)
        ? b
        : a,
    );
    left.splice(left.indexOf(worst), 1);
    chosen.push(worst.slot);
  }
  return chosen;
}

/**
 * As many tasks at a time as the job allows, until each of its slots, counted from 0, has had one that completed. A
 * slot whose restart policy has given up stays as it is.
 */
function scaleReplicatedJob(tx: WriteTransaction, service: Service, job: ReplicatedJob, now: number): void {
  const occupied = [...slotsOf(tx, service).values()].filter((slot) => isOccupied(service, slot, now));
  const active = occupied.filter((slot) => wantedTasks(slot).some((task) => !isDone(task))).length;
  const numbers = new Set(occupied.map((slot) => slot.number));
  let free = Number(job.maxConcurrent) - active;
  for (let number = 0n; number < job.totalCompletions && free > 0; number++) {
    if (numbers.has(number)) continue;
    createTask(tx, service, number, '', now);
    free--;
  }
}

/** One task on each node that is usable and meets the constraints; a paused node keeps its task and gets no new one. */
function scaleGlobal(tx: WriteTransaction, service: Service, now: number): void {
  const slots = slotsOf(tx, service);
  for (const node of tx.list('node')) {
    const slot = slots.get(node.id);
    slots.delete(node.id);
    if (!isUsable(node) || !satisfiesPlacement(node, service.spec?.task)) {
      for (const task of slot ? wantedTasks(slot) : [])
        if (!isDone(task)) setDesiredState(tx, task.id, TaskState.SHUTDOWN);
    } else if (!(slot && isOccupied(service, slot, now)) && node.spec?.availability !== NodeSpec_Availability.PAUSE) {
      createTask(tx, service, 0n, node.id, now);
    }
  }
  for (const slot of slots.values()) removeTasks(tx, slot.tasks);
}

function createTask(tx: WriteTransaction, service: Service, slot: bigint, nodeId: string, now: number): void {
  const cluster = tx.list('cluster')[0];
  tx.create('task', newTask({ cluster, service, slot, nodeId, start: 'now', now }));
}

/** Ends what is left of a job's earlier iterations; tasks that completed stay as its history. */
export function endEarlierIterations(tx: WriteTransaction, service: Service): void {
  const earlier = tx.tasksByService(service.id).filter((task) => !isPresent(service, task) && isWanted(task));
  removeTasks(
    tx,
    earlier.filter((task) => !isDone(task)),
  );
}

/** Brings tasks down for good: the reaper deletes them once they have ended. */
export function removeTasks(tx: WriteTransaction, tasks: readonly Task[]): void {
  for (const task of tasks) setDesiredState(tx, task.id, TaskState.REMOVE);
}
