import { clone, create } from '@bufbuild/protobuf';
import { RpcError } from '../../../common/index.ts';
import type { Cluster, Network, NetworkAttachment } from '../../gen/objects_pb.js';
import {
  DriverSchema,
  type IPAMConfig,
  IPAMConfig_AddressFamily,
  IPAMConfigSchema,
  IPAMOptionsSchema,
} from '../../gen/types_pb.js';
import type { ReadTransaction } from '../../store/index.ts';
import { isAlive } from '../tasks.ts';
import { addressPools, firstFreeSubnet } from './pools.ts';
import { ipv6SubnetSpace, type Quarantine, subnetSpace, vxlanSpace } from './quarantine.ts';
import {
  contains,
  type Family,
  familyOf,
  formatAddress,
  formatSubnet,
  overlaps,
  parseAddress,
  parseSubnet,
  type Subnet,
} from './subnet.ts';
import { uniqueLocalSubnet } from './unique-local.ts';
import { parseVxlanIds, vxlanIdsOption } from './vxlan.ts';

/** The driver of networks that span nodes. */
export const overlayDriver = 'overlay';
/** Label of the networks `bridge` and `host` that every node has of its own (swarmkit networkallocator). */
export const predefinedLabel = 'com.docker.swarm.predefined';
/** IPAM driver that is named in answers (libnetwork ipamapi.DefaultIPAM). */
export const defaultIpamDriver = 'default';
/** VXLAN IDs that may be given out (libnetwork ovmanager: vxlanIDStart, vxlanIDEnd). */
const firstVxlanId = 4096;
const lastVxlanId = 2 ** 24 - 1;
/** The longest prefixes that still have an address for the gateway, a virtual IP or node, and a task. */
const longestPrefix = { IPv4: 30, IPv6: 126 } as const;

/** A route of the manager's own host. */
export interface LocalRoute {
  /** CIDR, or `default`. */
  readonly destination: string;
  readonly device: string;
}

export interface NetworkAllocationOptions {
  readonly localRoutes?: (() => readonly LocalRoute[]) | undefined;
  /** What was given last and freed lately; without it the lowest free is given. */
  readonly quarantine?: Quarantine | undefined;
  readonly warn?: (message: string) => void;
}

export function networkName(network: Network): string {
  return network.spec?.annotations?.name ?? '';
}

/** @returns whether a network's addresses are given out by the cluster. Others are left to a driver on each node. */
export function isOverlay(network: Network): boolean {
  return (network.spec?.driverConfig?.name || overlayDriver) === overlayDriver;
}

export function findIngress(tx: ReadTransaction): Network | undefined {
  return tx.list('network').find((network) => network.spec?.ingress);
}

/** @returns whether an address lies in one of a network's subnets. */
export function isAddressOf(network: Network, text: string): boolean {
  const address = parseAddress(text);
  return address !== undefined && allocatedSubnets(network).some((subnet) => contains(subnet, address));
}

/** Whose a subnet or VXLAN ID is. */
interface Holding {
  readonly owner: Network;
  readonly subnets: readonly Subnet[];
  readonly vxlanIds: readonly number[];
}

/**
 * Gives a network its subnets, gateways and VXLAN IDs: `ipam` and `driver_state` of the given object. What the spec
 * asks for is checked against what others hold; a removed network holds its own until its last task has ended. Subnets
 * that the network has already are not held against the routes of this host.
 * @throws RpcError InvalidArgument, FailedPrecondition
 */
