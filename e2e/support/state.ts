/** What a host has in its kernel and on its disk, for comparing before and after. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { Cluster } from './cluster.ts';

/** @returns one text that lists a host's namespaces, links, nft tables, mounts and processes of containers, sorted. */
export function hostState(cluster: Cluster, host: string): Record<string, string[]> {
  const lines = (words: string[]): string[] => cluster.must(host, words).split('\n').filter(Boolean).sort();
  const holder = cluster.lab.host(host).holder;
  return {
    links: lines(['ip', '-o', 'link', 'show']).map((line) => line.split(':')[1]?.trim() ?? ''),
    addresses: lines(['ip', '-o', 'addr', 'show']).map((line) => line.split(/\s+/).slice(1, 4).join(' ')),
    // A bridge without a running port says linkdown.
    routes: lines(['ip', 'route', 'show']).map((line) => line.replace(' linkdown', '').trim()),
    nftTables: lines(['nft', 'list', 'tables']),
    namespaceFiles: listing(`/proc/${holder}/root/run/skein/netns`),
    mounts: mountsOf(holder ?? 0),
    processes: processesOf(holder ?? 0),
  };
}

function listing(directory: string): string[] {
  try {
    return readdirSync(directory).sort();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
}

function mountsOf(pid: number): string[] {
  return readFileSync(`/proc/${pid}/mounts`, 'utf8')
    .split('\n')
    .map((line) => line.split(' ').slice(1, 3).join(' '))
    .filter(Boolean)
    .sort();
}

/** Names of the processes that share the host's mount namespace (daemon, containerd, shims). */
function processesOf(holder: number): string[] {
  const mountNamespace = readlinkSync(`/proc/${holder}/ns/mnt`);
  const names: string[] = [];
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (readlinkSync(`/proc/${pid}/ns/mnt`) === mountNamespace)
        names.push(readFileSync(`/proc/${pid}/comm`, 'utf8').trim());
    } catch {
      // It ended while we looked.
    }
  }
  return names.sort();
}
