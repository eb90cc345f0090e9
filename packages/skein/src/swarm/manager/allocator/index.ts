/**
 * allocator: gives networks their subnets and VXLAN IDs, services their virtual IPs and ports, tasks and nodes their
 * addresses. The store is the only record of what is given: the state of this room is read from it for each
 * transaction, so nothing can leak and a restart finds everything as it was. What was given last is
 * only remembered, and what rests after use is noted beside the objects (quarantine.ts).
 */
export { AddressBook } from './addresses.ts';
export { Allocator } from './allocator.ts';
export { allocateNodeFor, attachedNetworks, overlayNetworks } from './attachments.ts';
export { growingNetworksPlugin, growNetwork, knowsSubnet } from './growth.ts';
export {
  allocateNetwork,
  defaultIpamDriver,
  findIngress,
  isAddressOf,
  isOverlay,
  type LocalRoute,
  type NetworkAllocationOptions,
  networkName,
  predefinedLabel,
} from './networks.ts';
export { checkAddressPools, defaultSubnetSize } from './pools.ts';
export { isIngressPort, publishesThroughIngress } from './ports.ts';
export { Quarantine, quarantineMs } from './quarantine.ts';
export { attachmentConfigs, virtualIpLabel, wantedVirtualIps } from './services.ts';
export { contains, formatSubnet, overlaps, parseAddress, parseSubnet } from './subnet.ts';
export { vxlanIdsOption } from './vxlan.ts';
