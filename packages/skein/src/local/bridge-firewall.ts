/**
 * The nft tables `skein-local` of the host's namespace, one for each family: for each bridge network masquerade and
 * isolation, and for each published port the way to its container. No other table is touched.
 */
import { isIPv6 } from 'node:net';
import { type NetworkNamespace, type NftExpression, type NftObject, type NftStatement, Prefix } from '@skein/netlink';
import { anyAddress, anyIpv6Address } from '../balancer/index.ts';
import { ManagedTable } from '../nftables/index.ts';
import type { BridgeNetwork, PublishedPort } from './types.ts';

type TableFamily = 'ip' | 'ip6';
const tableName = 'skein-local';
/** NF_IP_PRI_RAW, …NAT_DST, …FILTER and …NAT_SRC, linux/netfilter_ipv4.h. */
const priority = { raw: -300, destinationNat: -100, filter: 0, sourceNat: 100 } as const;

/** A published port with the plain address that it leads to, of the family of its host address. */
export interface Publication extends PublishedPort {
  readonly address: string;
  /** The bridge that leads there. */
  readonly bridge: string;
}

/** What the tables are made of. */
export interface BridgeRules {
  readonly networks: readonly BridgeNetwork[];
  readonly publications: readonly Publication[];
}

/** A network in one family. */
interface FamilyNetwork extends Pick<BridgeNetwork, 'bridge' | 'internal'> {
  /** CIDR. */
  readonly subnet: string;
}

interface FamilyRules {
  readonly networks: readonly FamilyNetwork[];
  readonly publications: readonly Publication[];
}

export class BridgeFirewall implements Disposable {
  readonly #ipv4: ManagedTable<FamilyRules>;
  readonly #ipv6: ManagedTable<FamilyRules>;

  private constructor(ipv4: ManagedTable<FamilyRules>, ipv6: ManagedTable<FamilyRules>) {
    this.#ipv4 = ipv4;
    this.#ipv6 = ipv6;
  }

  /** Nothing is changed before `apply`. */
  static open(host: NetworkNamespace): BridgeFirewall {
    const open = (family: TableFamily): ManagedTable<FamilyRules> =>
      ManagedTable.open(host, {
        table: { family, name: tableName },
        objects: (rules) => tableObjects(family, rules),
      });
    return new BridgeFirewall(open('ip'), open('ip6'));
  }

  /** Makes the tables so; a family without networks and ports has none. */
  apply({ networks, publications }: BridgeRules): void {
    const isOfIpv6 = ({ address }: Publication): boolean => isIPv6(address);
    applyTo(this.#ipv4, { networks, publications: publications.filter((each) => !isOfIpv6(each)) });
    applyTo(this.#ipv6, {
      networks: networks.flatMap((network) => (network.ipv6 ? [{ ...network, subnet: network.ipv6.subnet }] : [])),
      publications: publications.filter(isOfIpv6),
    });
  }

  /** @returns whether somebody had changed a table. */
  repair(): boolean {
    const isRepaired = this.#ipv4.repair();
    return this.#ipv6.repair() || isRepaired;
  }

  /** Stops looking after the tables, which stay. */
  [Symbol.dispose](): void {
    this.#ipv4[Symbol.dispose]();
    this.#ipv6[Symbol.dispose]();
  }
}

function applyTo(table: ManagedTable<FamilyRules>, rules: FamilyRules): void {
  if (rules.networks.length === 0 && rules.publications.length === 0) table.remove();
  else table.apply(rules);
}

const meta = (key: string, right: string, op = '=='): NftStatement => ({
  match: { op, left: { meta: { key } }, right },
});
const connection = (key: string, right: string | string[]): NftStatement => ({
  match: { op: 'in', left: { ct: { key } }, right },
});
const address = (field: 'saddr' | 'daddr', right: NftExpression, family: TableFamily, op = '=='): NftStatement => ({
  match: { op, left: { payload: { protocol: family, field } }, right },
});
const within = (field: 'saddr' | 'daddr', subnet: string, family: TableFamily, op = '=='): NftStatement => {
  const { network, length } = Prefix.parse(subnet);
  return address(field, { prefix: { addr: network, len: length } }, family, op);
};
const toThisHost: NftStatement = {
  match: { op: '==', left: { fib: { result: 'type', flags: ['daddr'] } }, right: 'local' },
};
const loopback = '127.0.0.0/8';
const loopbackLink = 'lo';
/**
 * In IPv6 neither ::1 nor a link-local client (RFC 4291) is known beyond its link: what these send is not led elsewhere,
 * and comes to the socket that holds the port (balancer/ipv6-relay.ts).
 */
