/** Which link of this host carries its tunnels, and which other hosts are reached over it. */
import { hasCode, type NetworkNamespace, Prefix, RouteSocket } from '@skein/netlink';

/** Outer Ethernet, IPv4, UDP and VXLAN headers (RFC 7348 section 5). */
const vxlanOverhead = 50;
/** Length of the prefix of one address of IPv4. */
const hostPrefix = 32;

/** @returns the index of the link that has the VTEP's IPv4 address and can carry frames; undefined when there is none. */
export function underlayLink(host: NetworkNamespace, vtep: string): number | undefined {
  using route = RouteSocket.open(host);
  const holder = route.addresses.list({ family: 'ipv4' }).find(({ address }) => address === vtep);
  const link = holder && route.links.get(holder.index);
  return link === undefined || link.loopback || link.mac === undefined ? undefined : link.index;
}

/**
 * @returns the addresses to which there is no gateway: those of the subnet in which the link has the VTEP's address; none
 * but that address where routes say otherwise of a part of it.
 */
export function neighboursOf(host: NetworkNamespace, link: number, vtep: string): Prefix {
  using route = RouteSocket.open(host);
  const held = route.addresses.list({ index: link, family: 'ipv4' }).find(({ address }) => address === vtep);
  const subnet = Prefix.of(vtep, held?.prefixLength ?? hostPrefix);
  const isOfSubnet = (destination: Prefix): boolean =>
    destination.length >= subnet.length && subnet.contains(destination.network);
  const isRouted = route.routes
    .list({ family: 'ipv4' })
    .some(
      ({ destination, gateway, nextHops }) =>
        (gateway ?? nextHops) !== undefined && isOfSubnet(Prefix.parse(destination)),
    );
  return isRouted ? Prefix.of(vtep, hostPrefix) : subnet;
}

/** GSO_LEGACY_MAX_SIZE, linux/netdevice.h: what IPv4's total length can say. */
export const defaultLargestSegment = 65_536;

/**
 * @returns how large a container's TCP segments may be. More than usual only where whoever runs the host has made the
 * underlay's link take more, as this is safe with links that cut tunnelled segments of that size, or carry them whole.
 */
export function largestSegment(host: NetworkNamespace, vtep: string): number {
  const index = underlayLink(host, vtep);
  using route = RouteSocket.open(host);
  const size = index === undefined ? undefined : route.links.get(index)?.gsoIpv4MaxSize;
  return Math.max(defaultLargestSegment, (size ?? 0) - vxlanOverhead);
}

/** @returns those of the VTEPs to which a frame of this MTU goes out by the link, whole. */
export function reachedOver(
  host: NetworkNamespace,
  link: number,
  mtu: number,
  vteps: Iterable<string>,
): ReadonlySet<string> {
  using route = RouteSocket.open(host);
  const isReached = (vtep: string): boolean => {
    try {
      const way = route.routes.get(vtep);
      return way.index === link && way.mtu >= mtu + vxlanOverhead;
    } catch (error) {
      if (hasCode(error, 'ENETUNREACH', 'EHOSTUNREACH', 'EACCES', 'EINVAL')) return false;
      throw error;
    }
  };
  return new Set([...new Set(vteps)].filter(isReached));
}
