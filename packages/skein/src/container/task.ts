/** A container's task in containerd: how it is made, and found again after a restart of the daemon. */
import { setTimeout as sleep } from 'node:timers/promises';
import { ConnectError } from '@connectrpc/connect';
import { snapshotter, unlessNotFound } from './containerd/client.ts';
import { ownShim, type Shim } from './containerd/shim-groups.ts';
import type { Context } from './context.ts';
import { type Process, Status } from './gen/task_types_pb.js';
import { isThrottled } from './oci/spec.ts';
import { writeSpec } from './prepare.ts';
import type { FifoPaths } from './process/fifos.ts';
import type { ContainerRecord } from './state.ts';

/** Before a shim that is busy is asked again, in milliseconds. */
const findIntervalMs = 200;
/** How long containerd may take to remove a task whose caller is gone: twice its time-out for a shim, and runc's time. */
const leftoversMs = 12_000;
/** Of containerd 1.6 when the task's bundle is still there. */
const leftoverText = /failed to start shim: mkdir .*: file exists/;

/**
 * Makes the task, in a shim that others may share.
 * @param save writes the record, which says before each attempt in which shim it is.
 */
export async function createTask(
  context: Context,
  record: ContainerRecord,
  fifos: FifoPaths,
  save: () => Promise<void>,
): Promise<void> {
  const { containerd, shims, closed } = context;
  const create = async (shim: Shim): Promise<void> => {
    record.shim = shim.leader;
    record.starting = true;
    await save();
    await writeSpec(context, record, shim);
    const { mounts: rootfs } = await containerd.snapshots.mounts({ snapshotter, key: record.id });
    const request = { containerId: record.id, rootfs, terminal: record.config.Tty, ...fifos };
    await afterLeftovers(() => containerd.tasks.create(request), closed);
  };
  if (mayHoldItsShim(record)) await create(ownShim(record.id));
  else await shims.join(record.id, create, closed);
}

/**
 * While a shim creates a container, or a process enters one, it does nothing else: that is slow where the container is
 * throttled, and may last for ever where a directory is mounted whose server is dead.
 */
function mayHoldItsShim({ hostConfig, mountPoints }: ContainerRecord): boolean {
  return isThrottled(hostConfig) || mountPoints.some(({ Type }) => Type !== 'tmpfs');
}

/** For a while after a daemon's end in the middle of a start, containerd is busy with taking away what came of it. */
async function afterLeftovers<T>(create: () => Promise<T>, signal: AbortSignal): Promise<T> {
  const deadline = Date.now() + leftoversMs;
  for (;;) {
    try {
      return await create();
    } catch (error) {
      const isLeft = error instanceof ConnectError && leftoverText.test(error.rawMessage);
      if (!isLeft || Date.now() > deadline) throw error;
      await sleep(findIntervalMs, undefined, { signal });
    }
  }
}

/**
 * @param deadline milliseconds since the epoch: until then, a shim that does not answer is asked again.
 * @returns undefined when there is none; of status UNKNOWN when its shim does not answer and the container ran.
 */
export async function findTask(
  { containerd, closed }: Context,
  { id, state }: ContainerRecord,
  deadline: number,
): Promise<Process | undefined> {
  for (;;) {
    const task = await unlessNotFound(containerd.tasks.get({ containerId: id }));
    if (task?.process?.status !== Status.UNKNOWN) return task?.process;
    if (Date.now() >= deadline) return state.Running ? task.process : undefined;
    await sleep(findIntervalMs, undefined, { signal: closed });
  }
}