export function allocateNetwork(tx: ReadTransaction, network: Network, options: NetworkAllocationOptions = {}): void {
  const driver = network.spec?.driverConfig;
  if (!isOverlay(network)) {
    network.driverState = create(DriverSchema, { name: driver?.name ?? '', options: driver?.options ?? {} });
    network.ipam = create(IPAMOptionsSchema, { driver: create(DriverSchema) });
    return;
  }
  const holdings = allHoldings(tx).filter((holding) => holding.owner.id !== network.id);
  const given = configsOfFamily(network, 'IPv4');
  const ipv4 = (given.length > 0 ? given : [create(IPAMConfigSchema)]).map((config) =>
    config.subnet
      ? explicitSubnet(network, config, holdings, options)
      : automaticSubnet(tx, network, config, holdings, options),
  );
  const ipv6 = ipv6Configs(network, ipv4.length).map((config, place) =>
    config
      ? explicitSubnet(network, config, holdings, options)
      : allocatedConfig(localSubnet(tx, network, place, holdings, options.quarantine), create(IPAMConfigSchema)),
  );
  // IPv4 first, as libnetwork pairs its subnets with the list of VXLAN IDs.
  const allocated = [...ipv4, ...ipv6];
  refuseOwnOverlap(network, allocated);
  const vxlanIds = allocateVxlanIds(network, ipv4.length, holdings, options.quarantine);
  network.ipam = create(IPAMOptionsSchema, {
    driver: create(DriverSchema, { name: defaultIpamDriver, options: network.spec?.ipam?.driver?.options ?? {} }),
    configs: allocated,
  });
  network.driverState = create(DriverSchema, {
    name: overlayDriver,
    options: { ...driver?.options, [vxlanIdsOption]: vxlanIds.join(',') },
  });
}

/** @returns a network's subnets as they were allocated. */
export function allocatedSubnets(network: Network): Subnet[] {
  return (network.ipam?.configs ?? []).flatMap((config) => parseSubnet(config.subnet) ?? []);
}

function configsOfFamily(network: Network, family: Family): IPAMConfig[] {
  const isIpv6 = (config: IPAMConfig) => config.family === IPAMConfig_AddressFamily.IPV6 || config.subnet.includes(':');
  return (network.spec?.ipam?.configs ?? []).filter((config) => isIpv6(config) === (family === 'IPv6'));
}

/**
 * Each IPv6 subnet shares the VXLAN of the IPv4 subnet in the same place: an endpoint has one link for both.
 * @returns for each IPv4 subnet what the user asks for IPv6, undefined = any; nothing where IPv6 is off.
 */
function ipv6Configs(network: Network, count: number): (IPAMConfig | undefined)[] {
  const given = configsOfFamily(network, 'IPv6');
  const name = networkName(network);
  const [some] = given;
  if (!network.spec?.ipv6Enabled) {
    if (!some) return [];
    throw new RpcError('InvalidArgument', `network ${name}: subnet ${some.subnet} is IPv6: enable it with --ipv6`);
  }
  if (given.length > count)
    throw new RpcError(
      'InvalidArgument',
      `network ${name} has ${given.length} IPv6 subnets for ${count} of IPv4: give at most one for each, as the two share a VXLAN`,
    );
  return Array.from({ length: count }, (_, place) => (given[place]?.subnet ? given[place] : undefined));
}

/** Every subnet and VXLAN ID in use: by networks, and by tasks and nodes that are still on a removed network. */
function allHoldings(tx: ReadTransaction): Holding[] {
  const networks = new Map<string, Network>();
  const attached = (attachments: readonly NetworkAttachment[]) => {
    for (const { network } of attachments) if (network && !networks.has(network.id)) networks.set(network.id, network);
  };
  for (const network of tx.list('network')) networks.set(network.id, network);
  for (const task of tx.list('task')) if (isAlive(task)) attached(task.networks);
  for (const node of tx.list('node')) attached(node.attachments);
  return [...networks.values()].map((owner) => ({
    owner,
    subnets: allocatedSubnets(owner),
    vxlanIds: parseVxlanIds(owner.driverState?.options[vxlanIdsOption]),
  }));
}

function explicitSubnet(
  network: Network,
  config: IPAMConfig,
  holdings: readonly Holding[],
  options: NetworkAllocationOptions,
): IPAMConfig {
  const subnet = parseSubnet(config.subnet);
  if (!subnet) throw new RpcError('InvalidArgument', `ipam configuration: invalid subnet ${config.subnet}`);
  const longest = longestPrefix[familyOf(subnet.base)];
  if (subnet.prefix > longest)
    throw new RpcError(
      'InvalidArgument',
      `network ${networkName(network)}: subnet ${formatSubnet(subnet)} has no room for a gateway and a task: choose a prefix of at most /${longest}`,
    );
  if (familyOf(subnet.base) === 'IPv6') refuseSpecial(network, subnet);
  const remedy = 'choose another subnet, or leave the subnet out to have a free one chosen';
  for (const holding of holdings)
    for (const other of holding.subnets)
      if (overlaps(subnet, other))
        throw new RpcError(
          'InvalidArgument',
          `subnet ${formatSubnet(subnet)} of network ${networkName(network)} overlaps subnet ${formatSubnet(other)} of network ${networkName(holding.owner)}: ${remedy}`,
        );
  const isPresent = allocatedSubnets(network).some((present) => formatSubnet(present) === formatSubnet(subnet));
  const route = isPresent ? undefined : routes(options).find((candidate) => overlaps(subnet, candidate.subnet));
  if (route)
    throw new RpcError(
      'InvalidArgument',
      `subnet ${formatSubnet(subnet)} of network ${networkName(network)} overlaps the route ${formatSubnet(route.subnet)} of this host's device ${route.device}: ${remedy}`,
    );
  return allocatedConfig(subnet, config);
}

