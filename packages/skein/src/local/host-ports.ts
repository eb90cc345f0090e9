/** The published ports of plain containers: what users ask for, and from the host's reservations what they get. */
import { isIP, isIPv6 } from 'node:net';
import { hasCode, normalizeAddress } from '@skein/netlink';
import { anyAddress, anyIpv6Address, PortHeldError, type Reservations } from '../balancer/index.ts';
import { SkeinError } from '../common/index.ts';
import type { PublishedPort } from './types.ts';

/** What the user asks for; host port 0 = any, and of a range the first that is free. */
export interface PortWish {
  readonly protocol: PublishedPort['protocol'];
  readonly containerPort: number;
  readonly hostAddress: string;
  readonly firstHostPort: number;
  readonly lastHostPort: number;
}

/** Who asks for a port. */
export interface PortUser {
  readonly containerId: string;
  readonly name: string;
}

export class HostPorts {
  readonly #reservations: Pick<Reservations, 'hold' | 'release'>;

  constructor(reservations: Pick<Reservations, 'hold' | 'release'>) {
    this.#reservations = reservations;
  }

  /**
   * @param relayTo the container's IPv4 address: there goes what comes to an IPv6 address and no rule leads elsewhere.
   * @throws SkeinError Unknown in Docker's words, and with the holder's name, when all ports of the wish are taken.
   */
  async hold(wish: PortWish, user: PortUser, relayTo?: string): Promise<PublishedPort> {
    const { protocol, containerPort, hostAddress } = wish;
    // Two ports of one container cannot have the same port of the host either.
    const owner = `${user.containerId} ${containerPort}/${protocol}`;
    const asking = {
      protocol,
      address: hostAddress,
      owner,
      holder: `container ${user.name}`,
      ...(relayTo !== undefined && { relayTo: { address: relayTo, port: containerPort } }),
    };
    for (let port = wish.firstHostPort; port <= wish.lastHostPort; port++) {
      try {
        const hostPort = await this.#reservations.hold({ ...asking, port });
        return { protocol, containerPort, hostAddress, hostPort };
      } catch (error) {
        if (!(error instanceof PortHeldError) && !hasCode(error, 'EADDRNOTAVAIL')) throw error;
        if (port < wish.lastHostPort) continue;
        const why =
          error instanceof PortHeldError
            ? `port is already allocated: it is held by ${error.holder}`
            : 'the host has no such address';
        const endpoint = `${user.name} (${user.containerId.slice(0, 12)})`;
        throw new SkeinError(
          'Unknown',
          `driver failed programming external connectivity on endpoint ${endpoint}: Bind for ${isIPv6(hostAddress) ? `[${hostAddress}]` : hostAddress}:${port} failed: ${why}`,
          { cause: error },
        );
      }
    }
    throw new SkeinError('InvalidArgument', `invalid port range ${wish.firstHostPort}-${wish.lastHostPort}`);
  }

  release({ protocol, hostAddress, hostPort }: PublishedPort): void {
    this.#reservations.release({ protocol, address: hostAddress, port: hostPort });
  }
}

const protocols: readonly string[] = ['tcp', 'udp', 'sctp'] satisfies PublishedPort['protocol'][];
const highestPort = 65535;

/**
 * Reads HostConfig.PortBindings, and for `--publish-all` the exposed ports. All addresses of the host are those of IPv6,
 * too: who asks for both has one port. @throws SkeinError InvalidArgument in Docker's words.
 */
export function portWishes(
  bindings: Readonly<Record<string, readonly { HostIp: string; HostPort: string }[] | null>>,
  exposed: readonly string[],
  publishAll: boolean,
): PortWish[] {
  const wishes: PortWish[] = [];
  for (const [key, hosts] of Object.entries(bindings)) {
    const { protocol, port: containerPort } = parsePort(key);
    for (const { HostIp, HostPort } of hosts ?? []) {
      const hostAddress = hostAddressOf(HostIp);
      const isAlsoAt = (address: string): boolean =>
        (hosts ?? []).some((other) => hostAddressOf(other.HostIp) === address && other.HostPort === HostPort);
      if (hostAddress === anyIpv6Address && isAlsoAt(anyAddress)) continue;
      const [first = '', last = first] = HostPort.split('-');
      const range = [first, last].map((text) => (text === '' ? 0 : numberOf(text, HostPort)));
      const [firstHostPort = 0, lastHostPort = 0] = range;
      wishes.push({ protocol, containerPort, hostAddress, firstHostPort, lastHostPort });
    }
  }
  if (!publishAll) return wishes;
  for (const key of exposed) {
    if (bindings[key] !== undefined) continue;
    const { protocol, port: containerPort } = parsePort(key);
    wishes.push({ protocol, containerPort, hostAddress: anyAddress, firstHostPort: 0, lastHostPort: 0 });
  }
  return wishes;
}

function hostAddressOf(text: string): string {
  if (text === '') return anyAddress;
  if (isIP(text) === 0) throw new SkeinError('InvalidArgument', `invalid IP address: ${text}`);
  return normalizeAddress(text);
}

/** @param key `80/tcp`, `80`. */
function parsePort(key: string): { protocol: PublishedPort['protocol']; port: number } {
  const [port = '', protocol = 'tcp'] = key.split('/');
  if (!isProtocol(protocol)) throw new SkeinError('InvalidArgument', `Invalid protocol: ${protocol}`);
  return { protocol, port: numberOf(port, key) };
}

function isProtocol(word: string): word is PublishedPort['protocol'] {
  return protocols.includes(word);
}

function numberOf(text: string, whole: string): number {
  const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (number >= 0 && number <= highestPort) return number;
  throw new SkeinError('InvalidArgument', `invalid port specification: "${whole}"`);
}
