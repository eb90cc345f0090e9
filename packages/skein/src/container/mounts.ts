/** Mounts of the daemon's own: directories that are memory, and the end of every mount, also of a killed daemon's. */
import { execFile } from 'node:child_process';
import { mkdir, readFile, realpath, statfs } from 'node:fs/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);
/** Where things are mounted in a container's run directory: its secrets and configs; a stopped one's root for `docker cp`. */
export const filesPlace = 'files';
export const rootPlace = 'root';
/** TMPFS_MAGIC and RAMFS_MAGIC, linux/magic.h. */
const memoryFileSystems: readonly number[] = [0x01021994, 0x858458f6];

/** Makes a directory whose files never come to a disk: where its place is on one, a tmpfs is mounted over it. */
export async function makeMemoryDirectory(path: string, mode: number): Promise<void> {
  await mkdir(path, { recursive: true, mode });
  const { type } = await statfs(path);
  if (memoryFileSystems.includes(type)) return;
  const options = `mode=${mode.toString(8)},nosuid,nodev`;
  await run('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', path]);
}

/** Takes away all that is mounted at a directory. No error when it is not there, or nothing is mounted. */
export async function unmount(path: string): Promise<void> {
  while (await isMountPoint(path)) await run('umount', ['--lazy', path]);
}

/** Column of the mount point in /proc/self/mountinfo, proc(5); there a blank is written as a backslash and its octal code. */
const mountPointColumn = 4;

async function isMountPoint(path: string): Promise<boolean> {
  try {
    const place = (await realpath(path)).replaceAll(/[\\ \t\n]/g, octal);
    const mounts = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
    return mounts.some((line) => line.split(' ')[mountPointColumn] === place);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    throw error;
  }
}

const octal = (character: string): string => `\\${character.charCodeAt(0).toString(8).padStart(3, '0')}`;
