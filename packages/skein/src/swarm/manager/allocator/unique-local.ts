/** IPv6 subnets of networks that name none, as swarms have no pools for IPv6: of the swarm's ID, and the network's. */
import { uniqueLocalSubnets } from '../../../common/index.ts';
import { overlaps, parseSubnet, type Subnet } from './subnet.ts';

/** @returns a free /64 for the network: the one that its ID gives, or the next after it; undefined when all are taken. */
export function uniqueLocalSubnet(swarmId: string, networkId: string, taken: readonly Subnet[]): Subnet | undefined {
  const site = `skein IPv6 site of swarm ${swarmId}`;
  for (const text of uniqueLocalSubnets(site, `skein IPv6 subnet of network ${networkId}`)) {
    const candidate = parseSubnet(text);
    if (candidate && !taken.some((other) => overlaps(candidate, other))) return candidate;
  }
  return undefined;
}