/** @returns a unique local subnet for the network's IPv4 subnet in this place. */
function localSubnet(
  tx: ReadTransaction,
  network: Network,
  place: number,
  holdings: readonly Holding[],
  quarantine: Quarantine | undefined,
): Subnet {
  const swarm = tx.list('cluster')[0]?.id ?? '';
  const held = [...holdings.flatMap(({ subnets }) => subnets), ...allocatedSubnets(network)];
  const free = (taken: readonly Subnet[]) => uniqueLocalSubnet(swarm, `${network.id}/${place}`, taken);
  const found = free([...held, ...restingSubnets(ipv6SubnetSpace, quarantine)]) ?? free(held);
  if (found) return found;
  throw new RpcError(
    'FailedPrecondition',
    `no IPv6 subnet left for network ${networkName(network)}: give it one with --subnet`,
  );
}

/** Routes of this host that matter: all but the default route. */
function routes(options: NetworkAllocationOptions): { subnet: Subnet; device: string }[] {
  return (options.localRoutes?.() ?? []).flatMap(({ destination, device }) => {
    const subnet = parseSubnet(
      destination.includes('/') ? destination : `${destination}/${destination.includes(':') ? 128 : 32}`,
    );
    return subnet && subnet.prefix > 0 ? [{ subnet, device }] : [];
  });
}

function automaticSubnet(
  tx: ReadTransaction,
  network: Network,
  config: IPAMConfig,
  holdings: readonly Holding[],
  options: NetworkAllocationOptions,
): IPAMConfig {
  const cluster = tx.list('cluster')[0];
  const held = [...holdings.flatMap((holding) => holding.subnets), ...allocatedSubnets(network)];
  const local = routes(options).map((route) => route.subnet);
  const free = nextSubnet(cluster, [...held, ...local], options.quarantine);
  if (free) return allocatedConfig(free, config);
  const despiteRoutes = nextSubnet(cluster, held, options.quarantine);
  if (despiteRoutes) {
    options.warn?.(
      `network ${networkName(network)}: every free subnet of the address pools overlaps a route of this host; takes ${formatSubnet(despiteRoutes)}`,
    );
    return allocatedConfig(despiteRoutes, config);
  }
  const { pools, size } = addressPools(cluster);
  throw new RpcError(
    'FailedPrecondition',
    `no subnet left for network ${networkName(network)}: the address pools ${pools.map(formatSubnet).join(', ')}, cut into /${size}, are used up by ${held.length} subnets: remove unused networks or give a subnet outside the pools`,
  );
}

/** The next free subnet behind the one given last; when all free ones rest, the one that has rested longest. */
function nextSubnet(
  cluster: Cluster | undefined,
  taken: readonly Subnet[],
  quarantine: Quarantine | undefined,
): Subnet | undefined {
  const after = parseSubnet(quarantine?.last(subnetSpace) ?? '');
  const resting = restingSubnets(subnetSpace, quarantine);
  for (let woken = 0; woken <= resting.length; woken++) {
    const free = firstFreeSubnet(cluster, [...taken, ...resting.slice(woken)], after);
    if (!free) continue;
    quarantine?.give(subnetSpace, formatSubnet(free));
    return free;
  }
  return undefined;
}

/** The one that has rested longest first. */
function restingSubnets(space: string, quarantine: Quarantine | undefined): Subnet[] {
  return [...(quarantine?.resting(space).keys() ?? [])].flatMap((text) => parseSubnet(text) ?? []);
}

