/** How the objects that the overlay room makes are called: as Docker calls them, so that its users find them. */
import { randomBytes } from 'node:crypto';
import { isIPv4 } from 'node:net';
import { normalizeAddress } from '@skein/netlink';
import { SkeinError } from '../common/index.ts';

/** Docker's bridge for the way to the outside. */
export const gatewayBridgeName = 'docker_gwbridge';
/** libnetwork osl: namespace files carry the first 12 characters of their key. */
const namespaceNameLength = 12;
/** Hex digits of a veth's name after `veth`. */
const vethIdLength = 7;
/** Locally administered (the second lowest bit), as Docker has it. */
const macPrefix = '02:42';

/** Namespace file of an overlay network: Docker's counter, here always 1, and the network ID. */
export const networkNamespaceName = (networkId: string): string => `1-${networkId.slice(0, 10)}`;
/** Namespace file of a network's load balancer. */
export const loadBalancerNamespaceName = (networkId: string): string => `lb_${networkId.slice(0, 9)}`;
/** Namespace file of a container. */
export const containerNamespaceName = (sandboxId: string): string => sandboxId.slice(0, namespaceNameLength);
/** Says whether a namespace file has one of the three forms above. */
export const isNamespaceName = (name: string): boolean => /^(1-[0-9a-z]{10}|lb_[0-9a-z]{9}|[0-9a-f]{12})$/.test(name);

/** The bridge's end of an endpoint's veth pair. */
export const vethName = (endpointId: string): string => `veth${endpointId.slice(0, vethIdLength)}`;
export const bridgeName = (subnetIndex: number): string => `br${subnetIndex}`;
export const vxlanName = (subnetIndex: number): string => `vxlan${subnetIndex}`;
/** The sandbox's and the host's end of a network's gate (fast-path/gate.ts). */
export const gateName = 'gate0';
export const hostGateName = (networkId: string): string => `skein${networkId.slice(0, 10)}`;
export const containerInterfaceName = (position: number): string => `eth${position}`;

/** The alias by which a link is known as ours: network (or `gateway`) and container (or what the link is for). */
export const linkAlias = (networkId: string, owner: string): string => `${aliasPrefix}${networkId}:${owner}`;
const aliasPrefix = 'skein:';
export const isOurAlias = (alias: string | undefined): boolean => alias?.startsWith(aliasPrefix) === true;

/** @returns the MAC that Docker gives to an endpoint: 02:42 and the four bytes of its address. */
export function macOfAddress(address: string): string {
  const plain = plainAddress(address);
  if (!isIPv4(plain)) throw new SkeinError('InvalidArgument', `invalid IPv4 address: ${address}`);
  const bytes = plain.split('.').map((byte) => Number(byte).toString(16).padStart(2, '0'));
  return [macPrefix, ...bytes].join(':');
}

/** @returns a MAC that nobody else has, for a link that no record names. */
export function randomMac(): string {
  return [macPrefix, ...(randomBytes(4).toString('hex').match(/../g) ?? [])].join(':');
}

/** @returns the addresses of an endpoint without their prefix lengths, those of IPv6 as the kernel writes them. */
export function plainAddresses(endpoint: { address: string; ipv6Address?: string | undefined }): string[] {
  const { address, ipv6Address } = endpoint;
  return [address, ...(ipv6Address === undefined ? [] : [ipv6Address])].map((cidr) =>
    normalizeAddress(plainAddress(cidr)),
  );
}

/** `10.0.1.3/24` → `10.0.1.3`. */
export function plainAddress(cidr: string): string {
  return cidr.split('/', 1)[0] ?? cidr;
}
