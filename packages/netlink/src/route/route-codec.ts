/** RTM_…ROUTE messages: the tables of linux/rtnetlink.h, and Route ↔ message. */
import { type Family, familyOf, Prefix } from '../ip.ts';
import { attributes, bytes, type Codec, ip, nested, u16, u32 } from '../wire/attributes.ts';
import { struct } from '../wire/struct.ts';
import { familyName, familyNumber, Names, type Protocol, protocols, type Scope, scopes } from './names.ts';

export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;

/** enum rt_class_t */
export const RT_TABLE_MAIN = 254;
const RT_TABLE_COMPAT = 252;
/** The table number no longer fits the header's byte. */
const BYTE = 256;
/** RTM_F_CLONED: an entry of the route cache (IPv6 exceptions), not a route. */
const RTM_F_CLONED = 0x200;
/** Report the table that answered a lookup; IPv6 always does, and refuses the flag. */
const RTM_F_LOOKUP_TABLE = 0x1000;
/** RTNH_F_ONLINK: the gateway is reachable on the link though no route says so. */
const RTNH_F_ONLINK = 4;

/** struct rtmsg */
const rtmsg = struct({
  family: 'u8',
  destinationLength: 'u8',
  sourceLength: 'u8',
  tos: 'u8',
  table: 'u8',
  protocol: 'u8',
  scope: 'u8',
  type: 'u8',
  flags: 'u32',
});
/** struct rtnexthop, followed by attributes up to `length` */
const rtnexthop = struct({ length: 'u16', flags: 'u8', hops: 'u8', index: 's32' });
/** RTAX_* */
const metricAttributes = attributes({ mtu: [2, u32], advertisedMss: [8, u32] });
/** struct rtvia: a gateway of the other family (an IPv4 route through an IPv6 router) */
const via: Codec<string> = {
  encode: (gateway) => Buffer.concat([u16.encode(familyNumber(familyOf(gateway))), ip.encode(gateway)]),
  decode: (payload) => ip.decode(payload.subarray(2)),
};
/** RTA_* inside a next hop */
const nextHopAttributes = attributes({ gateway: [5, ip], via: [18, via] });

/** RTA_MULTIPATH: next hops one after another */
const multipath: Codec<NextHop[]> = {
  encode: (hops) =>
    Buffer.concat(
      hops.map(({ index, weight, gateway }) => {
        const inner = nextHopAttributes.encode({ gateway });
        const length = rtnexthop.size + inner.length;
        return Buffer.concat([rtnexthop.encode({ length, index, hops: weight - 1 }), inner]);
      }),
    ),
  decode: (payload) => {
    const hops: NextHop[] = [];
    for (let offset = 0; offset + rtnexthop.size <= payload.length; ) {
      const { length, index, hops: extra } = rtnexthop.decode(payload.subarray(offset));
      const inner = nextHopAttributes.decode(payload.subarray(offset + rtnexthop.size, offset + length));
      hops.push({ index, weight: extra + 1, gateway: inner.gateway ?? inner.via });
      offset += Math.max(length, rtnexthop.size);
    }
    return hops;
  },
};

/** RTA_* */
const routeAttributes = attributes({
  destination: [1, ip],
  source: [2, ip],
  index: [4, u32],
  gateway: [5, ip],
  metric: [6, u32],
  preferredSource: [7, ip],
  metrics: [8, nested(metricAttributes)],
  multipath: [9, multipath],
  cacheInfo: [12, bytes],
  table: [15, u32],
  mark: [16, u32],
  via: [18, via],
});

/** RTN_* */
export const routeTypes = new Names({
  unspecified: 0,
  unicast: 1,
  local: 2,
  broadcast: 3,
  anycast: 4,
  multicast: 5,
  blackhole: 6,
  unreachable: 7,
  prohibit: 8,
  throw: 9,
});
export type RouteType =
  | 'unspecified'
  | 'unicast'
  | 'local'
  | 'broadcast'
  | 'anycast'
  | 'multicast'
  | 'blackhole'
  | 'unreachable'
  | 'prohibit'
  | 'throw'
  | number;

/** One of several ways of a route. */
export interface NextHop {
  readonly index: number;
  readonly gateway: string | undefined;
  /** Relative share, 1 to 256. */
  readonly weight: number;
}

export interface Route {
  readonly family: Family;
  /** In CIDR notation: '10.0.1.0/24'; a default route is '0.0.0.0/0' or '::/0'. */
  readonly destination: string;
  readonly gateway: string | undefined;
  /** The outgoing link. */
  readonly index: number | undefined;
  /** Source address that packets get when their sender chose none. */
  readonly preferredSource: string | undefined;
  readonly table: number;
  readonly type: RouteType;
  readonly scope: Scope;
  readonly protocol: Protocol;
  /** Priority: the lowest wins. */
  readonly metric: number | undefined;
  /** The route's own MTU, where it has one. */
  readonly mtu: number | undefined;
  /** Several ways instead of `gateway` and `index`. */
  readonly nextHops: readonly NextHop[] | undefined;
}

