import { clone, create } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { type Clock, delay, errorText, type Logger } from '../../common/index.ts';
import { type AssignmentChange, AssignmentChange_AssignmentAction } from '../gen/dispatcher_pb.js';
import { type Config, type Secret, type Task, TaskSchema } from '../gen/objects_pb.js';
import { TaskState, type TaskStatus, TaskStatusSchema } from '../gen/types_pb.js';
import type { TaskDatabase } from './task-database.ts';
import { TaskManager } from './task-manager.ts';
import type { Dependencies, Executor, TaskController } from './types.ts';

/** Attempts to remove what is left of a task, and the pause between them; what then remains waits for the next start. */
const removal = { attempts: 10, pauseMs: 1_000 } as const;

export interface WorkerOptions {
  readonly executor: Executor;
  readonly database: TaskDatabase;
  readonly clock: Clock;
  readonly logger: Logger;
  /** A task has a new status. */
  readonly report: (taskId: string, status: TaskStatus) => void;
  /** A task began to be managed here. */
  readonly started: (manager: TaskManager) => void;
}

/** Makes this host's tasks what the manager assigned. BOUNDED by the assignments: one entry a task, secret or config. */
export class Worker implements Dependencies {
  readonly #options: WorkerOptions;
  readonly #managers = new Map<string, TaskManager>();
  /** Tasks that no controller could be made for; they have a final status. */
  readonly #rejected = new Map<string, Task>();
  /** Remembered tasks that an earlier daemon had not prepared: they wait for their secrets and configs to be sent again. */
  readonly #waiting = new Map<string, Task>();
  readonly #removals = new Map<string, Promise<void>>();
  readonly #secrets = new Map<string, Secret>();
  readonly #configs = new Map<string, Config>();
  readonly #closing = new AbortController();

  constructor(options: WorkerOptions) {
    this.#options = options;
  }

  secret(id: string): Secret | undefined {
    return this.#secrets.get(id);
  }

  config(id: string): Config | undefined {
    return this.#configs.get(id);
  }

  /** Goes on with the remembered tasks: running ones are adopted, those no longer assigned removed. */
  start(): void {
    for (const { task, assigned } of this.#options.database.tasks()) {
      if (assigned && needsDependencies(task)) this.#waiting.set(task.id, task);
      else if (assigned) this.#manage(task);
      else this.#remove(task, this.#makeController(task));
    }
  }

