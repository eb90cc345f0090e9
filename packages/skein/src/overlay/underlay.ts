/** What this host's own network means for the overlay: how large a packet may be, and which subnets are taken. */
import { type Family, familyOf, type NetworkNamespace, Prefix, RouteSocket, readSysctl } from '@skein/netlink';
import { SkeinError } from '../common/index.ts';
import { subnetsOf } from './subnets.ts';
import type { OverlayNetwork } from './types.ts';

/** Outer Ethernet, IP, UDP and VXLAN headers (RFC 7348 section 5), by the family of the VTEPs. */
const vxlanOverhead: Readonly<Record<Family, number>> = { ipv4: 50, ipv6: 70 };
/** Smallest MTU that IPv4 demands of a link (RFC 791). */
const smallestMtu = 68;
/** Smallest MTU that IPv6 demands of a link (RFC 8200 section 5). */
const smallestIpv6Mtu = 1280;
const defaultRoutes = ['0.0.0.0/0', '::/0'];
/** RT_TABLE_MAIN, linux/rtnetlink.h. */
const mainTable = 254;

/**
 * @returns the MTU of a network's devices: what the network's option says, else what the link that holds the VTEP
 * takes (or a route over it, if less), minus VXLAN's headers. As in Docker the option is the underlay's MTU.
 * @throws SkeinError FailedPrecondition when no link has the VTEP's address, or what is left is too small for IPv6.
 */
export function overlayMtu(host: NetworkNamespace, network: OverlayNetwork, vtep: string): number {
  const mtu = Math.max(smallestMtu, (network.mtu ?? underlayMtu(host, vtep)) - vxlanOverhead[familyOf(vtep)]);
  if (mtu >= smallestIpv6Mtu || network.subnets.every(({ ipv6 }) => ipv6 === undefined)) return mtu;
  throw new SkeinError(
    'FailedPrecondition',
    `network ${network.name}: its MTU on this node is ${mtu}, and IPv6 needs ${smallestIpv6Mtu}: enlarge the MTU of the interface that has ${vtep}`,
  );
}

function underlayMtu(host: NetworkNamespace, vtep: string): number {
  using route = RouteSocket.open(host);
  const family = familyOf(vtep);
  const holder = route.addresses.list({ family }).find((address) => address.address === vtep);
  const link = holder && route.links.get(holder.index);
  if (link === undefined) {
    throw new SkeinError('FailedPrecondition', `the data path address ${vtep} is on no interface of this node`);
  }
  const routes = route.routes.list({ family, table: mainTable }).filter((entry) => entry.index === link.index);
  return Math.min(link.mtu, ...routes.flatMap((entry) => entry.mtu ?? []), ...advertisedMtu(host, family, link.name));
}

/** A router's advertisement may make an IPv6 link's MTU smaller than the device's (RFC 4861 section 4.6.4). */
function advertisedMtu(host: NetworkNamespace, family: Family, link: string): number[] {
  return family === 'ipv6' ? [Number(readSysctl(host, `net/ipv6/conf/${link}/mtu`))] : [];
}

/**
 * Refuses a network one of whose subnets this host already routes elsewhere: its containers could not reach one of
 * the two. The default route does not count, nor do subnets that the network has here already (`present`).
 * @throws SkeinError FailedPrecondition naming the network, the subnet, the route and its interface.
 */
export function refuseOverlap(host: NetworkNamespace, network: OverlayNetwork, present?: OverlayNetwork): void {
  const known = new Set(present && subnetsOf(present));
  using route = RouteSocket.open(host);
  const routes = route.routes.list({ table: mainTable });
  for (const subnet of subnetsOf(network).filter((each) => !known.has(each))) {
    const prefix = Prefix.parse(subnet);
    const taken = routes.find(
      (entry) => !defaultRoutes.includes(entry.destination) && Prefix.parse(entry.destination).overlaps(prefix),
    );
    if (taken === undefined) continue;
    const device = taken.index === undefined ? '' : ` dev ${route.links.get(taken.index)?.name ?? taken.index}`;
    throw new SkeinError(
      'FailedPrecondition',
      `network ${network.name}: subnet ${subnet} overlaps the route ${taken.destination}${device} of this node; ` +
        'create the network with another --subnet, or the swarm with another --default-addr-pool',
    );
  }
}
