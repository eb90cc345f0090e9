/** /etc/hosts and /etc/resolv.conf of containers that have no name server of their own. */
import { readFileSync } from 'node:fs';
import { hostsFile } from '../discovery/index.ts';

/** @param source `host`: the host's file; '': only the local names; else a file. */
export function hostHosts(source: string, hostname: string): string {
  if (source === '') return hostsFile({ hostname, names: [], addresses: [], extra: [] });
  return readFileSync(source === 'host' ? '/etc/hosts' : source, 'utf8');
}

export function hostResolvConf(path = '/etc/resolv.conf'): string {
  return readFileSync(path, 'utf8');
}