  /** @returns the tasks managed here. */
  managers(): TaskManager[] {
    return [...this.#managers.values()];
  }

  /** Reports the present status of every task (after a new session). */
  reportAll(): void {
    const tasks = [...this.managers().map(({ task }) => task), ...this.#rejected.values(), ...this.#waiting.values()];
    for (const { id, status } of tasks) if (status !== undefined) this.#options.report(id, status);
  }

  /** COMPLETE: these are all assignments; whatever else is here goes. */
  assign(changes: readonly AssignmentChange[]): void {
    const updates = changes.filter(({ action }) => action === AssignmentChange_AssignmentAction.UPDATE);
    this.#secrets.clear();
    this.#configs.clear();
    const listed = new Set<string>();
    for (const { assignment } of updates) {
      if (assignment?.item.case === 'task') listed.add(assignment.item.value.id);
    }
    this.update(updates);
    for (const id of this.#taskIds()) if (!listed.has(id)) this.#unassign(id);
  }

  /** INCREMENTAL: secrets and configs first, then tasks, whatever their order in the list. */
  update(changes: readonly AssignmentChange[]): void {
    for (const change of changes) this.#applyDependency(change);
    for (const { action, assignment } of changes) {
      if (assignment?.item.case !== 'task') continue;
      const task = assignment.item.value;
      if (action === AssignmentChange_AssignmentAction.REMOVE) this.#unassign(task.id);
      else this.#assignTask(task);
    }
  }

  /** Stops managing; the containers run on. */
  async close(): Promise<void> {
    this.#closing.abort(new Error('worker closed'));
    await Promise.all([...this.#managers.values()].map((manager) => manager.close()));
    await Promise.all(this.#removals.values());
  }

  /** Shuts down and removes every task (`swarm leave`). @returns when all are gone, or given up on. */
  async removeAll(): Promise<void> {
    for (const id of this.#taskIds()) this.#unassign(id);
    await Promise.all(this.#removals.values());
  }

  #taskIds(): string[] {
    return [...this.#managers.keys(), ...this.#rejected.keys(), ...this.#waiting.keys()];
  }

  #applyDependency({ action, assignment }: AssignmentChange): void {
    const item = assignment?.item;
    const removed = action === AssignmentChange_AssignmentAction.REMOVE;
    if (item?.case === 'secret') {
      if (removed) this.#secrets.delete(item.value.id);
      else this.#secrets.set(item.value.id, item.value);
    } else if (item?.case === 'config') {
      if (removed) this.#configs.delete(item.value.id);
      else this.#configs.set(item.value.id, item.value);
    }
  }

  #assignTask(task: Task): void {
    const manager = this.#managers.get(task.id);
    const pending = this.#removals.get(task.id);
    if (manager === undefined && pending !== undefined) {
      void pending.then(() => this.#assignLater(task));
      return;
    }
    if (manager === undefined && this.#rejected.has(task.id)) return;
    this.#options.database.putTask(task, task.status ?? create(TaskStatusSchema));
    const waiting = this.#waiting.get(task.id);
    this.#waiting.delete(task.id);
    if (waiting?.status) this.#manage(Object.assign(clone(TaskSchema, task), { status: waiting.status }));
    else if (manager === undefined) this.#manage(task);
    else manager.update(task);
  }

  /** The same task came again while what it left was being removed. */
  #assignLater(task: Task): void {
    if (this.#closing.signal.aborted) return;
    try {
      this.#assignTask(task);
    } catch (error) {
      this.#options.logger.error({ err: error, task: task.id }, 'task could not be assigned again');
    }
  }

  #manage(task: Task): void {
    const controller = this.#makeController(task);
    if (controller instanceof Error) {
      this.#reject(task, controller);
      return;
    }
    const { clock, logger } = this.#options;
    const manager = new TaskManager({
      task,
      controller,
      clock,
      logger,
      changed: ({ id }, status) => this.#changed(id, status),
    });
    this.#managers.set(task.id, manager);
    this.#options.started(manager);
  }

  #makeController(task: Task): TaskController | Error {
    try {
      return this.#options.executor.controller(task, this);
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error));
    }
  }

  #reject(task: Task, error: Error): void {
    const rejected = clone(TaskSchema, task);
    const known = task.status ?? create(TaskStatusSchema);
    if (known.state <= TaskState.RUNNING) {
      rejected.status = create(TaskStatusSchema, {
        state: TaskState.REJECTED,
        message: 'resolving controller failed',
        err: errorText(error),
        timestamp: timestampFromMs(this.#options.clock.now()),
      });
      this.#changed(task.id, rejected.status);
    }
    this.#rejected.set(task.id, rejected);
  }

  /** A status that cannot be kept is still reported: after a restart the step before it is done again. */
  #changed(taskId: string, status: TaskStatus): void {
    try {
      this.#options.database.putStatus(taskId, status);
    } catch (error) {
      this.#options.logger.error({ err: error, task: taskId }, 'task status could not be kept');
    }
    this.#options.report(taskId, status);
  }

  #unassign(taskId: string): void {
    const manager = this.#managers.get(taskId);
    const rejected = this.#rejected.get(taskId);
    const waiting = this.#waiting.get(taskId);
    this.#managers.delete(taskId);
    this.#rejected.delete(taskId);
    this.#waiting.delete(taskId);
    this.#options.database.unassign(taskId);
    if (manager !== undefined) this.#remove(manager.task, manager.controller, manager);
    else if (waiting !== undefined) this.#remove(waiting, this.#makeController(waiting));
    else if (rejected !== undefined) this.#options.database.delete(taskId);
  }

  #remove(task: Task, controller: TaskController | Error, manager?: TaskManager): void {
    const removed = this.#removeTask(task, controller, manager).finally(() => this.#removals.delete(task.id));
    this.#removals.set(task.id, removed);
  }

  /** Shuts the task down, then takes away everything of it; tries again while that fails. Never rejects. */
  async #removeTask(task: Task, controller: TaskController | Error, manager?: TaskManager): Promise<void> {
    const { clock, logger, database } = this.#options;
    const signal = this.#closing.signal;
    await manager?.close();
    for (let attempt = 1; attempt <= removal.attempts && !signal.aborted; attempt++) {
      try {
        if (controller instanceof Error) throw controller;
        await controller.shutdown(signal);
        await controller.remove(signal);
        database.delete(task.id);
        return;
      } catch (error) {
        logger.warn({ task: task.id, attempt, error: errorText(error) }, 'task could not be removed');
      }
      await delay(clock, removal.pauseMs, signal).catch(() => {});
    }
  }
}

/** @returns whether the task's container has yet to be made, with secrets or configs, of which nothing is remembered. */
function needsDependencies({ spec, status }: Task): boolean {
  if (spec?.runtime.case !== 'container' || (status?.state ?? TaskState.NEW) >= TaskState.READY) return false;
  return spec.runtime.value.secrets.length + spec.runtime.value.configs.length > 0;
}
