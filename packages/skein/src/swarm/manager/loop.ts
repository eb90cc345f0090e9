import type { Clock, Logger, Timer } from '../../common/index.ts';
import type { Store, StoreEvent } from '../store/index.ts';

/** Wait after a failed run: doubles up to the cap. */
const firstRetryMs = 250;
const maxRetryMs = 30_000;

/** What a loop is made from; the parts that all of the manager's loops share. */
export interface LoopContext {
  readonly store: Store;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** What a loop does. */
export interface LoopTask {
  /** For the log. */
  readonly name: string;
  /** Takes note of a commit. @returns whether a run is needed. */
  notice(events: readonly StoreEvent[]): boolean;
  /** Makes the store as it should be, from what the store says. @returns when to run again without an event, if ever (ms since the epoch). */
  run(): number | undefined;
}

/**
 * Runs a task once at the start and then after commits that concern it, at most once per turn of the event loop,
 * and at the times that it asks for. A run that throws is logged and repeated later: the task starts from the store
 * each time, so nothing is lost.
 */
export class Loop implements AsyncDisposable {
  readonly #context: LoopContext;
  readonly #task: LoopTask;
  #stopWatching: (() => void) | undefined;
  /** `isNow`: it was due when it was set. */
  #timer: { readonly handle: Timer; readonly at: number; readonly isNow: boolean } | undefined;
  #retryMs = firstRetryMs;

  constructor(context: LoopContext, task: LoopTask) {
    this.#context = context;
    this.#task = task;
  }

  start(): void {
    if (this.#stopWatching) return;
    this.#stopWatching = this.#context.store.watch((events) => {
      if (this.#task.notice(events)) this.#wakeAt(this.#context.clock.now());
    });
    this.#wakeAt(this.#context.clock.now());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopWatching?.();
    this.#stopWatching = undefined;
    if (this.#timer) this.#context.clock.clearTimeout(this.#timer.handle);
    this.#timer = undefined;
  }

  #wakeAt(at: number): void {
    if (!this.#stopWatching) return;
    const { clock } = this.#context;
    const now = clock.now();
    // A clock that is set forward makes no timer run earlier: one that should have run by now says nothing of when it will.
    if (this.#timer?.isNow || (this.#timer && this.#timer.at <= at && this.#timer.at > now)) return;
    if (this.#timer) clock.clearTimeout(this.#timer.handle);
    const handle = clock.setTimeout(() => this.#run(), Math.max(0, at - now));
    this.#timer = { handle, at, isNow: at <= now };
  }

  #run(): void {
    this.#timer = undefined;
    try {
      const again = this.#task.run();
      this.#retryMs = firstRetryMs;
      if (again !== undefined) this.#wakeAt(again);
    } catch (error) {
      this.#context.logger.error({ err: error }, `${this.#task.name}: failed, next try in ${this.#retryMs} ms`);
      this.#wakeAt(this.#context.clock.now() + this.#retryMs);
      this.#retryMs = Math.min(this.#retryMs * 2, maxRetryMs);
    }
  }
}

/** Collects the earliest of several times. */
export class Earliest {
  time: number | undefined;

  add(time: number | undefined): void {
    if (time !== undefined && (this.time === undefined || time < this.time)) this.time = time;
  }
}
