import { clone } from '@bufbuild/protobuf';
import { type Clock, delay, errorText, type Logger } from '../../common/index.ts';
import { type Task, TaskSchema } from '../gen/objects_pb.js';
import { TaskState, type TaskStatus } from '../gen/types_pb.js';
import { Wakeup } from '../identity/index.ts';
import { step } from './task-step.ts';
import type { TaskController } from './types.ts';

/** Pause before a step that failed for a passing reason (swarmkit agent/task.go). */
const retryPauseMs = 1_000;

export interface TaskManagerOptions {
  /** With the status that it has here. */
  readonly task: Task;
  readonly controller: TaskController;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Called with each new status, in order; must keep it before it returns. */
  readonly changed: (task: Task, status: TaskStatus) => void;
}

/** Walks one task through its states. It owns the task's status on this host. */
export class TaskManager {
  readonly controller: TaskController;
  readonly #options: TaskManagerOptions;
  readonly #wakeup = new Wakeup();
  readonly #closing = new AbortController();
  readonly #running: Promise<void>;
  #task: Task;
  #operation = new AbortController();

  constructor(options: TaskManagerOptions) {
    this.#options = options;
    this.#task = options.task;
    this.controller = options.controller;
    this.#running = this.#run();
  }

  get task(): Task {
    return this.#task;
  }

  /**
   * The manager sent the task anew. Its status there does not count; a lower desired state than before is ignored. A
   * task that shall stop interrupts what is going on.
   */
  update(task: Task): void {
    if (task.desiredState < this.#task.desiredState) return;
    const next = clone(TaskSchema, task);
    next.status = this.#task.status;
    const stops = next.desiredState >= TaskState.SHUTDOWN && this.#task.desiredState < TaskState.SHUTDOWN;
    this.#task = next;
    this.controller.update(next);
    if (stops) this.#operation.abort(new Error('task is to be shut down'));
    this.#wakeup.notify();
  }

  /** Stops walking; the container is left as it is. */
  async close(): Promise<void> {
    this.#closing.abort(new Error('task manager closed'));
    await this.#running;
  }

  async #run(): Promise<void> {
    const { clock, logger } = this.#options;
    while (!this.#closing.signal.aborted) {
      this.#operation = new AbortController();
      const signal = AbortSignal.any([this.#operation.signal, this.#closing.signal]);
      this.#wakeup.reset();
      const outcome = await step(this.#task, this.controller, signal, () => clock.now());
      if (outcome.kind === 'moved') this.#moved(outcome.status);
      if (outcome.kind === 'paused') await this.#wakeup.next(this.#closing.signal);
      if (outcome.kind === 'retry' && !signal.aborted) {
        logger.info({ task: this.#task.id, reason: errorText(outcome.cause) }, 'task step is tried again');
        await delay(clock, retryPauseMs, signal).catch(() => {});
      }
    }
  }

  #moved(status: TaskStatus): void {
    const task = clone(TaskSchema, this.#task);
    task.status = status;
    this.#task = task;
    this.#options.logger.debug(
      { task: task.id, state: status.state, message: status.message, err: status.err },
      'task',
    );
    this.#options.changed(task, status);
  }
}
