/** A host's death: its link goes down and its processes are gone at once. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { labCgroups } from '../../packages/skein/src/lab/processes.ts';
import type { Cluster } from './cluster.ts';

/** Kills the daemon, containerd, shims and containers of a host; what holds its namespaces stays, for `down`. */
export function killHost(cluster: Cluster, host: string): void {
  cluster.must(host, 'ip link set eth0 down');
  const { holder } = cluster.lab.host(host);
  const mounts = (pid: number | string): string => {
    try {
      return readlinkSync(`/proc/${pid}/ns/mnt`);
    } catch {
      return ''; // It has ended.
    }
  };
  const own = mounts(holder ?? 0);
  const daemons = readdirSync('/proc').filter((name) => /^\d+$/.test(name) && mounts(name) === own);
  const containers = labCgroups(`${cluster.lab.paths.cgroup}/${host}`).flatMap((directory) =>
    readFileSync(join(directory, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean),
  );
  for (const pid of new Set([...daemons, ...containers].map(Number))) {
    if (pid === holder || own === '') continue;
    try {
      process.kill(pid, 'SIGKILL');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
  }
}
