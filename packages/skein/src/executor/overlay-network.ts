import { SkeinError } from '../common/index.ts';
import type { OverlayNetwork } from '../overlay/types.ts';
import type { Network, Task } from '../swarm/gen/objects_pb.js';
import type { IPAMConfig } from '../swarm/gen/types_pb.js';

/** Options of an overlay network's driver state (libnetwork drivers/overlay). */
const vniListOption = 'com.docker.network.driver.overlay.vxlanid_list';
const mtuOption = 'com.docker.network.driver.mtu';
const encryptedOption = 'encrypted';

/** @returns true for networks that overlay VXLAN serves; false for node-local ones such as `host`. */
export function isOverlay(network: Network): boolean {
  return network.driverState?.name === 'overlay';
}

/** @returns true when the task asks for the host's own network. */
export function usesHostNetwork(task: Task): boolean {
  return task.networks.some((attachment) => attachment.network?.driverState?.name === 'host');
}

/** @returns the swarm's network object in the overlay room's terms. @throws SkeinError Internal when subnets and VNIs do not match. */
export function overlayNetworkOf(network: Network): OverlayNetwork {
  const options = network.driverState?.options ?? {};
  const vnis = (options[vniListOption] ?? '').split(',').filter((vni) => vni !== '');
  const configs = network.ipam?.configs ?? [];
  const ipv4 = configs.filter(({ subnet }) => !isIpv6(subnet));
  const ipv6 = network.spec?.ipv6Enabled ? configs.filter(({ subnet }) => isIpv6(subnet)) : [];
  const name = network.spec?.annotations?.name ?? '';
  // A manager that does not tell the families apart gives IPv6 subnets IDs, too: those are not used.
  const vniOf = (config: IPAMConfig): number =>
    Number(vnis[vnis.length === configs.length ? configs.indexOf(config) : ipv4.indexOf(config)]);
  if (ipv4.length === 0 || ![ipv4.length, configs.length].includes(vnis.length)) {
    throw new SkeinError(
      'Internal',
      `network ${name} (${network.id}) has ${ipv4.length} subnets and ${vnis.length} VXLAN IDs: the manager has not allocated it`,
    );
  }
  return {
    id: network.id,
    name,
    subnets: ipv4.map((config, index) => {
      const twin = ipv6[index];
      return {
        subnet: config.subnet,
        gateway: plainAddress(config.gateway),
        vni: vniOf(config),
        ...(twin && { ipv6: { subnet: twin.subnet, gateway: plainAddress(twin.gateway) } }),
      };
    }),
    ...(options[mtuOption] ? { mtu: Number(options[mtuOption]) } : {}),
    internal: network.spec?.internal ?? false,
    ingress: network.spec?.ingress ?? false,
    encrypted: encryptedOption in options,
    labels: network.spec?.annotations?.labels ?? {},
    options,
    attachable: network.spec?.attachable ?? false,
  };
}

/** Says whether an address or subnet is of IPv6. */
export const isIpv6 = (address: string): boolean => address.includes(':');

/** An endpoint's addresses (CIDR). */
export interface EndpointAddresses {
  readonly address: string;
  readonly ipv6Address?: string | undefined;
}

/** @returns what the manager gave for a place on a network; undefined when there is no IPv4 address among it. */
export function endpointAddresses(network: OverlayNetwork, given: readonly string[]): EndpointAddresses | undefined {
  const address = given.find((each) => !isIpv6(each));
  const ipv6Address = network.subnets.some(({ ipv6 }) => ipv6) ? given.find(isIpv6) : undefined;
  return address === undefined ? undefined : { address, ...(ipv6Address && { ipv6Address }) };
}

/** @returns an address without its prefix length. */
export function plainAddress(address: string): string {
  return address.split('/')[0] ?? address;
}
