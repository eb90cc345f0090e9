import { clone, create, equals } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { errorText } from '../../common/index.ts';
import type { Task } from '../gen/objects_pb.js';
import { ContainerStatusSchema, TaskState, type TaskStatus, TaskStatusSchema } from '../gen/types_pb.js';
import { type TaskController, TemporaryError } from './types.ts';

/** What one step of a task's life led to. */
export interface StepOutcome {
  /** `moved`: go on at once. `paused`: nothing to do until the task changes. `retry`: the same step again, later. */
  readonly kind: 'moved' | 'paused' | 'retry';
  readonly status: TaskStatus;
  /** Why it is tried again. */
  readonly cause?: unknown;
}

/** Facts about a container must not hold up the walk longer than this. */
const factsTimeoutMs = 5_000;

/**
 * Does the next thing for a task (swarmkit agent/exec/controller.go: Do), in this order of states:
 *
 *     ≤ ASSIGNED → ACCEPTED → PREPARING → READY → STARTING → RUNNING → COMPLETE
 *
 * It pauses where the state has reached the desired one, but PREPARING, STARTING and RUNNING go on to their end. A
 * desired state of SHUTDOWN or REMOVE stops the container. A fatal error ends in REJECTED before STARTING, in FAILED
 * from then on.
 * @param now ms since the epoch: asked when the step is over, which for RUNNING is when the container ends.
 * @returns the new status; never a state lower than the task's.
 */
export async function step(
  task: Task,
  controller: TaskController,
  signal: AbortSignal,
  now: () => number,
): Promise<StepOutcome> {
  const current = task.status ?? create(TaskStatusSchema);
  const move = transitionOf(current.state, task.desiredState, controller);
  if (move === undefined) return { kind: 'paused', status: current };
  let status: TaskStatus;
  try {
    await move.action(signal);
    status = Object.assign(clone(TaskStatusSchema, current), { state: move.to, message: move.message, err: '' });
  } catch (error) {
    if (signal.aborted || error instanceof TemporaryError) return { kind: 'retry', status: current, cause: error };
    const state = current.state < TaskState.STARTING ? TaskState.REJECTED : TaskState.FAILED;
    status = Object.assign(clone(TaskStatusSchema, current), { state, err: errorText(error) });
  }
  if (status.state >= TaskState.STARTING && status.state !== TaskState.REJECTED) await addFacts(status, controller);
  if (!equals(TaskStatusSchema, status, current)) status.timestamp = timestampFromMs(now());
  return { kind: 'moved', status };
}

interface Transition {
  readonly to: TaskState;
  readonly message: string;
  readonly action: (signal: AbortSignal) => Promise<void>;
}

const nothing = async () => {};

function transitionOf(state: TaskState, desired: TaskState, controller: TaskController): Transition | undefined {
  if (desired >= TaskState.SHUTDOWN) {
    if (state >= TaskState.COMPLETE) return undefined;
    return { to: TaskState.SHUTDOWN, message: 'shutdown', action: (signal) => controller.shutdown(signal) };
  }
  if (state > desired) return undefined;
  switch (state) {
    case TaskState.PREPARING:
      return { to: TaskState.READY, message: 'prepared', action: (signal) => controller.prepare(signal) };
    case TaskState.STARTING:
      return { to: TaskState.RUNNING, message: 'started', action: (signal) => controller.start(signal) };
    case TaskState.RUNNING:
      return { to: TaskState.COMPLETE, message: 'finished', action: (signal) => controller.wait(signal) };
    default:
      break;
  }
  if (state >= desired) return undefined;
  switch (state) {
    case TaskState.ACCEPTED:
      return { to: TaskState.PREPARING, message: 'preparing', action: nothing };
    case TaskState.READY:
      return { to: TaskState.STARTING, message: 'starting', action: nothing };
    default:
      return state <= TaskState.ASSIGNED ? { to: TaskState.ACCEPTED, message: 'accepted', action: nothing } : undefined;
  }
}

/** Adds container and ports as far as they are known; a failure to learn them changes no state. */
async function addFacts(status: TaskStatus, controller: TaskController): Promise<void> {
  const facts = await withinTime(controller.containerFacts());
  if (facts !== undefined) status.container = create(ContainerStatusSchema, facts);
  const ports = await withinTime(controller.portStatus());
  if (ports !== undefined) status.portStatus = ports;
}

async function withinTime<T>(promise: Promise<T | undefined>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), factsTimeoutMs);
  });
  try {
    return await Promise.race([promise.catch(() => undefined), timeout]);
  } finally {
    clearTimeout(timer);
  }
}
