/** A real dockerd on a lab host, beside skeinds on the others. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Cluster } from './cluster.ts';
import { eventually } from './cluster.ts';

const startTimeoutMs = 60_000;

/** dockerd's socket as the host sees it. */
export const dockerdSocket = 'unix:///run/docker.sock';

/** Starts Debian's dockerd on a host that has no skeind; it ends with the lab. Its log is `dockerd.log` in the lab's folder. */
export async function startDockerd(cluster: Cluster, name: string): Promise<number> {
  const host = cluster.lab.host(name);
  const log = dockerdLog(cluster, name);
  const pid = await host.start(
    [
      'dockerd',
      `--data-root=${join(host.paths.data, 'docker')}`,
      '--exec-root=/run/docker',
      '--pidfile=/run/docker.pid',
      `--host=${dockerdSocket}`,
      `--cgroup-parent=${cluster.lab.paths.cgroup}/${name}`,
    ],
    log,
  );
  await eventually(
    `dockerd of ${name} answers`,
    () => {
      if (!existsSync(`/proc/${pid}`)) throw new Error(`dockerd ended:\n${readFileSync(log, 'utf8').slice(-3000)}`);
      return cluster.run(name, ['docker', '-H', dockerdSocket, 'version']).exitCode === 0 ? true : undefined;
    },
    startTimeoutMs,
  );
  return pid;
}

/** Path of a host's dockerd log. */
export function dockerdLog(cluster: Cluster, name: string): string {
  return join(cluster.lab.paths.run, name, 'dockerd.log');
}

/** The words of a docker command for the host's dockerd. */
export function dockerd(command: string): string[] {
  return ['docker', '-H', dockerdSocket, ...command.split(' ')];
}
