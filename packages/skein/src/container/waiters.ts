/** Those who wait for a container's next exit or its removal. BOUNDED by the open requests of the API. */
import { EventEmitter, once } from 'node:events';
import type { WaitCondition } from './types.ts';

type Result = { exitCode: number; error: string };

export class Waiters {
  readonly #emitter = new EventEmitter<{ exited: [Result]; removed: [Result] }>().setMaxListeners(0);

  /** Resolves with the exit code at the next exit, or at the removal. @throws when the signal is aborted. */
  async wait(condition: WaitCondition, signal: AbortSignal): Promise<Result> {
    const [result] = (await once(this.#emitter, condition === 'removed' ? 'removed' : 'exited', { signal })) as [
      Result,
    ];
    return result;
  }

  exited(exitCode: number): void {
    this.#emitter.emit('exited', { exitCode, error: '' });
  }

  removed(exitCode: number): void {
    this.#emitter.emit('removed', { exitCode, error: '' });
    this.#emitter.emit('exited', { exitCode, error: '' });
  }
}
