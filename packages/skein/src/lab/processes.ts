/** Finding and ending the processes of a lab, by the mark that each carries in its environment. */
import { readdirSync, readFileSync, rmdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** Environment variable that names the lab a process belongs to. */
export const labMark = 'SKEIN_LAB';
/** How many rounds of kill and look again `endProcesses` makes before it gives up. */
const maximumRounds = 50;
const roundMs = 100;

function read(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return ''; // The process ended meanwhile, or is a kernel thread.
  }
}

function parentOf(pid: number): number {
  const stat = read(`/proc/${pid}/stat`);
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1] ?? 0);
}

function isZombie(pid: number): boolean {
  const stat = read(`/proc/${pid}/stat`);
  return stat === '' || stat.slice(stat.lastIndexOf(')') + 2).startsWith('Z');
}

/** @returns true while the process runs (and is not merely unreaped). */
export function isRunning(pid: number): boolean {
  return pid > 0 && !isZombie(pid);
}

/** @returns all processes of the lab: those with its mark, their descendants, and those in its cgroups; never the caller. */
export function labProcesses(lab: string, cgroup: string): Set<number> {
  const pids = readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
  const mark = `${labMark}=${lab}`;
  const found = new Set(
    pids.filter((pid) => pid !== process.pid && read(`/proc/${pid}/environ`).split('\0').includes(mark)),
  );
  for (const directory of labCgroups(cgroup)) {
    for (const pid of read(join(directory, 'cgroup.procs')).split('\n').filter(Boolean)) found.add(Number(pid));
  }
  for (let grew = true; grew; ) {
    grew = false;
    for (const pid of pids) {
      if (found.has(pid) || pid === process.pid || !found.has(parentOf(pid))) continue;
      found.add(pid);
      grew = true;
    }
  }
  return new Set([...found].filter(isRunning));
}

/** Kills the lab's processes until none is left. @throws Error naming those that would not die. */
export async function endProcesses(lab: string, cgroup: string): Promise<void> {
  for (let round = 0; round < maximumRounds; round++) {
    const pids = labProcesses(lab, cgroup);
    if (pids.size === 0) return;
    for (const pid of pids) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
      }
    }
    await sleep(roundMs);
  }
  throw new Error(`lab ${lab}: processes ${[...labProcesses(lab, cgroup)].join(', ')} do not end`);
}

/** @returns the lab's cgroup directories under every hierarchy (cgroup v1 and v2), deepest first. */
export function labCgroups(cgroup: string): string[] {
  return hierarchies().flatMap((hierarchy) => tree(join(hierarchy, cgroup)));
}

function hierarchies(): string[] {
  const root = '/sys/fs/cgroup';
  return [root, ...subdirectories(root)];
}

/** Removes the lab's cgroups. A cgroup that still has a process stays (EBUSY is thrown). */
export function removeCgroups(cgroup: string): void {
  for (const directory of labCgroups(cgroup)) removeDirectory(directory);
}

/** Removes the cgroup, under every hierarchy, where nothing is in it. */
export function removeEmptyCgroup(cgroup: string): void {
  for (const directory of hierarchies().map((hierarchy) => join(hierarchy, cgroup))) {
    if (subdirectories(directory).length === 0) removeDirectory(directory);
  }
}

function removeDirectory(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
  }
}

function subdirectories(directory: string): string[] {
  try {
    return readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isDirectory())
      .map((entry) => join(directory, entry.name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function tree(directory: string): string[] {
  try {
    readdirSync(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return [...subdirectories(directory).flatMap(tree), directory];
}
