/** The nat and filter rules of a real dockerd, put on other hosts for a while. */
import { execFileSync } from 'node:child_process';
import { NetworkNamespace, Nftables } from '@skein/netlink';

/** Debian's iptables writes to these nft tables. */
const tables = ['nat', 'filter'];

/**
 * Copies the rules of one host to others, calls, and removes them again. Skein's own rules are in tables of other names
 * and stay.
 * @param from namespace of a host with a dockerd. @param to namespaces of hosts without iptables rules.
 */
export async function firewalled(from: string, to: readonly string[], action: () => Promise<void>): Promise<void> {
  const rules = execFileSync('nsenter', [`--net=${from}`, 'iptables-save'], { encoding: 'utf8' });
  try {
    for (const namespace of to) {
      execFileSync('nsenter', [`--net=${namespace}`, 'iptables-restore', '--noflush'], { input: rules });
    }
    await action();
  } finally {
    for (const path of to) {
      using namespace = NetworkNamespace.open(path);
      using nft = Nftables.open(namespace);
      const present = nft.tables().filter(({ family, name }) => family === 'ip' && tables.includes(name));
      for (const { family, name } of present) nft.deleteTable({ family, name });
    }
  }
}
