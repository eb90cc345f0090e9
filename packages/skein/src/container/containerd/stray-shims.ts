/**
 * Shims that nobody has: a daemon killed while containerd made a task for it leaves, with containerd 1.6, a shim that
 * waits with its `runc init`, and of which containerd knows no more. Where it was not the shim's first task, the shim
 * has others, and containerd has runc take away the one that was not made.
 */
import { readdir, readFile, readlink, rm } from 'node:fs/promises';
import type { Logger } from '../../common/index.ts';
import { Status } from '../gen/task_types_pb.js';
import { type Containerd, containerdNamespace, unlessNotFound } from './client.ts';
import { socketsOfShim } from './shim-socket.ts';

/** A shim process of this containerd. */
interface ShimProcess {
  readonly pid: number;
  readonly leader: string;
}

/** A container as the last daemon left it. */
interface ShimUser {
  readonly id: string;
  /** `Shim.leader` of its last start; absent when that was by a daemon that made each container a shim of its own. */
  readonly shim?: string;
  readonly state: { readonly Running: boolean };
}

/**
 * Ends the shims of our namespace on the containerd at `address` for which it has no task. To be called before the
 * first task is made, and with nobody else making any: a shim is there before its task is known.
 * @param containers all that there are. Shims of those that ran when the last daemon ended stay whatever containerd says.
 */
export async function endStrayShims(
  containerd: Containerd,
  { address, containers, logger }: { address: string; containers: readonly ShimUser[]; logger: Logger },
): Promise<void> {
  const processes = await processTable();
  for (const { pid, leader } of await shimsOf(address, processes)) {
    const users = containers.filter(({ id, shim }) => (shim ?? id) === leader);
    if (users.some(({ state }) => state.Running)) continue;
    if (await hasTask(containerd, new Set([leader, ...users.map(({ id }) => id)]))) continue;
    logger.warn({ id: leader, pid }, 'ending a shim whose task was never made');
    const sockets = await socketsOfShim(pid);
    // The shim first, so that it cannot start the process that it was asked for.
    for (const each of [pid, ...childrenOf(pid, processes)]) end(each);
    for (const socket of sockets) await rm(socket, { force: true });
  }
}

async function hasTask(containerd: Containerd, ids: Iterable<string>): Promise<boolean> {
  for (const containerId of ids) {
    const task = await unlessNotFound(containerd.tasks.get({ containerId }));
    // A shim that does not answer containerd has a task of unknown status.
    if (task?.process && task.process.status !== Status.UNKNOWN) return true;
  }
  return false;
}

/** @returns each process's parent. */
async function processTable(): Promise<Map<number, number>> {
  const table = new Map<number, number>();
  for (const name of await readdir('/proc')) {
    const stat = /^\d+$/.test(name) ? await readProcess(`/proc/${name}/stat`) : '';
    // proc(5): pid (comm) state ppid …; a comm may have blanks and brackets.
    const parent = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1];
    if (parent !== undefined) table.set(Number(name), Number(parent));
  }
  return table;
}

async function shimsOf(address: string, processes: ReadonlyMap<number, number>): Promise<ShimProcess[]> {
  const shims: ShimProcess[] = [];
  // One path names another socket in another mount namespace: the hosts of a lab share their process IDs.
  const ownMounts = await readlink('/proc/self/ns/mnt');
  for (const pid of processes.keys()) {
    const words = (await readProcess(`/proc/${pid}/cmdline`)).split('\0');
    const option = (name: string): string | undefined => words[words.indexOf(name, 1) + 1];
    if (!words[0]?.includes('containerd-shim')) continue;
    const isOurs = option('-namespace') === containerdNamespace && option('-address') === address;
    const leader = option('-id');
    if (!isOurs || leader === undefined) continue;
    if ((await mountNamespace(pid)) === ownMounts) shims.push({ pid, leader });
  }
  return shims;
}

/** @returns '' when the process has ended. */
function mountNamespace(pid: number): Promise<string> {
  return unlessEnded(readlink(`/proc/${pid}/ns/mnt`));
}

function childrenOf(pid: number, processes: ReadonlyMap<number, number>): number[] {
  return [...processes].filter(([, parent]) => parent === pid).map(([child]) => child);
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

/** @returns '' when the process has ended. */
function readProcess(path: string): Promise<string> {
  return unlessEnded(readFile(path, 'utf8'));
}

async function unlessEnded(reading: Promise<string>): Promise<string> {
  try {
    return await reading;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ESRCH') return '';
    throw error;
  }
}
