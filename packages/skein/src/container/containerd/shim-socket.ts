/** Where a shim listens. One that is killed leaves its socket behind. */
import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { containerdNamespace } from './client.ts';
import { isListening } from './supervisor.ts';

/** containerd's, whatever its state directory is (containerd 1.6, runtime/v2/shim/util_unix.go: socketRoot). */
export const shimSocketDirectory = '/run/containerd/s';

/** Takes the socket of a group's shim away, unless somebody listens. @param address containerd's socket. */
export async function removeDeadSocket(address: string, group: string): Promise<void> {
  const name = createHash('sha256')
    .update(join(address, containerdNamespace, group))
    .digest('hex');
  const socket = join(shimSocketDirectory, name);
  if (!(await isListening(socket))) await rm(socket, { force: true });
}
