/** The lab's wires: a bridge in the underlay host, one veth pair to each host, addresses and routes. */
import {
  addressBits,
  type Family,
  familyOf,
  hasCode,
  NetworkNamespace,
  RouteSocket,
  writeSysctl,
} from '@skein/netlink';

/** The families of IP that a lab's hosts have addresses of. */
export type UnderlayKind = 'ipv4' | 'ipv6' | 'dual';
export const underlayKinds: readonly UnderlayKind[] = ['ipv4', 'ipv6', 'dual'];

/** The underlay's networks. node1 is .5, as in the walk-through's reference; the outside world is behind .1. */
export const underlay = {
  prefix: '172.31.1',
  prefixLength: 24,
  gateway: '172.31.1.1',
  firstNode: 5,
  /** An address that only 'outside' has (TEST-NET-3, RFC 5737): a web server there stands for the internet. */
  outside: '203.0.113.10',
  ipv6: {
    /** Unique local addresses (RFC 4193). */
    prefix: 'fd00:31:1:',
    prefixLength: 64,
    gateway: 'fd00:31:1::1',
    /** For documentation only (RFC 3849). */
    outside: '2001:db8::10',
  },
} as const;

const families: Readonly<Record<UnderlayKind, readonly Family[]>> = {
  ipv4: ['ipv4'],
  ipv6: ['ipv6'],
  dual: ['ipv4', 'ipv6'],
};

/** A family's part of the underlay. */
const ofFamily = (family: Family) => (family === 'ipv4' ? underlay : underlay.ipv6);

/** @returns the underlay addresses of node `index`, counted from 0. */
export function nodeAddresses(kind: UnderlayKind, index: number): string[] {
  const number = underlay.firstNode + index;
  const address = { ipv4: `${underlay.prefix}.${number}`, ipv6: `${underlay.ipv6.prefix}:${number}` };
  return families[kind].map((family) => address[family]);
}

/** @returns the addresses of the host `outside` on the underlay, and those that only it has. */
export function outsideAddresses(kind: UnderlayKind): { gateways: string[]; outside: string[] } {
  return {
    gateways: families[kind].map((family) => ofFamily(family).gateway),
    outside: families[kind].map((family) => ofFamily(family).outside),
  };
}

const bridgeName = 'underlay0';
/** Bytes of TCP segments that the wires carry whole: 128 frames of 1448 bytes, less than any veth's limit. */
const largestSegment = 185_000;

/** Makes the bridge. */
export function createBridge(underlayNamespace: string): void {
  using namespace = NetworkNamespace.open(underlayNamespace);
  using route = RouteSocket.open(namespace);
  route.links.create({ kind: 'bridge', name: bridgeName, up: true });
}

/** Wires one host to the bridge and gives it its addresses; hosts other than the outside one get default routes to it. */
export function connectHost(
  underlayNamespace: string,
  host: { namespace: string; name: string; addresses: readonly string[]; defaultRoute: boolean },
): void {
  using underlaySide = NetworkNamespace.open(underlayNamespace);
  using hostSide = NetworkNamespace.open(host.namespace);
  using bridgeRoute = RouteSocket.open(underlaySide);
  using hostRoute = RouteSocket.open(hostSide);
  const bridge = bridgeRoute.links.get(bridgeName);
  if (!bridge)
    throw new Error(`the underlay has no bridge ${bridgeName}: run "skein lab down" and "skein lab up" again`);
  const port = `to-${host.name}`.slice(0, 15);
  bridgeRoute.links.create({
    kind: 'veth',
    name: port,
    master: bridge.index,
    up: true,
    peer: { name: 'eth0', up: true, namespace: hostSide },
  });
  const loopback = hostRoute.links.get('lo');
  if (!loopback) throw new Error(`lab host ${host.name} has no loopback link`);
  hostRoute.links.set(loopback.index, { up: true });
  const eth0 = hostRoute.links.get('eth0');
  if (!eth0) throw new Error(`lab host ${host.name}: eth0 did not appear`);
  carryLargeSegments(bridgeRoute, port);
  carryLargeSegments(hostRoute, eth0.name);
  for (const address of host.addresses) {
    const { prefixLength, gateway, outside } = ofFamily(familyOf(address));
    assign(hostRoute, eth0.index, address, prefixLength);
    if (host.defaultRoute) hostRoute.routes.replace({ destination: defaultRoute(address), gateway, index: eth0.index });
    else assign(hostRoute, loopback.index, outside, addressBits(familyOf(outside)));
  }
  if (!host.defaultRoute) refuseEach(hostSide);
}

/**
 * Has a host say each time that nobody listens at a port. Linux says it to another host once a second only, and who asks
 * for a name then waits for its time-out (linux/Documentation/networking/ip-sysctl.rst).
 */
function refuseEach(namespace: NetworkNamespace): void {
  const settings = { icmp_ratelimit: 0, icmp_msgs_per_sec: 1_000_000, icmp_msgs_burst: 10_000 };
  const entries = Object.entries(settings).map(([name, value]) => [`net.ipv4.${name}`, value] as const);
  for (const [name, value] of [...entries, ['net.ipv6.icmp.ratelimit', 0] as const]) {
    try {
      writeSysctl(namespace, name, value);
    } catch (error) {
      // The limit over all hosts has not been each namespace's own for long, and IPv6 may be missing.
      if (!hasCode(error, 'ENOENT')) throw error;
    }
  }
}

/** Nothing cuts segments between lab hosts: no card is there to do it for nothing. */
function carryLargeSegments(route: RouteSocket, name: string): void {
  const link = route.links.get(name);
  if (link?.gsoIpv4MaxSize !== undefined) route.links.set(link.index, { gsoIpv4MaxSize: largestSegment });
}

/** Usable at once: nobody else has it. */
function assign(route: RouteSocket, index: number, address: string, prefixLength: number): void {
  route.addresses.replace({ index, address, prefixLength, skipDuplicateDetection: true });
}

const defaultRoute = (like: string): string => (familyOf(like) === 'ipv4' ? '0.0.0.0/0' : '::/0');
