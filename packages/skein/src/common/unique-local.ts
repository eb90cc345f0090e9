/** IPv6 subnets for networks that name none: unique local ones (RFC 4193). Pure. */
import { createHash } from 'node:crypto';

/** RFC 4193 section 3.1: fd, 5 bytes of the site, 2 bytes of the subnet. */
const siteBytes = 5;
const subnetPrefix = 64;
/** Subnets of a site. */
const subnetCount = 2 ** 16;

/**
 * @param site gives the 40 bits that make a site's prefix its own; @param subnet the 16 bits of the subnet: so the subnets
 * of two sites that come to be connected differ. @returns the /64 that they give, and then those after it.
 */
export function* uniqueLocalSubnets(site: string, subnet: string): Generator<string> {
  const prefix = hash(site).subarray(0, siteBytes).toString('hex');
  const first = hash(subnet).readUInt16BE();
  for (let step = 0; step < subnetCount; step++) {
    const number = ((first + step) % subnetCount).toString(16).padStart(4, '0');
    const groups = `fd${prefix}${number}`.match(/.{4}/g) ?? [];
    yield `${groups.join(':')}::/${subnetPrefix}`;
  }
}

function hash(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
