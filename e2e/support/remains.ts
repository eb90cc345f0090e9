/** All that a host has, beyond its kernel state: what containerd keeps, files, cgroups, sockets, gossip and the cluster's tasks. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { labCgroups } from '../../packages/skein/src/lab/processes.ts';
import { callApi } from './api.ts';
import type { Cluster } from './cluster.ts';
import { hostState } from './state.ts';

const containerdSocket = '/run/skein/containerd.sock';
/** containerd's own files; what it keeps is asked of it. */
const notListed = new Set(['containerd', 'swarm']);

/** @returns one list for each kind of thing, sorted, for comparing before and after. */
export async function hostRemains(cluster: Cluster, host: string): Promise<Record<string, string[]>> {
  const { paths } = cluster.lab.host(host);
  const ctr = (...words: string[]): string[] =>
    cluster
      .must(host, ['ctr', '--address', containerdSocket, '--namespace', 'skein', ...words])
      .split('\n')
      .map((line) => line.split(/\s+/)[0] ?? '')
      .filter(Boolean)
      .sort();
  const gossip = (await callApi(paths.socket, 'GET', '/skein/gossip')).body as { networks: string[] };
  return {
    ...hostState(cluster, host),
    containers: ctr('containers', 'list', '--quiet'),
    runtimeTasks: ctr('tasks', 'list', '--quiet'),
    snapshots: ctr('snapshots', '--snapshotter', 'overlayfs', 'list'),
    leases: ctr('leases', 'list', '--quiet'),
    data: filesBelow(paths.data),
    run: filesBelow(join(paths.run, 'skein')),
    agentTasks: agentTasks(join(paths.data, 'swarm/agent/tasks.db')),
    cgroups: containerCgroups(`${cluster.lab.paths.cgroup}/${host}`),
    sockets: listeners(cluster, host),
    gossipNetworks: [...gossip.networks].sort(),
  };
}

/** @param isPassing of a thing that may be there now. @returns the difference between two states of a host in words, empty when there is none. */
export function differences(
  before: Record<string, string[]>,
  now: Record<string, string[]>,
  isPassing: (thing: string) => boolean,
): string[] {
  return Object.keys(now).flatMap((kind) => {
    const had = [...(before[kind] ?? [])];
    const more: string[] = [];
    for (const each of now[kind] ?? []) {
      const at = had.indexOf(each);
      if (at < 0 && !isPassing(each)) more.push(`+ ${each}`);
      else if (at >= 0) had.splice(at, 1);
    }
    const changes = [...had.map((each) => `- ${each}`), ...more];
    return changes.length === 0 ? [] : [`${kind}: ${changes.join(', ')}`];
  });
}

/** Tasks that the host's agent remembers. */
function agentTasks(path: string): string[] {
  const database = new DatabaseSync(path, { readOnly: true });
  try {
    const rows = database.prepare('SELECT id FROM task ORDER BY id').all();
    return rows.map(({ id }) => String(id));
  } finally {
    database.close();
  }
}

/** Of the containers; their parent comes and goes as the runtime likes. */
function containerCgroups(parent: string): string[] {
  return labCgroups(parent)
    .filter((path) => !path.endsWith(parent))
    .sort();
}

function filesBelow(directory: string, prefix = ''): string[] {
  const found: string[] = [];
  for (const entry of readdirSync(join(directory, prefix), { withFileTypes: true })) {
    const path = join(prefix, entry.name);
    if (prefix === '' && notListed.has(entry.name)) continue;
    found.push(...(entry.isDirectory() ? [`${path}/`, ...filesBelow(directory, path)] : [path]));
  }
  return found.sort();
}

/** Ports that somebody listens on in the host's own namespace; chosen ports (of gossip's clients, say) do not come up. */
function listeners(cluster: Cluster, host: string): string[] {
  return cluster
    .must(host, ['busybox', 'netstat', '-lntu'])
    .split('\n')
    .map((line) => line.split(/\s+/))
    .filter(([protocol]) => /^(tcp|udp)/.test(protocol ?? ''))
    .map(([protocol, , , address]) => `${protocol} ${address}`)
    .sort();
}
