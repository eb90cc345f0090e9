/**
 * The nft table `skein-local` of the host's namespace: for each bridge network masquerade and isolation, and for each
 * published port the way to its container. No other table is touched.
 */
import { type NetworkNamespace, type NftExpression, type NftObject, type NftStatement, Prefix } from '@skein/netlink';
import { ManagedTable } from '../nftables/index.ts';
import type { BridgeNetwork, PublishedPort } from './types.ts';

const table = { family: 'ip', name: 'skein-local' } as const;
/** NF_IP_PRI_RAW, …NAT_DST, …FILTER and …NAT_SRC, linux/netfilter_ipv4.h. */
const priority = { raw: -300, destinationNat: -100, filter: 0, sourceNat: 100 } as const;
export const anyAddress = '0.0.0.0';

/** A published port with the plain address that it leads to. */
export interface Publication extends PublishedPort {
  readonly address: string;
  /** The bridge that leads there. */
  readonly bridge: string;
}

const meta = (key: string, right: string, op = '=='): NftStatement => ({
  match: { op, left: { meta: { key } }, right },
});
const connection = (key: string, right: string | string[]): NftStatement => ({
  match: { op: 'in', left: { ct: { key } }, right },
});
const address = (field: 'saddr' | 'daddr', right: NftExpression): NftStatement => ({
  match: { op: '==', left: { payload: { protocol: 'ip', field } }, right },
});
const within = (field: 'saddr' | 'daddr', subnet: string): NftStatement => {
  const { network, length } = Prefix.parse(subnet);
  return address(field, { prefix: { addr: network, len: length } });
};
const from = (subnet: string): NftStatement => within('saddr', subnet);
const toThisHost: NftStatement = {
  match: { op: '==', left: { fib: { result: 'type', flags: ['daddr'] } }, right: 'local' },
};
const loopback = '127.0.0.0/8';
const loopbackLink = 'lo';

const rule = (chain: string, comment: string, ...expr: NftStatement[]): NftObject => ({
  rule: { family: table.family, table: table.name, chain, comment, expr },
});

/** What the table is made of. */
export interface BridgeRules {
  readonly networks: readonly BridgeNetwork[];
  readonly publications: readonly Publication[];
}

/** Opens the table; nothing is changed before `applyRules`. */
export function openBridgeFirewall(host: NetworkNamespace): ManagedTable<BridgeRules> {
  return ManagedTable.open(host, { table, objects: tableObjects });
}

/** Makes the table so; without networks and ports there is none. */
export function applyRules(firewall: ManagedTable<BridgeRules>, rules: BridgeRules): void {
  if (rules.networks.length === 0 && rules.publications.length === 0) firewall.remove();
  else firewall.apply(rules);
}

function tableObjects({ networks, publications }: BridgeRules): NftObject[] {
  type Hook = 'prerouting' | 'output' | 'postrouting' | 'forward';
  const chain = (hook: Hook, type: 'nat' | 'filter', prio: number, name: string = hook): NftObject => ({
    chain: { family: table.family, table: table.name, name, type, hook, prio, policy: 'accept' },
  });
  return [
    chain('prerouting', 'filter', priority.raw, 'early'),
    // A neighbour who sends to 127.0.0.1 would be led on before the kernel sees that it is none of his business.
    rule('early', 'to 127.0.0.1 from elsewhere', meta('iifname', loopbackLink, '!='), within('daddr', loopback), {
      drop: null,
    }),
    chain('prerouting', 'nat', priority.destinationNat),
    chain('output', 'nat', priority.destinationNat),
    chain('postrouting', 'nat', priority.sourceNat),
    chain('forward', 'filter', priority.filter),
    ...publications.flatMap(portRules),
    ...[...new Set(publications.map(({ bridge }) => bridge))].map((bridge) =>
      rule('postrouting', 'from this host', from(loopback), meta('oifname', bridge), { masquerade: null }),
    ),
    ...networks.flatMap(networkRules),
  ];
}

function portRules(publication: Publication): NftObject[] {
  const { protocol, hostAddress, hostPort, containerPort } = publication;
  const comment = `${hostAddress}:${hostPort}/${protocol}`;
  const expr: NftStatement[] = [
    hostAddress === anyAddress ? toThisHost : address('daddr', hostAddress),
    { match: { op: '==', left: { payload: { protocol, field: 'dport' } }, right: hostPort } },
    { dnat: { addr: publication.address, port: containerPort } },
  ];
  return [rule('prerouting', comment, ...expr), rule('output', comment, ...expr)];
}

function networkRules({ bridge, subnet, internal }: BridgeNetwork): NftObject[] {
  const inward = meta('oifname', bridge);
  const outward = [meta('iifname', bridge), meta('oifname', bridge, '!=')];
  const foreign = [meta('iifname', bridge, '!='), inward];
  const source = from(subnet);
  if (internal) {
    return [
      rule('forward', 'internal: not out', ...outward, { drop: null }),
      rule('forward', 'internal: not in', ...foreign, { drop: null }),
    ];
  }
  return [
    rule('postrouting', 'to the outside', source, meta('oifname', bridge, '!='), { masquerade: null }),
    rule('postrouting', 'to its own published port', source, inward, connection('status', 'dnat'), {
      masquerade: null,
    }),
    rule('forward', 'answers', ...foreign, connection('state', ['established', 'related']), { accept: null }),
    rule('forward', 'published ports', ...foreign, connection('status', 'dnat'), { accept: null }),
    rule('forward', 'nothing else from outside', ...foreign, { drop: null }),
  ];
}
