import { SkeinError } from '../../../common/index.ts';
import type { Cluster } from '../../gen/objects_pb.js';
import {
  type Address,
  contains,
  familyOf,
  formatSubnet,
  lastAddress,
  later,
  overlaps,
  parseSubnet,
  type Subnet,
  subnetAt,
} from './subnet.ts';

/** Where subnets come from when the cluster says nothing (swarmkit api/defaults, libnetwork ipamutils). */
const defaultAddressPools: readonly string[] = ['10.0.0.0/8'];
export const defaultSubnetSize = 24;
/** The smallest subnet that `swarm init` may ask for (moby cli: --default-addr-pool-mask-length). */
const longestSubnetSize = 29;

/** Checks what `swarm init` says about address pools. @throws SkeinError InvalidArgument in dockerd's words (moby daemon/cluster: validateDefaultAddrPool). */
export function checkAddressPools(texts: readonly string[], subnetSize: number): void {
  const size = subnetSize || defaultSubnetSize;
  if (size > longestSubnetSize) throw new SkeinError('InvalidArgument', `subnet size is out of range: ${size}`);
  const pools: Subnet[] = [];
  for (const text of texts) {
    const pool = parseSubnet(text);
    if (!pool) throw new SkeinError('InvalidArgument', `invalid base pool ${text}: invalid CIDR address: ${text}`);
    if (familyOf(pool.base) === 'IPv6')
      throw new SkeinError('InvalidArgument', `default address pool ${text} is IPv6: give networks IPv6 with --ipv6`);
    if (pool.prefix > size)
      throw new SkeinError('InvalidArgument', `invalid CIDR: "${text}". Subnet size is too small for pool: ${size}`);
    const other = pools.find((earlier) => overlaps(earlier, pool));
    if (other)
      throw new SkeinError(
        'InvalidArgument',
        `default address pools ${formatSubnet(other)} and ${formatSubnet(pool)} overlap each other`,
      );
    pools.push(pool);
  }
}

/** @returns the cluster's address pools and the prefix length that they are cut into. */
export function addressPools(cluster: Cluster | undefined): { pools: Subnet[]; size: number } {
  const texts = cluster?.defaultAddressPool.length ? cluster.defaultAddressPool : defaultAddressPools;
  const pools = texts.flatMap((text) => parseSubnet(text) ?? []);
  return { pools, size: cluster?.subnetSize || defaultSubnetSize };
}

/**
 * @returns the first subnet of the pools, behind `after` and then from the beginning, that overlaps none of those taken.
 */
export function firstFreeSubnet(
  cluster: Cluster | undefined,
  taken: readonly Subnet[],
  after?: Subnet,
): Subnet | undefined {
  const { pools, size } = addressPools(cluster);
  const place = after ? pools.findIndex((pool) => contains(pool, after.base)) : -1;
  const current = pools[place];
  if (!after || !current) return firstFreeOf(pools, size, taken);
  const next = lastAddress(after) + 1n;
  return (
    freeSubnetFrom(current, next, size, taken) ??
    firstFreeOf([...pools.slice(place + 1), ...pools.slice(0, place + 1)], size, taken)
  );
}

function firstFreeOf(pools: readonly Subnet[], size: number, taken: readonly Subnet[]): Subnet | undefined {
  for (const pool of pools) {
    const free = freeSubnetFrom(pool, pool.base, size, taken);
    if (free) return free;
  }
  return undefined;
}

/** Steps over each taken subnet at once. */
function freeSubnetFrom(pool: Subnet, from: Address, size: number, taken: readonly Subnet[]): Subnet | undefined {
  if (size < pool.prefix) return undefined;
  for (let at = alignUp(from, size); at <= lastAddress(pool); ) {
    const candidate = subnetAt(at, size);
    const clash = taken.find((subnet) => overlaps(candidate, subnet));
    if (!clash) return candidate;
    at = alignUp(later(lastAddress(candidate), lastAddress(clash)) + 1n, size);
  }
  return undefined;
}

function alignUp(address: Address, size: number): Address {
  const subnet = subnetAt(address, size);
  return subnet.base < address ? lastAddress(subnet) + 1n : address;
}
