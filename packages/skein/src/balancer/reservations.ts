/**
 * Who has which port of this host: mesh, tasks and plain containers ask here. Each port that leads to a container is held
 * by a socket of the daemon, whose packets the rules lead elsewhere: so no other program can take it, and a port that
 * another program has is not taken from it.
 */
import type { AddressInfo } from 'node:net';
import { hasCode, type NetworkNamespace, tcpServerIn, udpSocketIn } from '@skein/netlink';
import { SkeinError } from '../common/index.ts';
import { openIpv6Relay } from './ipv6-relay.ts';
import { holderOf } from './port-holder.ts';
import { anyAddress, overlap, type PortPlace, placeKey } from './port-place.ts';

/** Who wants which port. */
export interface PortClaim extends PortPlace {
  /** One's own reservations are no clash. */
  readonly owner: string;
  /** The owner in the user's words. */
  readonly holder: string;
}

/** The port is another's. */
export class PortHeldError extends SkeinError {
  override readonly name = 'PortHeldError';
  readonly holder: string;

  constructor({ protocol, port }: Pick<PortPlace, 'protocol' | 'port'>, holder: string, options?: ErrorOptions) {
    super('FailedPrecondition', `port ${port}/${protocol} of this host is held by ${holder}`, options);
    this.holder = holder;
  }
}

interface Reservation {
  claim: PortClaim;
  /** Undefined while the socket is being opened. */
  close: (() => void) | undefined;
}

export class Reservations implements Disposable {
  readonly #host: NetworkNamespace;
  /** BOUNDED by the published ports of the cluster and of this host's containers. */
  readonly #held = new Map<string, Reservation>();

  constructor(host: NetworkNamespace) {
    this.#host = host;
  }

  /**
   * Holds the port until it is released; safe to repeat, and takes over other words for the holder. @returns the port.
   * @throws PortHeldError naming who has it; Error EADDRNOTAVAIL when the host has no such address.
   */
  async hold(claim: PortClaim): Promise<number> {
    const clash = claim.port === 0 ? undefined : this.#clash(claim);
    if (clash !== undefined) throw new PortHeldError(claim, clash.holder);
    const known = this.#held.get(placeKey(claim));
    if (known !== undefined) {
      known.claim = claim;
      return claim.port;
    }
    const reservation: Reservation = { claim, close: undefined };
    // From now on, not from when the socket is there: who asks meanwhile is told.
    if (claim.port !== 0) this.#held.set(placeKey(claim), reservation);
    try {
      const { port, close } = await this.#open(claim);
      const closeRelay = await this.#relay({ ...claim, port }).catch((error: unknown) => {
        close();
        throw error;
      });
      reservation.close = () => {
        close();
        closeRelay?.();
      };
      reservation.claim = { ...claim, port };
      this.#held.set(placeKey(reservation.claim), reservation);
      return port;
    } catch (error) {
      this.#held.delete(placeKey(claim));
      if (!hasCode(error, 'EADDRINUSE')) throw error;
      const holder = holderOf(this.#host, claim) ?? 'a socket that has ended meanwhile';
      throw new PortHeldError(claim, holder, { cause: error });
    }
  }

  /** Lets go. No error when it is not held. */
  release(place: PortPlace): void {
    this.#held.get(placeKey(place))?.close?.();
    this.#held.delete(placeKey(place));
  }

  [Symbol.dispose](): void {
    for (const { close } of this.#held.values()) close?.();
    this.#held.clear();
  }

  /** @returns a claim of somebody else to the same port at an address in common. */
  #clash({ protocol, address, port, owner }: PortClaim): PortClaim | undefined {
    for (const { claim } of this.#held.values()) {
      if (claim.protocol !== protocol || claim.port !== port || claim.owner === owner) continue;
      if (overlap(claim.address, address)) return claim;
    }
    return undefined;
  }

  /** All addresses of the host are those of IPv6, too. */
  async #relay({ protocol, address, port }: PortClaim): Promise<(() => void) | undefined> {
    return protocol === 'sctp' || address !== anyAddress ? undefined : openIpv6Relay(this.#host, protocol, port);
  }

  async #open({ protocol, address, port }: PortClaim): Promise<{ port: number; close: () => void }> {
    // Node has no SCTP; its ports are a space of their own which hardly any program uses.
    if (protocol === 'sctp') return { port, close: () => undefined };
    if (protocol === 'udp') {
      const socket = await udpSocketIn(this.#host, { address, port });
      socket.unref();
      return { port: socket.address().port, close: () => socket.close() };
    }
    const server = await tcpServerIn(this.#host, { address, port }, (stray) => stray.destroy());
    server.unref();
    return { port: (server.address() as AddressInfo).port, close: () => server.close() };
  }
}
