import type { Memberlist } from '../memberlist/index.ts';
import { type Clock, type Logger, type Random, randomInteger, sleep, type Timer } from '../runtime/index.ts';
import { formatAddress, parseAddress } from '../wire/index.ts';
import type { NetworkDBConfig } from './config.ts';
import type { Peer } from './peers.ts';

export interface RejoinerOptions {
  readonly config: NetworkDBConfig;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly memberlist: Memberlist;
  readonly port: number;
  failed(): readonly Peer[];
  /** Whether a living peer is at `host:port`. */
  isMember(address: string): boolean;
  /** The cluster, or a part of it, was joined. */
  joined(): void;
  /** A failed peer answered. */
  reconnected(peer: Peer): void;
}

/** Keeps the cluster whole: joins bootstrap addresses again and again, and tries failed peers until they return. */
export class Rejoiner {
  readonly #options: RejoinerOptions;
  readonly #stop = new AbortController();
  /** The addresses of the last `bootstrap`. */
  #bootstrap: string[] = [];
  #rejoinTimer: Timer | undefined;
  #reconnectTimer: Timer | undefined;

  constructor(options: RejoinerOptions) {
    this.#options = options;
  }

  /** Joins; tries for up to config.rejoinDuration. Resolves to the number of addresses that answered. */
  async bootstrap(addresses: readonly string[]): Promise<number> {
    const { self } = this.#options.memberlist;
    const own = formatAddress(self.address);
    const wanted = addresses.map((address) => formatAddress(parseAddress(address, this.#options.port)));
    this.#bootstrap = [...new Set(wanted)].filter((address) => address !== own);
    this.#schedule();
    return this.#join();
  }

  async #join(): Promise<number> {
    const { clock, config, memberlist, logger, joined } = this.#options;
    const until = clock.now() + config.rejoinDuration;
    for (;;) {
      if (this.#bootstrap.length === 0 || this.#stop.signal.aborted) return 0;
      try {
        const count = await memberlist.join(this.#bootstrap);
        if (!this.#stop.signal.aborted) joined();
        return count;
      } catch (error) {
        if (this.#stop.signal.aborted) return 0;
        logger.warn('no bootstrap address could be joined', { addresses: this.#bootstrap, error });
        if (clock.now() + config.rejoinRetry > until) return 0;
      }
      await sleep(clock, config.rejoinRetry, this.#stop.signal);
    }
  }

  #schedule(): void {
    const { clock, config } = this.#options;
    if (this.#stop.signal.aborted) return;
    if (this.#rejoinTimer) clock.clearTimeout(this.#rejoinTimer);
    this.#rejoinTimer = clock.setTimeout(() => {
      this.#schedule();
      if (this.#isCutOff()) void this.#join();
    }, config.rejoinInterval);
  }

  #isCutOff(): boolean {
    return this.#bootstrap.length > 0 && !this.#bootstrap.some(this.#options.isMember);
  }

  /** Call it when a peer has failed. */
  peerFailed(): void {
    const { clock, config } = this.#options;
    if (this.#reconnectTimer || this.#stop.signal.aborted) return;
    this.#reconnectTimer = clock.setTimeout(() => {
      void this.#reconnect().then(() => {
        this.#reconnectTimer = undefined;
        if (this.#options.failed().length > 0) this.peerFailed();
      });
    }, config.reconnectInterval);
  }

  async #reconnect(): Promise<void> {
    const { random, memberlist, logger } = this.#options;
    const failed = this.#options.failed();
    const peer = failed[randomInteger(random, failed.length)];
    if (!peer) return;
    try {
      await memberlist.join([formatAddress(peer.address)]);
      if (!this.#stop.signal.aborted) this.#options.reconnected(peer);
    } catch (error) {
      logger.debug('a failed peer is still away', { peer: peer.name, error });
    }
  }

  close(): void {
    this.#stop.abort();
    for (const timer of [this.#rejoinTimer, this.#reconnectTimer]) if (timer) this.#options.clock.clearTimeout(timer);
  }
}
