/**
 * IPv6 subnets of networks that name none: unique local ones (RFC 4193), as swarms have no pools for IPv6. The swarm's
 * ID gives the 40 bits that make a site's prefix its own, the network's the 16 bits of the subnet: so the subnets
 * of two swarms that come to be connected differ.
 */
import { createHash } from 'node:crypto';
import { overlaps, parseSubnet, type Subnet } from './subnet.ts';

/** RFC 4193 section 3.1: fd, 5 bytes of the site, 2 bytes of the subnet. */
const siteBytes = 5;
const subnetPrefix = 64;
/** Subnets of a site. */
const subnetCount = 2 ** 16;

/** @returns a free /64 for the network: the one that its ID gives, or the next after it; undefined when all are taken. */
export function uniqueLocalSubnet(swarmId: string, networkId: string, taken: readonly Subnet[]): Subnet | undefined {
  const site = hash(`skein IPv6 site of swarm ${swarmId}`).subarray(0, siteBytes).toString('hex');
  const first = hash(`skein IPv6 subnet of network ${networkId}`).readUInt16BE();
  for (let step = 0; step < subnetCount; step++) {
    const subnet = ((first + step) % subnetCount).toString(16).padStart(4, '0');
    const groups = `fd${site}${subnet}`.match(/.{4}/g) ?? [];
    const candidate = parseSubnet(`${groups.join(':')}::/${subnetPrefix}`);
    if (candidate && !taken.some((other) => overlaps(candidate, other))) return candidate;
  }
  return undefined;
}

function hash(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
