import { isIPv6 } from 'node:net';
import { Prefix } from '@skein/netlink';
import { SkeinError } from '../common/index.ts';
import type { SubnetRoute } from './endpoint-links.ts';
import { plainAddress } from './names.ts';
import type { EndpointSpec, OverlayNetwork } from './types.ts';

/** @returns the position of the subnet that holds the address (plain or CIDR), -1 if none does. */
export function subnetOf(network: OverlayNetwork, address: string): number {
  const plain = plainAddress(address);
  const holds = (subnet: string | undefined): boolean => subnet !== undefined && Prefix.parse(subnet).contains(plain);
  return network.subnets.findIndex(({ subnet, ipv6 }) => holds(subnet) || holds(ipv6?.subnet));
}

/** @returns a network's subnets of both families. */
export function subnetsOf(network: OverlayNetwork): string[] {
  return network.subnets.flatMap(({ subnet, ipv6 }) => (ipv6 ? [subnet, ipv6.subnet] : [subnet]));
}

/** @returns the ways from the subnet of an endpoint to the network's others (libnetwork overlay: JoinInfo.AddStaticRoute). */
export function subnetRoutes(
  network: OverlayNetwork,
  { address, ipv6Address }: Pick<EndpointSpec, 'address' | 'ipv6Address'>,
): SubnetRoute[] {
  const own = network.subnets[subnetOf(network, address)];
  if (own === undefined) return [];
  const others = network.subnets.filter((subnet) => subnet !== own);
  const routes = others.map(({ subnet }) => ({ destination: subnet, gateway: own.gateway }));
  const { ipv6 } = own;
  if (ipv6 === undefined || ipv6Address === undefined) return routes;
  const ipv6Routes = others.flatMap((other) =>
    other.ipv6 ? [{ destination: other.ipv6.subnet, gateway: ipv6.gateway }] : [],
  );
  return [...routes, ...ipv6Routes];
}

/** @returns whether a network is another one with more subnets behind its own. */
export function hasGrown(before: OverlayNetwork, now: OverlayNetwork): boolean {
  return (
    now.id === before.id &&
    now.subnets.length > before.subnets.length &&
    before.subnets.every(({ subnet, vni }, position) => {
      const same = now.subnets[position];
      return same?.subnet === subnet && same.vni === vni;
    })
  );
}

/**
 * Refuses what this host cannot build, in words for its user.
 * @throws SkeinError InvalidArgument, FailedPrecondition.
 */
export function validateEndpoint({ network, address, ipv6Address }: EndpointSpec): void {
  if (network.subnets.length === 0) throw new SkeinError('InvalidArgument', `network ${network.name} has no subnet`);
  if (network.encrypted) {
    throw new SkeinError(
      'FailedPrecondition',
      `cannot join secure network ${network.name}: this kernel cannot encrypt VXLAN packets (IPsec ESP is missing)`,
    );
  }
  if (!/^\d+\.\d+\.\d+\.\d+\/\d+$/.test(address) || subnetOf(network, address) < 0) {
    throw new SkeinError('InvalidArgument', `address ${address} is in no subnet of network ${network.name}`);
  }
  if (ipv6Address === undefined) return;
  if (!isIPv6(plainAddress(ipv6Address)) || subnetOf(network, ipv6Address) !== subnetOf(network, address)) {
    const why = `is in no subnet of network ${network.name} beside that of ${address}`;
    throw new SkeinError('InvalidArgument', `address ${ipv6Address} ${why}`);
  }
}
