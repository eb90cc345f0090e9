/** IPv6 on a link of ours: off unless the link has a part in a network with IPv6. */
import {
  hasCode,
  type Link,
  type NetworkNamespace,
  normalizeAddress,
  Prefix,
  type RouteSocket,
  readSysctl,
  writeSysctl,
} from '@skein/netlink';
import { SkeinError } from '../common/index.ts';
import { isOurAlias, plainAddress } from './names.ts';

/**
 * linux/Documentation/networking/ip-sysctl.rst. The manager gives an address once only, so nobody is asked for
 * duplicates: the address works at once. Nobody routes on an overlay network: what a container there says to be a router's
 * advertisement is not believed.
 */
const settings = { accept_dad: 0, accept_ra: 0, autoconf: 0, disable_ipv6: 0 } as const;
/** Of links that only pass on: no link-local address (IN6_ADDR_GEN_MODE_NONE). */
const silentSettings = { addr_gen_mode: 1, ...settings } as const;

/** Lets a link have IPv6 neighbours, but no address. @throws SkeinError FailedPrecondition when the kernel has no IPv6. */
export function ensureIpv6Neighbours(namespace: NetworkNamespace, name: string): void {
  for (const [setting, value] of Object.entries(silentSettings)) ensureSetting(namespace, name, setting, `${value}`);
}

/**
 * Gives a link an IPv6 address (CIDR), if it has not got it. `route` is of the namespace.
 * @throws SkeinError FailedPrecondition when the kernel has no IPv6.
 */
export function ensureIpv6Address(
  namespace: NetworkNamespace,
  route: RouteSocket,
  { index, name }: Pick<Link, 'index' | 'name'>,
  cidr: string,
): void {
  for (const [setting, value] of Object.entries(settings)) ensureSetting(namespace, name, setting, `${value}`);
  const address = normalizeAddress(plainAddress(cidr));
  const prefixLength = Prefix.parse(cidr).length;
  const present = route.addresses.list({ index, family: 'ipv6' });
  if (present.some((entry) => entry.address === address && entry.prefixLength === prefixLength)) return;
  route.addresses.replace({ index, address, prefixLength, skipDuplicateDetection: true });
}

/** @returns whether containers of this host can have IPv6: the kernel has it, and the host has not turned it off. */
export function hasIpv6(host: NetworkNamespace): boolean {
  try {
    return readSysctl(host, 'net.ipv6.conf.all.disable_ipv6') === '0';
  } catch (error) {
    if (hasCode(error, 'ENOENT')) return false;
    throw error;
  }
}

/** @returns whether the host has an address of IPv6 by which others may reach it, on a link that is not ours. */
export function isReachableByIpv6(route: RouteSocket): boolean {
  const ours = new Set(route.links.list().flatMap(({ index, alias }) => (isOurAlias(alias) ? index : [])));
  return route.addresses.list({ family: 'ipv6' }).some(({ index, scope }) => scope === 'global' && !ours.has(index));
}

/** A router believes no advertisements, unless it is told to with this value. */
const acceptRaAsRouter = '2';
const forwarding = 'net.ipv6.conf.all.forwarding';

/**
 * Has the host pass on packets of IPv6. What it has learned from router advertisements stays: the kernel would forget it,
 * and learn no more. @throws SkeinError FailedPrecondition when the kernel has no IPv6.
 */
export function ensureIpv6Forwarding(host: NetworkNamespace, route: RouteSocket): void {
  try {
    if (readSysctl(host, forwarding) === '1') return;
    const learned = route.routes.list({ family: 'ipv6' }).filter(({ protocol }) => protocol === 'ra');
    const advertised = new Set(learned.map(({ index }) => index));
    for (const { name } of route.links.list().filter(({ index }) => advertised.has(index))) {
      const path = `net/ipv6/conf/${name}/accept_ra`;
      if (readSysctl(host, path) === '1') writeSysctl(host, path, acceptRaAsRouter);
    }
    writeSysctl(host, forwarding, 1);
  } catch (cause) {
    if (!hasCode(cause, 'ENOENT')) throw cause;
    throw new SkeinError('FailedPrecondition', 'IPv6 cannot be passed on: this kernel has no IPv6', { cause });
  }
}

/** Has the host believe no router advertisements from containers on a bridge. No error when the kernel has no IPv6. */
export function distrustAdvertisements(host: NetworkNamespace, bridge: string): void {
  try {
    ensureSetting(host, bridge, 'accept_ra', '0');
  } catch (error) {
    if (!(error instanceof SkeinError)) throw error;
  }
}

function ensureSetting(namespace: NetworkNamespace, link: string, setting: string, value: string): void {
  const path = `net/ipv6/conf/${link}/${setting}`;
  try {
    if (readSysctl(namespace, path) !== value) writeSysctl(namespace, path, value);
  } catch (cause) {
    if (!hasCode(cause, 'ENOENT')) throw cause;
    throw new SkeinError('FailedPrecondition', `${link} cannot have an IPv6 address: this kernel has no IPv6`, {
      cause,
    });
  }
}
