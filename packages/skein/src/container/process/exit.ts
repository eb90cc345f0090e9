/** Waiting for a process's end so that none is missed: the shim keeps the exit code until the process is deleted. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ConnectError } from '@connectrpc/connect';
import { type Containerd, isNotFound, noTimeout, unlessNotFound } from '../containerd/client.ts';
import type { Context } from '../context.ts';
import { nowNanoseconds, timestampNanoseconds } from '../time.ts';

export interface Exit {
  readonly exitCode: number;
  /** Nanoseconds since the epoch. */
  readonly exitedAt: bigint;
}

/** What Docker reports of a process whose end nobody saw (its shim is gone). */
const unknownExitCode = 255;
const retryMs = 500;

/**
 * Resolves when the process has ended. Asks again after a lost connection or a restarted containerd.
 * @param execId '' for the container's first process.
 * @throws when `signal` is aborted.
 */
export async function waitForExit(
  containerd: Containerd,
  process: { containerId: string; execId: string },
  signal: AbortSignal,
): Promise<Exit> {
  for (;;) {
    signal.throwIfAborted();
    try {
      const { exitStatus, exitedAt } = await containerd.tasks.wait(process, { ...noTimeout, signal });
      return { exitCode: exitStatus, exitedAt: exitedAt ? timestampNanoseconds(exitedAt) : nowNanoseconds() };
    } catch (error) {
      signal.throwIfAborted();
      if (isNotFound(error)) return { exitCode: unknownExitCode, exitedAt: nowNanoseconds() };
      if (!(error instanceof ConnectError)) throw error;
      await sleep(retryMs, undefined, { signal });
    }
  }
}

/** Deletes an ended task, or a created one by force; "there is none" is success. */
export async function deleteTask({ containerd, shims }: Context, containerId: string): Promise<void> {
  await shims.leave(
    containerId,
    async () => (await unlessNotFound(containerd.tasks.delete({ containerId }))) !== undefined,
  );
}
