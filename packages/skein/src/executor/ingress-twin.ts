/**
 * IPv6 on the ingress network (ADR 0010). The swarm gives it IPv4 only, as dockerd needs it; the nodes that are Skein's give
 * it an IPv6 subnet that follows from the network's ID, in which each address has the number of its IPv4 address. So every
 * node knows them all, and nobody has to give them.
 */
import { Prefix } from '@skein/netlink';
import { uniqueLocalSubnets } from '../common/index.ts';
import type { OverlayNetwork } from '../overlay/types.ts';
import { plainAddress } from './overlay-network.ts';

/** RFC 8200 section 5, and what VXLAN adds to a packet of it. */
const smallestMtu = 1280 + 50;

/** @returns the network with its twin; as it is when its packets are too small for IPv6. */
export function withIpv6Twin(network: OverlayNetwork): OverlayNetwork {
  if (!network.ingress || (network.mtu !== undefined && network.mtu < smallestMtu)) return network;
  const [subnet] = uniqueLocalSubnets(`skein IPv6 twin of network ${network.id}`, network.id);
  const [first, ...others] = network.subnets;
  if (first === undefined || subnet === undefined) return network;
  const ipv6 = { subnet, gateway: twinOf(subnet, first.gateway) };
  return { ...network, subnets: [{ ...first, ipv6 }, ...others] };
}

/** @returns the IPv6 address (CIDR) that belongs to an address of the network; undefined when it has no twin. */
export function twinAddress(network: OverlayNetwork, address: string): string | undefined {
  const subnet = network.subnets[0]?.ipv6?.subnet;
  return subnet && `${twinOf(subnet, plainAddress(address))}/${Prefix.parse(subnet).length}`;
}

const everyAddress = Prefix.parse('0.0.0.0/0');
const twinOf = (subnet: string, address: string): string =>
  Prefix.parse(subnet).address(everyAddress.indexOf(address) ?? 0n);
