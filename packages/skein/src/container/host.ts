/** What the room asks of the host itself: its cgroups, its runc, its `ps`. */
import { execFile } from 'node:child_process';
import { access, readdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { SkeinError } from '../common/index.ts';

const run = promisify(execFile);
const cgroupRoot = '/sys/fs/cgroup';
/** Parent of the containers' cgroups. */
export const defaultCgroupParent = '/skein';
/** Output of `ps` that is read, in bytes. */
const maximumPsBytes = 16 * 1024 * 1024;

/** Version 2 alone mounts cgroup2 at the root of the hierarchy (kernel Documentation/admin-guide/cgroup-v2.rst). */
export async function cgroupVersion(): Promise<'1' | '2'> {
  return await access(join(cgroupRoot, 'cgroup.controllers')).then(
    () => '2' as const,
    () => '1' as const,
  );
}

/**
 * Where BPF programs find a container's processes: runc puts them into version 2's hierarchy also where that stands beside
 * version 1's. @returns the parent's directory there, which may not exist yet; undefined on hosts without version 2.
 */
export async function unifiedCgroup(parent = defaultCgroupParent): Promise<string | undefined> {
  for (const root of [cgroupRoot, join(cgroupRoot, 'unified')]) {
    const isUnified = await access(join(root, 'cgroup.controllers')).then(
      () => true,
      () => false,
    );
    if (isUnified) return join(root, parent);
  }
  return undefined;
}

/** Version 1 accounts for swap only when the kernel was started so (cgroup-v1/memory.rst). */
export async function hasSwapLimit(version: '1' | '2'): Promise<boolean> {
  if (version === '2') return true;
  return await access(join(cgroupRoot, 'memory/memory.memsw.limit_in_bytes')).then(
    () => true,
    () => false,
  );
}

/** cgroup v1 has a hierarchy a controller; directories with cgroups in them stay. */
export async function removeEmptyCgroups(parent: string, version: '1' | '2'): Promise<void> {
  const hierarchies =
    version === '2' ? [cgroupRoot] : (await readdir(cgroupRoot)).map((name) => join(cgroupRoot, name));
  await Promise.all(hierarchies.map((hierarchy) => rmdir(join(hierarchy, parent)).catch(() => undefined)));
}

/** @returns the version of the OCI runtime, '' when there is none. */
export async function runcVersion(): Promise<string> {
  const { stdout } = await run('runc', ['--version']).catch(() => ({ stdout: '' }));
  return /runc version (\S+)/.exec(stdout)?.[1] ?? '';
}

/** Runs the host's `ps` and keeps some processes, as `docker top`. @throws SkeinError InvalidArgument. */
export async function processTable(
  psArguments: string,
  pids: readonly number[],
): Promise<{ Titles: string[]; Processes: string[][] }> {
  const options = { maxBuffer: maximumPsBytes };
  const { stdout } = await run('ps', psArguments.split(/\s+/).filter(Boolean), options).catch((cause: Error) => {
    throw new SkeinError('InvalidArgument', `ps: ${cause.message}`, { cause });
  });
  return selectProcesses(stdout, new Set(pids.map(String)));
}

function selectProcesses(output: string, pids: ReadonlySet<string>): { Titles: string[]; Processes: string[][] } {
  const [head = '', ...lines] = output.split('\n').filter((line) => line !== '');
  const titles = head.trim().split(/\s+/);
  const column = titles.indexOf('PID');
  if (column === -1) throw new SkeinError('InvalidArgument', "Couldn't find PID field in ps output");
  const rows = lines.map((line) => {
    const fields = line.trim().split(/\s+/);
    // The last column is the command, which may have spaces.
    return [...fields.slice(0, titles.length - 1), fields.slice(titles.length - 1).join(' ')];
  });
  return { Titles: titles, Processes: rows.filter((row) => pids.has(row[column] ?? '')) };
}
