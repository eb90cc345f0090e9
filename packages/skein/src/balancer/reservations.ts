/**
 * Who has which port of this host: mesh, tasks and plain containers ask here. Each port that leads to a container is held
 * by a socket of the daemon, whose packets the rules lead elsewhere: so no other program can take it, and a port that
 * another program has is not taken from it.
 *
 * A port at all addresses is of IPv6, too, by a relay: there only what the rules do not lead elsewhere arrives. Where
 * another program has the port of IPv6, that of IPv4 works all the same, and it is tried again.
 */
import { type AddressInfo, isIPv6 } from 'node:net';
import { hasCode, type NetworkNamespace, tcpServerIn, udpSocketIn } from '@skein/netlink';
import { errorText, type Logger, SkeinError } from '../common/index.ts';
import { type Ipv6Relay, openIpv6Relay, type RelayEnd } from './ipv6-relay.ts';
import { holderOf } from './port-holder.ts';
import { anyAddress, anyIpv6Address, overlap, type PortPlace, placeKey } from './port-place.ts';

/** Who wants which port. */
export interface PortClaim extends PortPlace {
  /** One's own reservations are no clash. */
  readonly owner: string;
  /** The owner in the user's words. */
  readonly holder: string;
  /** Where a port of an IPv6 address leads what no rule leads there; needed for TCP and UDP at such an address. */
  readonly relayTo?: RelayEnd | undefined;
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
  /** The port's other half, at all addresses of IPv6. */
  relay: Ipv6Relay | undefined;
  /** Why there is no relay although there should be one: said once. */
  relayProblem: string | undefined;
}

/** Here the rules of IPv4 take over. */
const loopback = '127.0.0.1';
const defaultRetryMs = 2_000;
/** The host has no IPv6: nobody comes by it. */
const noIpv6 = ['EADDRNOTAVAIL', 'EAFNOSUPPORT'] as const;

export interface ReservationOptions {
  readonly logger: Logger;
  /** After how long a port of IPv6 that another program has is tried again; milliseconds. */
  readonly retryMs?: number;
}

export class Reservations implements Disposable {
  readonly #host: NetworkNamespace;
  readonly #logger: Logger;
  readonly #retry: NodeJS.Timeout;
  #isRetrying = false;
  /** BOUNDED by the published ports of the cluster and of this host's containers. */
  readonly #held = new Map<string, Reservation>();
  /** BOUNDED by the rooms that publish ports. */
  readonly #listeners = new Set<() => void>();

  constructor(host: NetworkNamespace, { logger, retryMs = defaultRetryMs }: ReservationOptions) {
    this.#host = host;
    this.#logger = logger;
    this.#retry = setInterval(() => void this.#retryRelays(), retryMs);
    this.#retry.unref();
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
    const reservation: Reservation = { claim, close: undefined, relay: undefined, relayProblem: undefined };
    // From now on, not from when the socket is there: who asks meanwhile is told.
    if (claim.port !== 0) this.#held.set(placeKey(claim), reservation);
    try {
      const { port, close } = await this.#open(claim);
      reservation.close = close;
      reservation.claim = { ...claim, port };
      this.#held.set(placeKey(reservation.claim), reservation);
      await this.#openRelay(reservation);
      return port;
    } catch (error) {
      this.#held.delete(placeKey(claim));
      if (!hasCode(error, 'EADDRINUSE')) throw error;
      throw new PortHeldError(claim, this.#holderOf(claim), { cause: error });
    }
  }

  /** Lets go. No error when it is not held. */
  release(place: PortPlace): void {
    const reservation = this.#held.get(placeKey(place));
    this.#held.delete(placeKey(place));
    if (reservation !== undefined) close(reservation);
  }

  /** @returns whether the port is ours at addresses of IPv6, too: else rules must not lead it anywhere there. */
  holdsIpv6(place: PortPlace): boolean {
    const reservation = this.#held.get(placeKey(place));
    if (reservation === undefined) return false;
    return isIPv6(place.address) || reservation.relay !== undefined;
  }

  /** Calls when a port of IPv6 that another program had has come to us. @returns what ends that. */
  onIpv6(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#retry);
    for (const reservation of this.#held.values()) close(reservation);
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

  #holderOf(place: PortPlace): string {
    return holderOf(this.#host, place) ?? 'a socket that has ended meanwhile';
  }

  async #retryRelays(): Promise<void> {
    if (this.#isRetrying) return;
    this.#isRetrying = true;
    let hasNew = false;
    for (const reservation of this.#held.values()) {
      if (reservation.relayProblem === undefined) continue;
      await this.#openRelay(reservation);
      hasNew ||= reservation.relay !== undefined;
    }
    this.#isRetrying = false;
    if (hasNew) for (const listener of this.#listeners) listener();
  }

  /** All addresses of the host are those of IPv6, too. A relay that cannot be had is said, and tried again. */
  async #openRelay(reservation: Reservation): Promise<void> {
    const { protocol, address, port } = reservation.claim;
    if (protocol === 'sctp' || address !== anyAddress) return;
    try {
      const from = { address: anyIpv6Address, port };
      const relay = await openIpv6Relay(this.#host, protocol, from, { address: loopback, port });
      if (this.#held.get(placeKey(reservation.claim)) !== reservation) return relay[Symbol.dispose]();
      if (reservation.relayProblem !== undefined) {
        this.#logger.info({ port, protocol }, 'a published port has come free for clients of IPv6');
      }
      reservation.relay = relay;
      reservation.relayProblem = undefined;
    } catch (error) {
      if (hasCode(error, ...noIpv6)) return;
      const isTaken = hasCode(error, 'EADDRINUSE');
      const problem = isTaken
        ? new PortHeldError({ protocol, port }, this.#holderOf({ protocol, address: anyIpv6Address, port })).message
        : errorText(error);
      if (reservation.relayProblem !== problem) {
        this.#logger.warn({ port, protocol, error: problem }, 'a published port is not to be had by IPv6');
      }
      reservation.relayProblem = problem;
    }
  }

  async #open(claim: PortClaim): Promise<{ port: number; close: () => void }> {
    const { protocol, address, port, relayTo } = claim;
    // Node has no SCTP; its ports are a space of their own which hardly any program uses.
    if (protocol === 'sctp') return { port, close: () => undefined };
    if (isIPv6(address) && relayTo !== undefined) {
      const relay = await openIpv6Relay(this.#host, protocol, { address, port }, relayTo);
      return { port: relay.port, close: () => relay[Symbol.dispose]() };
    }
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

function close({ close: closeSocket, relay }: Reservation): void {
  closeSocket?.();
  relay?.[Symbol.dispose]();
}
