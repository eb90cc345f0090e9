import type { TaskStatus } from '../gen/types_pb.js';
import { Wakeup } from '../identity/index.ts';

/** Statuses in one call; the rest goes with the next. */
const maxUpdatesPerCall = 500;

/** Sends a batch of statuses to the manager. */
export type SendStatuses = (updates: readonly { taskId: string; status: TaskStatus }[]) => Promise<unknown>;

/**
 * Brings the newest status of each task to the manager: what piles up while a call is under way, or while there is no
 * session, goes together, and only the last of each task.
 */
export class StatusReporter {
  /** BOUNDED by the number of tasks on this host. */
  readonly #pending = new Map<string, TaskStatus>();
  readonly #wakeup = new Wakeup();

  report(taskId: string, status: TaskStatus): void {
    this.#pending.set(taskId, status);
    this.#wakeup.notify();
  }

  /** Sends until `signal` aborts. @throws what `send` threw; the unsent statuses are kept. */
  async run(send: SendStatuses, signal: AbortSignal): Promise<void> {
    if (this.#pending.size > 0) this.#wakeup.notify();
    while (await this.#wakeup.next(signal)) {
      while (this.#pending.size > 0 && !signal.aborted) await this.#sendBatch(send);
    }
  }

  async #sendBatch(send: SendStatuses): Promise<void> {
    const batch = [...this.#pending].slice(0, maxUpdatesPerCall).map(([taskId, status]) => ({ taskId, status }));
    await send(batch);
    for (const { taskId, status } of batch) {
      if (this.#pending.get(taskId) === status) this.#pending.delete(taskId);
    }
  }
}
