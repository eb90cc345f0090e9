/** Where a shim listens. One that is killed leaves its socket behind. */
import { createHash } from 'node:crypto';
import { readdir, readFile, readlink, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { containerdNamespace } from './client.ts';
import { isListening } from './supervisor.ts';

/** containerd's, whatever its state directory is (containerd 1.6, runtime/v2/shim/util_unix.go: socketRoot). */
const socketDirectory = '/run/containerd/s';
/** proc(5), /proc/net/unix: the inode, and the path of a socket that has one. */
const unixSocket = /(\d+) (\/\S+)$/;

/** Takes the socket of a group's shim away, unless somebody listens. @param address containerd's socket. */
export async function removeDeadSocket(address: string, group: string): Promise<void> {
  const name = createHash('sha256')
    .update(join(address, containerdNamespace, group))
    .digest('hex');
  const socket = join(socketDirectory, name);
  if (!(await isListening(socket))) await rm(socket, { force: true });
}

/** @returns the paths of the sockets that a shim listens at; none when it has ended. */
export async function socketsOfShim(pid: number): Promise<string[]> {
  try {
    const descriptors = await readdir(`/proc/${pid}/fd`);
    const files = await Promise.all(descriptors.map((name) => readlink(`/proc/${pid}/fd/${name}`).catch(() => '')));
    const sockets = (await readFile(`/proc/${pid}/net/unix`, 'utf8')).split('\n');
    return sockets.flatMap((line) => {
      const [, inode, path = ''] = unixSocket.exec(line) ?? [];
      return path.startsWith(`${socketDirectory}/`) && files.includes(`socket:[${inode}]`) ? [path] : [];
    });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return [];
    throw error;
  }
}
