/** Starts containers again as their restart policies say, with pauses that grow. */
import { errorText, type Logger, SkeinError } from '../common/index.ts';
import type { ContainerRuntime } from '../container/types.ts';
import type { PlainRecord } from './record.ts';
import type { Register } from './register.ts';
import { RestartBackoff, restarts } from './restart.ts';
import { hostConfigOf } from './starter.ts';

interface RestarterParts {
  readonly runtime: ContainerRuntime;
  readonly register: Register;
  readonly start: (record: PlainRecord) => Promise<void>;
  readonly logger: Logger;
}

export class Restarter implements Disposable {
  readonly #parts: RestarterParts;
  /** Containers that wait for their next start, or have run since. BOUNDED by the containers of this host. */
  readonly #backoffs = new Map<string, RestartBackoff>();
  #isClosed = false;

  constructor(parts: RestarterParts) {
    this.#parts = parts;
  }

  /** Starts it again after its pause. @param count of earlier restarts. @param ranMs how long it had run. */
  async schedule(record: PlainRecord, count: number, ranMs = 0): Promise<void> {
    const { runtime, register, logger } = this.#parts;
    const id = record.containerId;
    await runtime.setRestarting(id, true, count);
    const backoff = this.#backoffs.get(id) ?? new RestartBackoff();
    this.#backoffs.set(id, backoff);
    backoff.schedule(ranMs, () => {
      register
        .inOrder(id, () => this.#restart(record, count + 1))
        .catch((error: unknown) => {
          logger.warn({ container: record.name, error: errorText(error) }, 'a container did not start again');
        });
    });
  }

  /** @returns whether the container was waiting for its next start. */
  cancel(id: string): boolean {
    const backoff = this.#backoffs.get(id);
    const isWaiting = backoff?.isScheduled === true;
    backoff?.cancel();
    this.#backoffs.delete(id);
    return isWaiting;
  }

  /** Starts nothing any more. */
  [Symbol.dispose](): void {
    this.#isClosed = true;
    for (const backoff of this.#backoffs.values()) backoff.cancel();
  }

  async #restart(record: PlainRecord, count: number): Promise<void> {
    const { runtime, register, start } = this.#parts;
    const id = record.containerId;
    if (this.#isClosed || register.find(id) === undefined || record.stopped) return;
    try {
      await runtime.setRestarting(id, true, count);
      await start(record);
    } catch (error) {
      if (error instanceof SkeinError && error.code === 'NotModified') return;
      const { RestartPolicy } = hostConfigOf(await runtime.inspect(id));
      if (restarts(RestartPolicy, 1, count, record.stopped, false)) await this.schedule(record, count);
      else await runtime.setRestarting(id, false, count);
      throw error;
    }
  }
}
