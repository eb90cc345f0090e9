import { clone, create } from '@bufbuild/protobuf';
import { RpcError } from '../../../common/index.ts';
import { type Network, NetworkSchema, type Node, NodeSchema } from '../../gen/objects_pb.js';
import { type NetworkSpec, NetworkSpecSchema } from '../../gen/specs_pb.js';
import { DriverSchema, type IPAMConfig, IPAMOptionsSchema } from '../../gen/types_pb.js';
import type { WriteTransaction } from '../../store/index.ts';
import { attachedNetworks } from './attachments.ts';
import { allocateNetwork, isAddressOf, isOverlay, type NetworkAllocationOptions, networkName } from './networks.ts';
import { vxlanIdsOption } from './vxlan.ts';

/** In a node's plugins: its overlay networks take further subnets while their containers run. A dockerd has no such entry. */
export const growingNetworksPlugin = { type: 'Skein', name: 'growing-networks' } as const;

/**
 * Gives a network further subnets behind those it has, which stay as they are, and tells the nodes that are on it and
 * can follow. @throws RpcError when it is not one that can grow, or what is asked for cannot be had.
 */
export function growNetwork(
  tx: WriteTransaction,
  stored: Network,
  asked: readonly IPAMConfig[],
  options: NetworkAllocationOptions,
): Network {
  const name = networkName(stored);
  if (!isOverlay(stored) || !stored.driverState || !stored.ipam)
    throw new RpcError('FailedPrecondition', `network ${name} cannot grow: it is no overlay network`);
  if (stored.spec?.ingress)
    throw new RpcError('FailedPrecondition', `network ${name} cannot grow: the ingress network has one subnet`);
  const wanted = clone(NetworkSchema, stored);
  const driver = specOf(wanted).driverConfig ?? create(DriverSchema);
  driver.options[vxlanIdsOption] = stored.driverState.options[vxlanIdsOption] ?? '';
  specOf(wanted).driverConfig = driver;
  askFor(wanted, [...stored.ipam.configs, ...asked]);
  allocateNetwork(tx, wanted, options);
  const grown = clone(NetworkSchema, stored);
  askFor(grown, [...(stored.spec?.ipam?.configs ?? []), ...asked]);
  grown.ipam = wanted.ipam;
  grown.driverState = wanted.driverState;
  tx.update('network', grown);
  for (const node of tx.list('node')) if (canFollow(node)) tellNode(tx, node, grown);
  return grown;
}

function specOf(network: Network): NetworkSpec {
  network.spec ??= create(NetworkSpecSchema);
  return network.spec;
}

function askFor(network: Network, configs: readonly IPAMConfig[]): void {
  const ipam = specOf(network).ipam ?? create(IPAMOptionsSchema);
  ipam.configs = [...configs];
  specOf(network).ipam = ipam;
}

function canFollow({ description }: Node): boolean {
  const { type, name } = growingNetworksPlugin;
  return description?.engine?.plugins.some((plugin) => plugin.type === type && plugin.name === name) ?? false;
}

function tellNode(tx: WriteTransaction, stored: Node, network: Network): void {
  if (!attachedNetworks(stored).has(network.id)) return;
  const node = clone(NodeSchema, stored);
  for (const attachment of node.attachments)
    if (attachment.network?.id === network.id) attachment.network = clone(NetworkSchema, network);
  tx.update('node', node);
}

/** @returns whether a node knows the subnet of an address: one that was on the network before it grew may not. */
export function knowsSubnet(node: Node, networkId: string, address: string): boolean {
  const known = attachedNetworks(node).get(networkId);
  return known === undefined || isAddressOf(known, address.split('/')[0] ?? '');
}
