/**
 * The nft tables `skein` of the host's namespace, one for each family: masquerade for what containers send to the outside, and no way in for
 * what they did not ask for. No other table is touched. A drop in a foreign table (Docker's FORWARD policy, say) still
 * drops: nftables gives no table the last word to accept.
 */
import { type NetworkNamespace, type NftObject, type NftStatement, Prefix } from '@skein/netlink';
import { ManagedTable } from '../nftables/index.ts';

type TableFamily = 'ip' | 'ip6';
const tableName = 'skein';
/** NF_IP_PRI_NAT_SRC and NF_IP_PRI_FILTER, linux/netfilter_ipv4.h. */
const priority = { sourceNat: 100, filter: 0 } as const;

const incoming = (bridge: string, op = '=='): NftStatement => ({
  match: { op, left: { meta: { key: 'iifname' } }, right: bridge },
});
const outgoing = (bridge: string, op = '=='): NftStatement => ({
  match: { op, left: { meta: { key: 'oifname' } }, right: bridge },
});
const connection = (key: string, right: string | string[]): NftStatement => ({
  match: { op: 'in', left: { ct: { key } }, right },
});

/** Whose packets pass. */
export interface GatewayRules {
  readonly bridge: string;
  readonly subnet: string;
}

/** Opens the table of a family; nothing is changed before `apply`. */
export function openGatewayFirewall(host: NetworkNamespace, family: TableFamily): ManagedTable<GatewayRules> {
  return ManagedTable.open(host, {
    table: { family, name: tableName },
    objects: (rules) => gatewayRules(family, rules),
  });
}

function gatewayRules(family: TableFamily, { bridge, subnet }: GatewayRules): NftObject[] {
  const { network, length } = Prefix.parse(subnet);
  const source: NftStatement = {
    match: {
      op: '==',
      left: { payload: { protocol: family, field: 'saddr' } },
      right: { prefix: { addr: network, len: length } },
    },
  };
  const rule = (chain: string, comment: string, ...expr: NftStatement[]): NftObject => ({
    rule: { family, table: tableName, chain, comment, expr },
  });
  const chain = (name: string, type: 'nat' | 'filter', hook: 'postrouting' | 'forward', prio: number): NftObject => ({
    chain: { family, table: tableName, name, type, hook, prio, policy: 'accept' },
  });
  // Where br_netfilter shows bridged packets to these rules, a published port leads from one to another on the bridge.
  const neighbours = rule(
    'forward',
    'who has an address',
    incoming(bridge),
    outgoing(bridge),
    {
      match: {
        op: '==',
        left: { payload: { protocol: 'icmpv6', field: 'type' } },
        right: { set: ['nd-neighbor-solicit', 'nd-neighbor-advert'] },
      },
    },
    { accept: null },
  );
  return [
    chain('postrouting', 'nat', 'postrouting', priority.sourceNat),
    chain('forward', 'filter', 'forward', priority.filter),
    rule('postrouting', `to the outside from ${subnet}`, source, outgoing(bridge, '!='), { masquerade: null }),
    rule('forward', 'published ports', outgoing(bridge), connection('status', 'dnat'), { accept: null }),
    ...(family === 'ip6' ? [neighbours] : []),
    rule('forward', 'not from container to container', incoming(bridge), outgoing(bridge), { drop: null }),
    rule('forward', 'answers', outgoing(bridge), connection('state', ['established', 'related']), { accept: null }),
    rule('forward', 'nothing else from outside', outgoing(bridge), { drop: null }),
  ];
}
