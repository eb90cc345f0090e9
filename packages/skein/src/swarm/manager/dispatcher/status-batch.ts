import { clone, equals } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import type { Clock, Logger, Timer } from '../../../common/index.ts';
import { TaskSchema } from '../../gen/objects_pb.js';
import { type TaskStatus, TaskStatusSchema } from '../../gen/types_pb.js';
import type { Store } from '../../store/types.ts';
import { statusBatchMs } from './constants.ts';

/**
 * Collects the statuses that agents report and writes them in one transaction per 100 ms: one fsync for many. What
 * comes after a pause is written at once.
 */
export class StatusBatch {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #managerId: string;
  /** The latest reported status by task ID. BOUNDED by the number of tasks: only known tasks are accepted. */
  readonly #pending = new Map<string, TaskStatus>();
  #timer: Timer | undefined;
  #writtenAt = Number.NEGATIVE_INFINITY;

  constructor(options: { store: Store; clock: Clock; logger: Logger; managerId: string }) {
    this.#store = options.store;
    this.#clock = options.clock;
    this.#logger = options.logger;
    this.#managerId = options.managerId;
  }

  add(taskId: string, status: TaskStatus): void {
    this.#pending.set(taskId, status);
    this.#schedule();
  }

  #schedule(earliest = this.#writtenAt + statusBatchMs): void {
    this.#timer ??= this.#clock.setTimeout(
      () => {
        try {
          this.flush();
        } catch (error) {
          this.#logger.error({ err: error }, 'task statuses could not be written; trying again');
          this.#schedule(this.#clock.now() + statusBatchMs);
        }
      },
      Math.max(0, earliest - this.#clock.now()),
    );
  }

  /** Writes what is pending. A state lower than the stored one, and a task that is gone, are passed over. */
  flush(): void {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#pending.size === 0) return;
    const appliedAt = timestampFromMs(this.#clock.now());
    this.#store.update((transaction) => {
      for (const [taskId, reported] of this.#pending) {
        const task = transaction.get('task', taskId);
        if (task === undefined || !isNews(task.status, reported)) continue;
        const next = clone(TaskSchema, task);
        next.status = Object.assign(clone(TaskStatusSchema, reported), { appliedBy: this.#managerId, appliedAt });
        transaction.update('task', next);
        this.#logger.debug({ task: taskId, state: reported.state, err: reported.err }, 'task status');
      }
    });
    this.#pending.clear();
    this.#writtenAt = this.#clock.now();
  }
}

function isNews(stored: TaskStatus | undefined, reported: TaskStatus): boolean {
  if (stored === undefined) return true;
  if (reported.state < stored.state) return false;
  const { appliedBy, appliedAt } = stored;
  return !equals(TaskStatusSchema, stored, Object.assign(clone(TaskStatusSchema, reported), { appliedBy, appliedAt }));
}