/** Subnets whose addresses no container can have, as they mean something else (RFC 4291 section 2.4). */
const specialSubnets: readonly (readonly [subnet: string, meaning: string])[] = [
  ['::/8', 'is reserved'],
  ['fe80::/10', 'is for link-local addresses'],
  ['ff00::/8', 'is for multicast'],
];

function refuseSpecial(network: Network, subnet: Subnet): void {
  for (const [text, meaning] of specialSubnets) {
    const special = parseSubnet(text);
    if (special && overlaps(special, subnet))
      throw new RpcError(
        'InvalidArgument',
        `network ${networkName(network)}: subnet ${formatSubnet(subnet)} overlaps ${text}, which ${meaning}: choose a global or a unique local one, such as fd00:1::/64`,
      );
  }
}

/** The answer's configuration: the subnet with its gateway, by default the first usable address. */
function allocatedConfig(subnet: Subnet, config: IPAMConfig): IPAMConfig {
  const gateway = config.gateway ? parseAddress(config.gateway) : subnet.base + 1n;
  if (gateway === undefined)
    throw new RpcError('InvalidArgument', `ipam configuration: invalid gateway ${config.gateway}`);
  if (!contains(subnet, gateway))
    throw new RpcError(
      'InvalidArgument',
      `ipam configuration: subnet ${config.subnet} does not contain gateway ${config.gateway}`,
    );
  const allocated = clone(IPAMConfigSchema, config);
  allocated.family = familyOf(subnet.base) === 'IPv4' ? IPAMConfig_AddressFamily.IPV4 : IPAMConfig_AddressFamily.IPV6;
  allocated.subnet = formatSubnet(subnet);
  allocated.gateway = formatAddress(gateway);
  return allocated;
}

function refuseOwnOverlap(network: Network, configs: readonly IPAMConfig[]): void {
  const subnets = configs.flatMap((config) => parseSubnet(config.subnet) ?? []);
  subnets.forEach((subnet, index) => {
    const other = subnets.slice(0, index).find((earlier) => overlaps(earlier, subnet));
    if (other)
      throw new RpcError(
        'InvalidArgument',
        `subnets ${formatSubnet(other)} and ${formatSubnet(subnet)} of network ${networkName(network)} overlap each other`,
      );
  });
}

/** The IDs that the user gave, checked, and then free ones behind the one given last: one for each subnet. */
function allocateVxlanIds(
  network: Network,
  count: number,
  holdings: readonly Holding[],
  quarantine: Quarantine | undefined,
): number[] {
  const owners = new Map(holdings.flatMap(({ owner, vxlanIds }) => vxlanIds.map((id) => [id, owner] as const)));
  const ids = parseVxlanIds(network.spec?.driverConfig?.options[vxlanIdsOption]);
  for (const id of ids) {
    const owner = owners.get(id);
    if (!Number.isInteger(id) || id < 1 || id > lastVxlanId)
      throw new RpcError('InvalidArgument', `${vxlanIdsOption}: a VXLAN ID is a number from 1 to ${lastVxlanId}`);
    if (owner)
      throw new RpcError(
        'InvalidArgument',
        `VXLAN ID ${id} of network ${networkName(network)} is in use by network ${networkName(owner)}: choose another one, or leave it out to have a free one chosen`,
      );
  }
  if (new Set(ids).size < ids.length)
    throw new RpcError('InvalidArgument', `${vxlanIdsOption}: a VXLAN ID is given twice`);
  while (ids.length < count) ids.push(nextVxlanId(new Set([...owners.keys(), ...ids]), quarantine));
  return ids.slice(0, Math.max(count, 1));
}

function nextVxlanId(taken: ReadonlySet<number>, quarantine: Quarantine | undefined): number {
  const resting = new Set([...(quarantine?.resting(vxlanSpace).keys() ?? [])].map(Number));
  const size = lastVxlanId - firstVxlanId + 1;
  const start = Math.max(Number(quarantine?.last(vxlanSpace) ?? 0) + 1, firstVxlanId) - firstVxlanId;
  for (let turn = 0; turn < size; turn++) {
    const id = firstVxlanId + ((start + turn) % size);
    if (taken.has(id) || resting.has(id)) continue;
    quarantine?.give(vxlanSpace, String(id));
    return id;
  }
  throw new RpcError('FailedPrecondition', 'no VXLAN ID left');
}