const ipv6Loopback = '::1';
const linkLocal = 'fe80::/10';
const beyondLink: readonly NftStatement[] = [
  within('saddr', linkLocal, 'ip6', '!='),
  address('daddr', ipv6Loopback, 'ip6', '!='),
];

const rule = (family: TableFamily, chain: string, comment: string, ...expr: NftStatement[]): NftObject => ({
  rule: { family, table: tableName, chain, comment, expr },
});

function tableObjects(family: TableFamily, { networks, publications }: FamilyRules): NftObject[] {
  type Hook = 'prerouting' | 'output' | 'postrouting' | 'forward';
  const chain = (hook: Hook, type: 'nat' | 'filter', prio: number, name: string = hook): NftObject => ({
    chain: { family, table: tableName, name, type, hook, prio, policy: 'accept' },
  });
  // A neighbour who sends to 127.0.0.1 would be led on before the kernel sees that it is none of his business.
  const intruder = [meta('iifname', loopbackLink, '!='), within('daddr', loopback, 'ip')];
  const early = [
    chain('prerouting', 'filter', priority.raw, 'early'),
    rule('ip', 'early', 'to 127.0.0.1 from elsewhere', ...intruder, { drop: null }),
  ];
  const bridges = [...new Set(publications.map(({ bridge }) => bridge))];
  const ownName = bridges.map((bridge) =>
    rule('ip', 'postrouting', 'from this host', within('saddr', loopback, 'ip'), meta('oifname', bridge), {
      masquerade: null,
    }),
  );
  return [
    ...(family === 'ip' ? early : []),
    chain('prerouting', 'nat', priority.destinationNat),
    chain('output', 'nat', priority.destinationNat),
    chain('postrouting', 'nat', priority.sourceNat),
    chain('forward', 'filter', priority.filter),
    ...publications.flatMap((publication) => portRules(family, publication)),
    ...(family === 'ip' ? ownName : []),
    ...networks.flatMap((network) => networkRules(family, network)),
  ];
}

function portRules(family: TableFamily, publication: Publication): NftObject[] {
  const { protocol, hostAddress, hostPort, containerPort } = publication;
  const comment = `${hostAddress}:${hostPort}/${protocol}`;
  const isAny = hostAddress === anyAddress || hostAddress === anyIpv6Address;
  const expr: NftStatement[] = [
    isAny ? toThisHost : address('daddr', hostAddress, family),
    ...(family === 'ip6' ? beyondLink : []),
    { match: { op: '==', left: { payload: { protocol, field: 'dport' } }, right: hostPort } },
    { dnat: { addr: publication.address, port: containerPort } },
  ];
  return [rule(family, 'prerouting', comment, ...expr), rule(family, 'output', comment, ...expr)];
}

function networkRules(family: TableFamily, { bridge, subnet, internal }: FamilyNetwork): NftObject[] {
  const inward = meta('oifname', bridge);
  const outward = [meta('iifname', bridge), meta('oifname', bridge, '!=')];
  const foreign = [meta('iifname', bridge, '!='), inward];
  const source = within('saddr', subnet, family);
  const make = (chain: string, comment: string, ...expr: NftStatement[]): NftObject =>
    rule(family, chain, comment, ...expr);
  if (internal) {
    return [
      make('forward', 'internal: not out', ...outward, { drop: null }),
      make('forward', 'internal: not in', ...foreign, { drop: null }),
    ];
  }
  return [
    make('postrouting', 'to the outside', source, meta('oifname', bridge, '!='), { masquerade: null }),
    make('postrouting', 'to its own published port', source, inward, connection('status', 'dnat'), {
      masquerade: null,
    }),
    make('forward', 'answers', ...foreign, connection('state', ['established', 'related']), { accept: null }),
    make('forward', 'published ports', ...foreign, connection('status', 'dnat'), { accept: null }),
    make('forward', 'nothing else from outside', ...foreign, { drop: null }),
  ];
}
