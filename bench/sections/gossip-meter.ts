/** Counts the bytes that hosts send as gossip: a rule in a table of our own, in each host's namespace. */
import { NetworkNamespace, Nftables, type NftStatement } from '@skein/netlink';

const table = { family: 'ip', name: 'bench-gossip' } as const;
const chain = 'sent';
/** Where memberlist talks, by UDP and TCP. */
const gossipPort = 7946;
/** iptables' "raw" priority: before anything else looks at the packets. */
const priority = -300;

export class GossipMeter implements Disposable {
  readonly #namespaces: readonly string[];

  private constructor(namespaces: readonly string[]) {
    this.#namespaces = namespaces;
  }

  /** Counts in these namespaces until it is disposed of. */
  static install(namespaces: readonly string[]): GossipMeter {
    const rule = (protocol: 'tcp' | 'udp', field: 'sport' | 'dport'): NftStatement[] => [
      { match: { op: '==', left: { payload: { protocol, field } }, right: gossipPort } },
      { counter: { packets: 0, bytes: 0 } },
      { accept: null },
    ];
    const rules = [rule('udp', 'dport'), rule('tcp', 'dport'), rule('tcp', 'sport')];
    const meter = new GossipMeter(namespaces);
    for (const path of namespaces) {
      inNamespace(path, (nft) =>
        nft.replaceTable(table, [
          {
            chain: {
              ...{ family: table.family, table: table.name, name: chain },
              ...{ type: 'filter', hook: 'output', prio: priority, policy: 'accept' },
            },
          },
          ...rules.map((expr) => ({ rule: { family: table.family, table: table.name, chain, expr } })),
        ]),
      );
    }
    return meter;
  }

  /** Bytes of IP packets that all of them have sent so far. */
  bytesSent(): number {
    return this.#namespaces
      .flatMap((path) => inNamespace(path, (nft) => nft.list(table)))
      .flatMap((object) => ('rule' in object ? object.rule.expr : []))
      .reduce((sum, { counter }) => sum + ((counter as { bytes?: number } | undefined)?.bytes ?? 0), 0);
  }

  [Symbol.dispose](): void {
    for (const path of this.#namespaces) inNamespace(path, (nft) => nft.deleteTable(table));
  }
}

function inNamespace<T>(path: string, action: (nft: Nftables) => T): T {
  using namespace = NetworkNamespace.open(path);
  using nft = Nftables.open(namespace);
  return action(nft);
}
