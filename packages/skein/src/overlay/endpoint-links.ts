/** The kernel side of one endpoint: a veth pair from a container's namespace to a bridge, its address, its way out. */
import { type BridgePort, type NetworkNamespace, Prefix, RouteSocket } from '@skein/netlink';
import { ensureIpv6Address } from './ipv6.ts';
import { plainAddress } from './names.ts';

/** An endpoint as it should be. */
export interface EndpointPlan {
  /** In the container. */
  readonly interfaceName: string;
  /** On the bridge. */
  readonly portName: string;
  readonly bridge: string;
  /** CIDR. */
  readonly address: string;
  /** CIDR; undefined = no IPv6 on the link. */
  readonly ipv6Address?: string | undefined;
  readonly mac: string;
  /** Undefined: not known yet; what is there stays. */
  readonly mtu: number | undefined;
  /** Bytes of the largest TCP segment that the container hands over; undefined: as the kernel makes it. */
  readonly largestSegment?: number;
  readonly alias: string;
  readonly port: BridgePort;
  /** Plain address of the default route's gateway. */
  readonly gateway?: string;
  /** The same of IPv6. */
  readonly ipv6Gateway?: string | undefined;
  /** Ways to the network's other subnets. */
  readonly routes?: readonly SubnetRoute[];
}

export interface SubnetRoute {
  /** CIDR. */
  readonly destination: string;
  /** Plain address. */
  readonly gateway: string;
}

const defaultRoute = '0.0.0.0/0';
const ipv6DefaultRoute = '::/0';

/**
 * Makes the endpoint in `container` and its other end in `bridgeNamespace`. What is right is left alone, so that a
 * running container notices nothing.
 */
export function ensureEndpoint(
  container: NetworkNamespace,
  bridgeNamespace: NetworkNamespace,
  plan: EndpointPlan,
): void {
  using inside = RouteSocket.open(container);
  using outside = RouteSocket.open(bridgeNamespace);
  const index = ensurePair(inside, outside, bridgeNamespace, plan);
  ensureLargestSegment(inside, plan);
  attachPort(outside, plan);
  const prefixLength = Prefix.parse(plan.address).length;
  const address = plainAddress(plan.address);
  const present = inside.addresses.list({ index, family: 'ipv4' });
  if (!present.some((entry) => entry.address === address && entry.prefixLength === prefixLength)) {
    const { broadcast } = Prefix.parse(plan.address);
    inside.addresses.replace({ index, address, prefixLength, broadcast });
  }
  if (plan.ipv6Address !== undefined) {
    ensureIpv6Address(container, inside, { index, name: plan.interfaceName }, plan.ipv6Address);
  }
  inside.links.set(index, { up: true });
  if (plan.gateway !== undefined) inside.routes.replace({ destination: defaultRoute, gateway: plan.gateway, index });
  if (plan.ipv6Gateway !== undefined)
    inside.routes.replace({ destination: ipv6DefaultRoute, gateway: plan.ipv6Gateway, index });
  for (const route of plan.routes ?? []) inside.routes.replace({ ...route, index });
}

/** @returns the index of the container's end. A pair that is not whole, or not ours, is made anew. */
function ensurePair(
  inside: RouteSocket,
  outside: RouteSocket,
  bridgeNamespace: NetworkNamespace,
  plan: EndpointPlan,
): number {
  const { mtu } = plan;
  const near = inside.links.get(plan.interfaceName);
  const far = outside.links.get(plan.portName);
  if (near !== undefined && far !== undefined && near.alias === plan.alias) {
    if (near.mac !== plan.mac) inside.links.set(near.index, { mac: plan.mac });
    if (near.mtu !== (mtu ?? near.mtu)) inside.links.set(near.index, { mtu });
    if (far.mtu !== (mtu ?? far.mtu)) outside.links.set(far.index, { mtu });
    return near.index;
  }
  if (near !== undefined) inside.links.delete(near.index);
  if (far !== undefined) outside.links.delete(far.index);
  const created = inside.links.create({
    kind: 'veth',
    name: plan.interfaceName,
    mac: plan.mac,
    mtu,
    alias: plan.alias,
    peer: { name: plan.portName, mtu, namespace: bridgeNamespace },
  });
  return created.index;
}

function ensureLargestSegment(inside: RouteSocket, { interfaceName, largestSegment }: EndpointPlan): void {
  const link = inside.links.get(interfaceName);
  const isKnown = link?.gsoIpv4MaxSize !== undefined && largestSegment !== undefined;
  if (isKnown && link.gsoIpv4MaxSize !== largestSegment)
    inside.links.set(link.index, { gsoIpv4MaxSize: largestSegment });
}

/** Puts the bridge's end on the bridge and tells the bridge where the MAC is, so that frames to it are never flooded. */
function attachPort(outside: RouteSocket, plan: EndpointPlan): void {
  const bridge = outside.links.get(plan.bridge);
  const port = outside.links.get(plan.portName);
  if (bridge === undefined || port === undefined) throw new Error(`${plan.portName} or ${plan.bridge} has gone`);
  if (port.master !== bridge.index || !port.up || port.alias !== plan.alias) {
    outside.links.set(port.index, { master: bridge.index, alias: plan.alias });
    outside.links.set(port.index, { bridgePort: plan.port, up: true });
  }
  outside.fdb.replace({ index: port.index, mac: plan.mac, flags: 'master', state: 'noarp' });
}

/** Removes the endpoint's pair by its bridge end. No error when it is gone. */
export function removeEndpoint(bridgeNamespace: NetworkNamespace, portName: string): void {
  using route = RouteSocket.open(bridgeNamespace);
  const port = route.links.get(portName);
  if (port !== undefined) route.links.delete(port.index);
}
