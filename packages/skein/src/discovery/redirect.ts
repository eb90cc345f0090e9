/**
 * How queries to 127.0.0.11 port 53 come to the server, which listens at ports of its own there: port 53 stays free for
 * a name server that the container itself runs (at 0.0.0.0). An nft table `skein-dns` of the container's namespace
 * holds the two rules, and with them the memory of the ports: a restarted daemon takes the same again, so that
 * conversations which conntrack knows go on.
 */
import type { NetworkNamespace, NftObject, NftStatement } from '@skein/netlink';
import { ManagedTable, type TableShape } from '../nftables/index.ts';

const table = { family: 'ip', name: 'skein-dns' } as const;
const chain = 'output';
/** NF_IP_PRI_NAT_DST, linux/netfilter_ipv4.h. */
const destinationNatPriority = -100;

/** Where queries go, and where the server listens for them. */
export interface Redirection {
  readonly address: string;
  readonly port: number;
  readonly server: ServerPorts;
}

export interface ServerPorts {
  readonly udp: number;
  readonly tcp: number;
}

const shape: TableShape<Redirection> = {
  table,
  objects: ({ address, port, server }) => [
    {
      chain: {
        family: table.family,
        table: table.name,
        name: chain,
        type: 'nat',
        hook: 'output',
        prio: destinationNatPriority,
        policy: 'accept',
      },
    },
    redirectRule('udp', address, port, server.udp),
    redirectRule('tcp', address, port, server.tcp),
  ],
};

/** The rules of one container's namespace. Nothing is changed before `apply`. */
export function openRedirect(namespace: NetworkNamespace): ManagedTable<Redirection> {
  return ManagedTable.open(namespace, shape);
}

/** @returns the ports that an earlier daemon's rules lead to, if these are such rules. */
export function redirectedPorts(rules: readonly NftObject[]): ServerPorts | undefined {
  const found = new Map<string, number>();
  for (const object of rules) {
    const [, protocol, port] = ('rule' in object && /^(udp|tcp) to (\d+)$/.exec(object.rule.comment ?? '')) || [];
    if (protocol !== undefined) found.set(protocol, Number(port));
  }
  const [udp, tcp] = [found.get('udp'), found.get('tcp')];
  return udp === undefined || tcp === undefined ? undefined : { udp, tcp };
}

function redirectRule(protocol: 'udp' | 'tcp', address: string, from: number, to: number): NftObject {
  const equals = (field: { protocol: string; field: string }, right: string | number): NftStatement => ({
    match: { op: '==', left: { payload: field }, right },
  });
  return {
    rule: {
      family: table.family,
      table: table.name,
      chain,
      comment: `${protocol} to ${to}`,
      expr: [
        equals({ protocol: 'ip', field: 'daddr' }, address),
        equals({ protocol, field: 'dport' }, from),
        { dnat: { addr: address, port: to } },
      ],
    },
  };
}
