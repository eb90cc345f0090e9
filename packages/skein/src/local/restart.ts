/** When a container's restart policy starts it again, and how long it waits (moby restartmanager). */
import type { RestartPolicy } from '../container/types.ts';

/** First pause, doubled with each start that does not last, up to the last. */
const pauseMs = { first: 100, last: 60_000 } as const;
/** A run of so long makes the pause short again. */
const lastingMs = 10_000;

/** @param stopped by the user. @param boot the daemon starts; otherwise the container has just ended. */
export function restarts(
  policy: RestartPolicy | undefined,
  exitCode: number,
  count: number,
  stopped: boolean,
  boot: boolean,
): boolean {
  switch (policy?.Name) {
    case 'always':
      return boot || !stopped;
    case 'unless-stopped':
      return !stopped;
    case 'on-failure':
      return !stopped && exitCode !== 0 && (policy.MaximumRetryCount === 0 || count < policy.MaximumRetryCount);
    default:
      return false;
  }
}

/** The pauses between the starts of one container. */
export class RestartBackoff {
  #nextMs: number = pauseMs.first;
  #timer: NodeJS.Timeout | undefined;

  get isScheduled(): boolean {
    return this.#timer !== undefined;
  }

  /** @param ranMs how long the container has run. */
  schedule(ranMs: number, start: () => void): void {
    this.cancel();
    if (ranMs >= lastingMs) this.#nextMs = pauseMs.first;
    const pause = this.#nextMs;
    this.#nextMs = Math.min(2 * pause, pauseMs.last);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      start();
    }, pause);
  }

  cancel(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
