/**
 * The nft table `skein` of the host's namespace: masquerade for what containers send to the outside, and no way in for
 * what they did not ask for. No other table is touched. A drop in a foreign table (Docker's FORWARD policy, say) still
 * drops: nftables gives no table the last word to accept.
 */
import { type NetworkNamespace, type NftObject, type NftStatement, Prefix } from '@skein/netlink';
import { ManagedTable } from '../nftables/index.ts';

const table = { family: 'ip', name: 'skein' } as const;
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

/** Opens the table; nothing is changed before `apply`. */
export function openGatewayFirewall(host: NetworkNamespace): ManagedTable<GatewayRules> {
  return ManagedTable.open(host, { table, objects: gatewayRules });
}

/** Opens the table of IPv6, which is made of the bridge's name; nothing is changed before `apply`. */
export function openIpv6GatewayFirewall(host: NetworkNamespace): ManagedTable<string> {
  return ManagedTable.open(host, { table: { ...table, family: 'ip6' }, objects: ipv6GatewayRules });
}

/** Published ports lead in and answers out; else nobody gets out, so that IPv6 opens no way that IPv4's firewalls miss. */
function ipv6GatewayRules(bridge: string): NftObject[] {
  const family = 'ip6';
  const rule = (comment: string, ...expr: NftStatement[]): NftObject => ({
    rule: { family, table: table.name, chain: 'forward', comment, expr },
  });
  const isPublished = connection('status', 'dnat');
  const isAnswer = connection('state', ['established', 'related']);
  return [
    {
      chain: {
        family,
        table: table.name,
        name: 'forward',
        type: 'filter',
        hook: 'forward',
        prio: priority.filter,
        policy: 'accept',
      },
    },
    rule('published ports', outgoing(bridge), isPublished, { accept: null }),
    rule('not from container to container', incoming(bridge), outgoing(bridge), { drop: null }),
    rule('answers', outgoing(bridge), isAnswer, { accept: null }),
    rule('nothing else from outside', outgoing(bridge), { drop: null }),
    rule('to published ports', incoming(bridge), isPublished, { accept: null }),
    rule('answers to the outside', incoming(bridge), isAnswer, { accept: null }),
    rule('nothing else to the outside', incoming(bridge), { reject: { type: 'icmpv6', expr: 'no-route' } }),
  ];
}

function gatewayRules({ bridge, subnet }: GatewayRules): NftObject[] {
  const { network, length } = Prefix.parse(subnet);
  const source: NftStatement = {
    match: {
      op: '==',
      left: { payload: { protocol: 'ip', field: 'saddr' } },
      right: { prefix: { addr: network, len: length } },
    },
  };
  const rule = (chain: string, comment: string, ...expr: NftStatement[]): NftObject => ({
    rule: { family: table.family, table: table.name, chain, comment, expr },
  });
  const chain = (name: string, type: 'nat' | 'filter', hook: 'postrouting' | 'forward', prio: number): NftObject => ({
    chain: { family: table.family, table: table.name, name, type, hook, prio, policy: 'accept' },
  });
  return [
    chain('postrouting', 'nat', 'postrouting', priority.sourceNat),
    chain('forward', 'filter', 'forward', priority.filter),
    rule('postrouting', `to the outside from ${subnet}`, source, outgoing(bridge, '!='), { masquerade: null }),
    rule('forward', 'published ports', outgoing(bridge), connection('status', 'dnat'), { accept: null }),
    rule('forward', 'not from container to container', incoming(bridge), outgoing(bridge), { drop: null }),
    rule('forward', 'answers', outgoing(bridge), connection('state', ['established', 'related']), { accept: null }),
    rule('forward', 'nothing else from outside', outgoing(bridge), { drop: null }),
  ];
}
