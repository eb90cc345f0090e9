/**
 * overlay: the overlay networks of this host.
 *
 * It owns everything of them in the kernel: network sandboxes with their bridges and VXLAN tunnels, containers'
 * network namespaces and interfaces, forwarding and neighbour rows, docker_gwbridge with its nft table `skein`. Every
 * function makes the kernel as it should be and is safe to repeat after a crash at any line; links of ours carry the
 * alias `skein:…`. It publishes this host's endpoints in gossip's `overlay_peer_table` and reads those of others. It
 * never asks the manager, and touches no link, rule or namespace that is not its own.
 */
export { createOverlayDriver, type OverlayDriverOptions } from './driver.ts';
export { type EndpointPlan, ensureEndpoint, removeEndpoint } from './endpoint-links.ts';
export { distrustAdvertisements, ensureIpv6Address, ensureIpv6Forwarding } from './ipv6.ts';
export {
  containerInterfaceName,
  linkAlias,
  macOfAddress,
  plainAddress,
  plainAddresses,
  randomMac,
  vethName,
} from './names.ts';
export { Collection } from './state.ts';
export { subnetsOf } from './subnets.ts';
export type * from './types.ts';
