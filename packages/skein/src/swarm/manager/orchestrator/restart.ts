import { durationMs } from '@bufbuild/protobuf/wkt';
import type { Service, Task } from '../../gen/objects_pb.js';
import { RestartPolicy_RestartCondition as Condition, NodeStatus_State, TaskState } from '../../gen/types_pb.js';
import type { ReadTransaction, WriteTransaction } from '../../store/index.ts';
import {
  createdMs,
  isAlive,
  isDone,
  isOutdated,
  isStopping,
  isUsable,
  newTask,
  releaseTask,
  satisfiesPlacement,
  setDesiredState,
  stateOf,
} from '../tasks.ts';
import { isGlobal, type Slot, slotsOf, wantedTasks } from './slots.ts';

/** swarmkit api/defaults: Service.Task.Restart. */
const defaultDelayMs = 5_000;
/** How long a replacement waits for the task before it to stop (swarmkit manager/orchestrator/restart: defaultOldTaskTimeout). */
const oldTaskTimeoutMs = 60_000;

/**
 * Brings down every wanted task that has ended or whose node cannot keep it, and puts a held-back replacement beside
 * those that the restart policy wants restarted.
 */
export function restartTasks(tx: WriteTransaction, service: Service, now: number): void {
  for (const slot of slotsOf(tx, service).values())
    for (const task of wantedTasks(slot)) {
      if (isDone(task)) continue;
      const misplaced = isMisplaced(tx, task);
      if (isAlive(task) && !misplaced) continue;
      if (!isAlive(task) && isHeldBack(tx, slot, task, now)) continue;
      setDesiredState(tx, task.id, TaskState.SHUTDOWN);
      if (isGlobal(service) && misplaced) continue;
      const present = slotsOf(tx, service).get(slot.key) ?? slot;
      if (hasSuccessor(tx, service, present, task) || !mayRestart(present, task, now)) continue;
      tx.create(
        'task',
        newTask({
          cluster: tx.list('cluster')[0],
          service,
          slot: slot.number,
          nodeId: slot.nodeId,
          start: 'held',
          now,
        }),
      );
    }
}

/** @returns whether the task is on a node that is gone, down or drained, or that no longer meets its constraints. */
function isMisplaced(tx: ReadTransaction, task: Task): boolean {
  if (task.nodeId === '') return false;
  const node = tx.get('node', task.nodeId);
  return !isUsable(node) || (stateOf(task) >= TaskState.ASSIGNED && !satisfiesPlacement(node, task.spec));
}

/** A task of the current spec is succeeded only by another such task, an outdated one by any. */
function hasSuccessor(tx: ReadTransaction, service: Service, slot: Slot, task: Task): boolean {
  const others = wantedTasks(slot).filter((other) => other.id !== task.id && isAlive(other) && !isMisplaced(tx, other));
  return isOutdated(tx, service, task) ? others.length > 0 : others.some((other) => !isOutdated(tx, service, other));
}

/** @returns whether the restart policy wants a task replaced that has ended or has to leave its node. */
export function mayRestart(slot: Slot, task: Task, now: number): boolean {
  const policy = task.spec?.restart;
  const condition = policy?.condition ?? Condition.ANY;
  if (condition === Condition.NONE) return false;
  if (isDone(task) || (condition === Condition.ON_FAILURE && stateOf(task) === TaskState.COMPLETE)) return false;
  const limit = policy?.maxAttempts ?? 0n;
  return limit === 0n || BigInt(restarts(slot, task, now)) < limit;
}

/** How often a slot's task of this spec was restarted, within the policy's window. The reaper keeps enough tasks to tell. */
function restarts(slot: Slot, task: Task, now: number): number {
  const windowMs = task.spec?.restart?.window ? durationMs(task.spec.restart.window) : 0;
  const ofSpec = slot.tasks.filter(({ specVersion }) => (specVersion?.index ?? 0n) === (task.specVersion?.index ?? 0n));
  return ofSpec.slice(1).filter((restarted) => windowMs === 0 || createdMs(restarted) > now - windowMs).length;
}

/**
 * @returns whether a task failed while it was held back (its image is missing): its own delay has to pass before the next
 * one comes, or they would follow each other without pause. `releaseTasks` tells when that is.
 */
function isHeldBack(tx: ReadTransaction, slot: Slot, task: Task, now: number): boolean {
  return task.desiredState === TaskState.READY && releaseTime(tx, slot, task, now) > now;
}

/**
 * Releases held-back tasks whose time has come: the restart delay is over and the task before has stopped.
 * @returns when the next one is due.
 */
export function releaseTasks(tx: WriteTransaction, service: Service, now: number): number | undefined {
  let next: number | undefined;
  for (const slot of slotsOf(tx, service).values())
    for (const task of wantedTasks(slot)) {
      if (task.desiredState !== TaskState.READY) continue;
      const due = releaseTime(tx, slot, task, now);
      if (due <= now) releaseTask(tx, task.id);
      else next = Math.min(next ?? due, due);
    }
  return next;
}

/** The delay belongs to restarts: not to tasks that replace an older spec's, nor to those that left an unusable node. */
function releaseTime(tx: ReadTransaction, slot: Slot, task: Task, now: number): number {
  const before = slot.tasks.filter((other) => other.id !== task.id && createdMs(other) <= createdMs(task));
  const previous = before.at(-1);
  const isRestart =
    previous !== undefined &&
    (previous.specVersion?.index ?? 0n) === (task.specVersion?.index ?? 0n) &&
    (previous.nodeId === '' || isUsable(tx.get('node', previous.nodeId)));
  const delay = task.spec?.restart?.delay;
  const due = createdMs(task) + (isRestart ? (delay ? durationMs(delay) : defaultDelayMs) : 0);
  const waitsForOld = slot.tasks.some(
    (other) =>
      other.id !== task.id && isStopping(other) && isReachable(tx, other) && other.desiredState > TaskState.RUNNING,
  );
  if (!waitsForOld) return due;
  const patience = createdMs(task) + oldTaskTimeoutMs;
  return now < patience ? Math.max(due, patience) : due;
}

/** A task on a node that is down or gone cannot say that it has stopped; nobody waits for it. */
function isReachable(tx: ReadTransaction, task: Task): boolean {
  const node = tx.get('node', task.nodeId);
  return node !== undefined && node.status?.state !== NodeStatus_State.DOWN;
}
