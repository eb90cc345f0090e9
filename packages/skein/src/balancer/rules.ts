/** The rules of this room in libnftables' JSON, written as the kernel lists them again (dispatch.ts compares). Pure. */
import { createHash } from 'node:crypto';
import { type NftChain, type NftExpression, type NftObject, type NftStatement, Prefix } from '@skein/netlink';
import type { TableName } from './dispatch.ts';
import type { PortProtocol } from './types.ts';

/** NF_IP_PRI_*, linux/netfilter_ipv4.h */
export const priority = { raw: -300, mangle: -150, destinationNat: -100, filter: 0, sourceNat: 100 } as const;

/** Builds the fixed part of a table. */
export class BaseBuilder {
  readonly objects: NftObject[] = [];
  readonly #table: TableName;

  constructor(table: TableName) {
    this.#table = table;
  }

  /** A chain at a hook, with its rules. */
  chain(
    name: string,
    at: Required<Pick<NftChain, 'type' | 'hook' | 'prio'>> & Pick<NftChain, 'dev'>,
    ...rules: readonly (readonly NftStatement[])[]
  ): this {
    const named = { family: this.#table.family, table: this.#table.name };
    this.objects.push({ chain: { ...named, name, ...at, policy: 'accept' } });
    for (const expr of rules) this.objects.push({ rule: { ...named, chain: name, expr } });
    return this;
  }

  /** A map that leads from a key to a chain. */
  dispatch(name: string, type: string | readonly string[]): this {
    this.objects.push({ map: { family: this.#table.family, table: this.#table.name, name, type, map: 'verdict' } });
    return this;
  }
}

const payload = (protocol: string, field: string): NftExpression => ({ payload: { protocol, field } });
const compare = (op: '==' | '!=', left: NftExpression, right: NftExpression): NftStatement => ({
  match: { op, left, right },
});
const equals = (left: NftExpression, right: NftExpression): NftStatement => compare('==', left, right);
const isIn = (key: string, right: string): NftStatement => ({ match: { op: 'in', left: { ct: { key } }, right } });

/** Families of tables that lead by address: their names for headers, maps' keys and ICMP. */
export type AddressFamily = 'ip' | 'ip6';
export const addressType = { ip: 'ipv4_addr', ip6: 'ipv6_addr' } as const;
const icmpType = { ip: 'icmp', ip6: 'icmpv6' } as const;

/** The family of the tables in which an address, or a subnet, stands. */
const familyOfText = (text: string): AddressFamily => (text.includes(':') ? 'ip6' : 'ip');
export const incoming = (name: string): NftStatement => equals({ meta: { key: 'iifname' } }, name);
export const incomingOther = (name: string): NftStatement => compare('!=', { meta: { key: 'iifname' } }, name);
/** By index, which loopback has the same everywhere: cheaper for each packet than its name. */
export const notFromLoopback = compare('!=', { meta: { key: 'iif' } }, 'lo');
export const notToLoopback = compare('!=', { meta: { key: 'oif' } }, 'lo');
export const outgoing = (name: string): NftStatement => equals({ meta: { key: 'oifname' } }, name);
export const toAddress = (address: string): NftStatement => equals(payload(familyOfText(address), 'daddr'), address);
const loopback = { prefix: { addr: '127.0.0.0', len: 8 } };
export const toLoopback = equals(payload('ip', 'daddr'), loopback);
export const fromLoopback = equals(payload('ip', 'saddr'), loopback);
export const toThisHost = equals({ fib: { result: 'type', flags: ['daddr'] } }, 'local');
const ofSubnet = (field: 'saddr' | 'daddr', subnet: string, op: '==' | '!='): NftStatement => {
  const { network, length } = Prefix.parse(subnet);
  return compare(op, payload(familyOfText(network), field), { prefix: { addr: network, len: length } });
};
/** @param subnet in CIDR notation. */
export const fromSubnet = (subnet: string, op: '==' | '!=' = '=='): NftStatement => ofSubnet('saddr', subnet, op);
export const toSubnet = (subnet: string): NftStatement => ofSubnet('daddr', subnet, '==');
export const isTranslated = isIn('status', 'dnat');
/**
 * In IPv6 neither ::1 nor a link-local client (RFC 4291) is known beyond its link: what these send is not led elsewhere,
 * and comes to the socket that holds the port (ipv6-relay.ts).
 */
export const beyondLink: readonly NftStatement[] = [
  fromSubnet('fe80::/10', '!='),
  compare('!=', payload('ip6', 'daddr'), '::1'),
];
export const isControl = (family: AddressFamily): NftStatement =>
  equals({ meta: { key: 'l4proto' } }, family === 'ip' ? 'icmp' : 'ipv6-icmp');
export const isNew = isIn('state', 'new');
export const transport = (protocol: PortProtocol | readonly PortProtocol[]): NftStatement =>
  equals({ meta: { key: 'l4proto' } }, typeof protocol === 'string' ? protocol : { set: protocol });
export const toPort = (protocol: PortProtocol, port: number): NftStatement => equals(payload(protocol, 'dport'), port);

/** The type of a key of protocol and port, the key of a packet, and a key's value. */
export const portKeyType = ['inet_proto', 'inet_service'] as const;
const packetPort: NftExpression = { concat: [{ meta: { key: 'l4proto' } }, payload('th', 'dport')] };
export const portElement = (protocol: string, port: number): NftExpression => ({ concat: [protocol, port] });

/** Goes to the chain that the map names for the packet's destination address. */
export const dispatchByAddress = (map: string, family: AddressFamily = 'ip'): NftStatement => ({
  vmap: { key: payload(family, 'daddr'), data: `@${map}` },
});
/** Goes to the chain that the map names for the packet's protocol and destination port. */
export const dispatchByPort = (map: string): NftStatement => ({ vmap: { key: packetPort, data: `@${map}` } });

export const accept: NftStatement = { accept: null };
/** The packet is not looked up among the tracked connections, nor does it begin one. For chains at priority raw. */
export const notTracked: NftStatement = { notrack: null };
/**
 * A socket has the packet's addresses and ports as they are on the wire: nothing was translated. Of the expression's keys
 * this one is known of sockets in every state; without a socket none matches.
 */
export const hasSocket = equals({ socket: { key: 'transparent' } }, 0);
export const drop: NftStatement = { drop: null };
export const masquerade: NftStatement = { masquerade: null };
export const sourceTranslation = (address: string): NftStatement => ({ snat: { addr: address } });
/** To the same port of an address, or to another. */
export const leadTo = (address: string, protocol?: PortProtocol, port?: number): NftStatement[] =>
  protocol === undefined || port === undefined
    ? [{ dnat: { addr: address } }]
    : [transport(protocol), { dnat: { addr: address, port } }];
export const redirectTo = (protocol: PortProtocol, port: number): NftStatement[] => [
  transport(protocol),
  { redirect: { port } },
];

/**
 * Says no at once: a reset for TCP, else an ICMP error. For filter chains: in a nat chain the kernel takes the reset for a
 * part of the connection that has no translation yet, and drops it.
 */
export const refuse = (family: AddressFamily): readonly (readonly NftStatement[])[] => [
  [{ reject: { type: 'tcp reset' } }],
  [{ reject: { type: icmpType[family], expr: 'port-unreachable' } }],
];

/** @returns a number that is a container's own. */
export const placeOf = (id: string): number => createHash('sha256').update(id).digest().readUInt32BE();

/**
 * Spreads new flows over the addresses (at least one), one after the other. Where that begins depends on `place`, as
 * else the first flows of all clients would go to the same task.
 */
export function balance(addresses: readonly string[], place: number): readonly (readonly NftStatement[])[] {
  const [only] = addresses;
  if (only !== undefined && addresses.length === 1) return [leadTo(only)];
  const start = place % addresses.length;
  const set = [...addresses.slice(start), ...addresses.slice(0, start)].map((address, index) => [index, address]);
  const numgen = { mode: 'inc', mod: addresses.length, offset: 0 };
  return [[{ dnat: { addr: { map: { key: { numgen }, data: { set } } } } }]];
}