export interface RouteSpec {
  readonly destination: string;
  readonly gateway?: string | undefined;
  readonly index?: number | undefined;
  readonly preferredSource?: string | undefined;
  /** Default 254, the main table. */
  readonly table?: number | undefined;
  /** Default 'unicast'. */
  readonly type?: RouteType | undefined;
  /** Default: 'global' with a gateway and for IPv6, 'link' without, 'host' for local routes. */
  readonly scope?: Scope | undefined;
  /** Default 'static'. */
  readonly protocol?: Protocol | undefined;
  readonly metric?: number | undefined;
  readonly mtu?: number | undefined;
  readonly nextHops?: readonly NextHop[] | undefined;
  /** Accept a gateway that no route makes reachable. */
  readonly onLink?: boolean | undefined;
}

/** The body of RTM_NEWROUTE. */
export function encodeRoute(spec: RouteSpec): Uint8Array {
  const scope = defaultScope(spec, Prefix.parse(spec.destination).family);
  return encodeWith(spec, { scope, type: 'unicast', protocol: 'static' });
}

/** The body of RTM_DELROUTE: what the specification leaves out matches every route. */
export function encodeRouteMatch(spec: RouteSpec): Uint8Array {
  return encodeWith(spec, { scope: 'nowhere', type: 'unspecified', protocol: 'unspecified' });
}

function encodeWith(spec: RouteSpec, defaults: { scope: Scope; type: RouteType; protocol: Protocol }): Uint8Array {
  const destination = Prefix.parse(spec.destination);
  const table = spec.table ?? RT_TABLE_MAIN;
  const header = rtmsg.encode({
    family: familyNumber(destination.family),
    destinationLength: destination.length,
    table: table < BYTE ? table : RT_TABLE_COMPAT,
    protocol: protocols.number(spec.protocol ?? defaults.protocol),
    scope: scopes.number(spec.scope ?? defaults.scope),
    type: routeTypes.number(spec.type ?? defaults.type),
    flags: spec.onLink ? RTNH_F_ONLINK : 0,
  });
  const { index, gateway, metric, preferredSource, mtu, nextHops } = spec;
  const values = routeAttributes.encode({
    destination: destination.length > 0 ? destination.network : undefined,
    index,
    ...gatewayAttribute(gateway, destination.family),
    metric,
    preferredSource,
    metrics: mtu === undefined ? undefined : { mtu },
    multipath: nextHops && [...nextHops],
    table,
  });
  return Buffer.concat([header, values]);
}

function gatewayAttribute(gateway: string | undefined, family: Family): { gateway?: string; via?: string } {
  if (gateway === undefined) return {};
  return familyOf(gateway) === family ? { gateway } : { via: gateway };
}

function defaultScope({ gateway, nextHops, type }: RouteSpec, family: Family): Scope {
  if (family === 'ipv6' || gateway || nextHops) return 'global';
  if (type === 'local') return 'host';
  return type === undefined || type === 'unicast' || type === 'broadcast' ? 'link' : 'global';
}

/** The body of a dump request. */
export function encodeRouteFilter(family: Family, table: number | undefined): Uint8Array {
  return Buffer.concat([rtmsg.encode({ family: familyNumber(family) }), routeAttributes.encode({ table })]);
}

/** The body of a lookup: which way would a packet go? */
export function encodeRouteLookup(destination: string, options: { mark?: number; source?: string }): Uint8Array {
  const family = familyOf(destination);
  const bits = family === 'ipv4' ? 32 : 128;
  const header = rtmsg.encode({
    family: familyNumber(family),
    destinationLength: bits,
    sourceLength: options.source === undefined ? 0 : bits,
    flags: family === 'ipv4' ? RTM_F_LOOKUP_TABLE : 0,
  });
  return Buffer.concat([header, routeAttributes.encode({ destination, source: options.source, mark: options.mark })]);
}

/** Reads the body of RTM_NEWROUTE or RTM_DELROUTE; undefined for cache entries, which are no routes. */
export function decodeRoute(payload: Uint8Array, options: { cached?: boolean } = {}): Route | undefined {
  const header = rtmsg.decode(payload);
  if ((header.flags & RTM_F_CLONED) !== 0 && !options.cached) return undefined;
  const values = routeAttributes.decode(payload.subarray(rtmsg.size));
  const family = familyName(header.family);
  const unspecified = family === 'ipv4' ? '0.0.0.0' : '::';
  return {
    family,
    destination: `${values.destination ?? unspecified}/${header.destinationLength}`,
    gateway: values.gateway ?? values.via,
    index: values.index,
    preferredSource: values.preferredSource,
    table: values.table ?? header.table,
    type: routeTypes.name(header.type),
    scope: scopes.name(header.scope),
    protocol: protocols.name(header.protocol),
    metric: values.metric,
    mtu: values.metrics?.mtu,
    nextHops: values.multipath,
  };
}
