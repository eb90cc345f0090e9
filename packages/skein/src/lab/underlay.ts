/** The lab's wires: a bridge in the underlay host, one veth pair to each host, addresses and routes. */
import { NetworkNamespace, RouteSocket } from '@skein/netlink';

/** The underlay's network. node1 is .5, as in the walk-through's reference; the outside world is behind .1. */
export const underlay = {
  prefix: '172.31.1',
  prefixLength: 24,
  gateway: '172.31.1.1',
  firstNode: 5,
  /** An address that only 'outside' has (TEST-NET-3, RFC 5737): a web server there stands for the internet. */
  outside: '203.0.113.10',
} as const;

/** @returns the underlay address of node `index`, counted from 0. */
export function nodeAddress(index: number): string {
  return `${underlay.prefix}.${underlay.firstNode + index}`;
}

const bridgeName = 'underlay0';

/** Makes the bridge. */
export function createBridge(underlayNamespace: string): void {
  using namespace = NetworkNamespace.open(underlayNamespace);
  using route = RouteSocket.open(namespace);
  route.links.create({ kind: 'bridge', name: bridgeName, up: true });
}

/** Wires one host to the bridge and gives it its address; hosts other than the outside one get a default route to it. */
export function connectHost(
  underlayNamespace: string,
  host: { namespace: string; name: string; address: string; defaultRoute: boolean },
): void {
  using underlaySide = NetworkNamespace.open(underlayNamespace);
  using hostSide = NetworkNamespace.open(host.namespace);
  using bridgeRoute = RouteSocket.open(underlaySide);
  using hostRoute = RouteSocket.open(hostSide);
  const bridge = bridgeRoute.links.get(bridgeName);
  if (!bridge)
    throw new Error(`the underlay has no bridge ${bridgeName}: run "skein lab down" and "skein lab up" again`);
  bridgeRoute.links.create({
    kind: 'veth',
    name: `to-${host.name}`.slice(0, 15),
    master: bridge.index,
    up: true,
    peer: { name: 'eth0', up: true, namespace: hostSide },
  });
  const loopback = hostRoute.links.get('lo');
  if (loopback) hostRoute.links.set(loopback.index, { up: true });
  const eth0 = hostRoute.links.get('eth0');
  if (!eth0) throw new Error(`lab host ${host.name}: eth0 did not appear`);
  hostRoute.addresses.replace({ index: eth0.index, address: host.address, prefixLength: underlay.prefixLength });
  if (host.defaultRoute)
    hostRoute.routes.replace({ destination: '0.0.0.0/0', gateway: underlay.gateway, index: eth0.index });
  else if (loopback)
    hostRoute.addresses.replace({ index: loopback.index, address: underlay.outside, prefixLength: 32 });
}
