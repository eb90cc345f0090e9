/** The published ports of plain containers: what users ask for, and from the host's reservations what they get. */
import { hasCode } from '@skein/netlink';
import { PortHeldError, type Reservations } from '../balancer/index.ts';
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

  /** @throws SkeinError Unknown in Docker's words, and with the holder's name, when all ports of the wish are taken. */
  async hold(wish: PortWish, user: PortUser): Promise<PublishedPort> {
    const { protocol, containerPort, hostAddress } = wish;
    // Two ports of one container cannot have the same port of the host either.
    const owner = `${user.containerId} ${containerPort}/${protocol}`;
    const asking = { protocol, address: hostAddress, owner, holder: `container ${user.name}` };
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
          `driver failed programming external connectivity on endpoint ${endpoint}: Bind for ${hostAddress}:${port} failed: ${why}`,
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
 * Reads HostConfig.PortBindings, and for `--publish-all` the exposed ports. IPv6 host addresses lead nowhere yet.
 * @throws SkeinError InvalidArgument in Docker's words, Unimplemented for IPv6 host addresses.
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
      if (HostIp.includes(':')) {
        throw new SkeinError(
          'Unimplemented',
          `Skein does not publish on IPv6 addresses of plain containers: ${HostIp}`,
        );
      }
      const [first = '', last = first] = HostPort.split('-');
      const range = [first, last].map((text) => (text === '' ? 0 : numberOf(text, HostPort)));
      const [firstHostPort = 0, lastHostPort = 0] = range;
      wishes.push({ protocol, containerPort, hostAddress: HostIp || '0.0.0.0', firstHostPort, lastHostPort });
    }
  }
  if (!publishAll) return wishes;
  for (const key of exposed) {
    if (bindings[key] !== undefined) continue;
    const { protocol, port: containerPort } = parsePort(key);
    wishes.push({ protocol, containerPort, hostAddress: '0.0.0.0', firstHostPort: 0, lastHostPort: 0 });
  }
  return wishes;
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
