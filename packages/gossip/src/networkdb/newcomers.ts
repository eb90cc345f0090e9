import { randomInteger, shuffle, type Timer } from '../runtime/index.ts';
import { formatAddress } from '../wire/index.ts';
import type { BulkSyncer } from './bulk-sync.ts';
import type { TableEvent } from './codec.ts';
import type { Context } from './context.ts';
import type { OwnNetwork } from './own-network.ts';
import type { Peer } from './peers.ts';

export interface NewcomersOptions {
  readonly context: Context;
  readonly bulk: BulkSyncer;
  /** Exchanges states with a peer: each then knows what networks the other is on. Rejects when it does not answer. */
  exchangeStates(address: string): Promise<unknown>;
  /** Whether a peer, and no other life of its daemon, answers. Never rejects. */
  isThere(peer: Peer): Promise<boolean>;
  /** Tells everybody that a peer is gone. */
  declareDead(peer: Peer): void;
  /** Tells the others that this node is on a network. */
  announce(network: OwnNetwork): void;
  /** Takes events that came too early. */
  replay(events: readonly TableEvent[]): void;
}

/** Sees to it that a peer which comes, comes back or is heard of late, and this node, know of each other what they should. */
export class Newcomers {
  readonly #options: NewcomersOptions;
  /** Peers that came back lately. BOUNDED by the peers. */
  readonly #returned = new Set<Peer>();
  #returnTimer: Timer | undefined;
  /** Peers that were first heard of lately. BOUNDED by the peers. */
  readonly #met = new Set<Peer>();
  #metTimer: Timer | undefined;
  #closed = false;

  constructor(options: NewcomersOptions) {
    this.#options = options;
  }

  /** Whoever held this node for dead, rightly or not, may have forgotten its networks and rows, as dockerd does. */
  declaredDead(): void {
    const { context, bulk } = this.#options;
    const peers = context.peers.all().filter((peer) => peer.state === 'alive' && bulk.common(peer).length > 0);
    shuffle(context.random, peers);
    for (const peer of peers.slice(0, context.config.syncedOnReturn)) this.returned(peer);
  }

  /**
   * A peer that was lost, or its daemon, has come back. dockerd forgets what a lost node was on, and drops what it says
   * of networks until it knows again: it is told, and a little later asked.
   */
  returned(peer: Peer): void {
    this.#returned.add(peer);
    this.#returnTimer ??= this.#later(() => this.#announceAgain());
  }

  /**
   * Two names at one address are two lives of a daemon, and news of the former may come last: who answers is the later
   * one. While neither does, both are what memberlist holds them for.
   */
  async metAtOneAddress(peer: Peer, other: Peer): Promise<void> {
    const { isThere } = this.#options;
    if (other.state !== 'alive' || (await isThere(peer))) {
      this.#end(other);
      if (!this.#closed) this.returned(peer);
    } else if (await isThere(other)) this.#end(peer);
  }

  #end(peer: Peer): void {
    if (this.#closed) return;
    this.#options.context.peers.left(peer.name);
    this.#options.declareDead(peer);
  }

  /** What a new peer is on may have been told before it was heard of: if it is not told now, some nodes ask. */
  met(peer: Peer): void {
    this.#met.add(peer);
    this.#metTimer ??= this.#later(() => {
      this.#metTimer = undefined;
      const { random, peers, config, attached } = this.#options.context;
      const met = [...this.#met];
      this.#met.clear();
      const [network] = attached();
      if (!network) return;
      for (const peer of met) {
        const isAsked = random.next() * peers.aliveCount < config.askingWhoIsNew;
        if (isAsked && peer.state === 'alive' && peer.networks.size === 0) void this.#exchangeStates(peer);
      }
    });
  }

  /**
   * Events of a peer that came too early are taken now. It is also asked for what was missed, unless it asked by itself:
   * not at once, as it is about to. dockerd mistakes an answer that crosses its own question, and then waits 30 s with its task.
   */
  attached(peer: Peer, networkId: string): void {
    const { context, bulk, replay } = this.#options;
    const network = context.networks.get(networkId);
    if (!network || network.leaving || peer.state !== 'alive') return;
    const early = network.early.get(peer.name);
    network.early.delete(peer.name);
    if (early) replay(early.events);
    const wasWhole = network.hasSynced && !early;
    network.hasSynced = true;
    const since = context.clock.now() - (wasWhole ? context.config.newcomerDelay : 0);
    this.#later(() => {
      if (network.leaving || (peer.syncedAt.get(networkId) ?? 0) >= since) return;
      void bulk.request(peer, [networkId]).then((answered) => {
        if (!answered) network.hasSynced = false;
      });
    });
  }

  /**
   * The news of what a peer is on, or that it is there at all, may not come any more; it comes with an exchange of states,
   * with the peer itself or one who may know of it.
   */
  cameEarly(network: OwnNetwork, owner: string): void {
    const { peers, random } = this.#options.context;
    this.#later(() => {
      if (!network.early.has(owner)) return;
      const others = peers.activeOn(network.id);
      const peer = peers.get(owner) ?? others[randomInteger(random, others.length)];
      if (peer) void this.#exchangeStates(peer);
    });
  }

  close(): void {
    this.#closed = true;
    for (const timer of [this.#returnTimer, this.#metTimer]) if (timer) this.#options.context.clock.clearTimeout(timer);
  }

  #announceAgain(): void {
    const { context, announce } = this.#options;
    for (const network of context.attached()) {
      network.lTime = context.networkClock.increment();
      announce(network);
    }
    this.#returnTimer = this.#later(() => {
      this.#returnTimer = undefined;
      const peers = [...this.#returned];
      this.#returned.clear();
      for (const peer of peers) if (peer.state === 'alive') void this.#syncWith(peer);
    });
  }

  /** Whose networks are not known is asked for them first. */
  async #syncWith(peer: Peer): Promise<void> {
    const { context, bulk } = this.#options;
    const [someNetwork] = context.attached();
    if (bulk.common(peer).length === 0 && someNetwork) await this.#exchangeStates(peer);
    if (!this.#closed) await bulk.request(peer, bulk.common(peer));
  }

  async #exchangeStates({ name, address }: Peer): Promise<void> {
    try {
      await this.#options.exchangeStates(formatAddress(address));
    } catch (error) {
      this.#options.context.logger.debug('a peer does not say what networks it is on', { peer: name, error });
    }
  }

  /** After the time in which a newcomer does the same by itself. */
  #later(action: () => void): Timer {
    const { clock, config } = this.#options.context;
    return clock.setTimeout(() => {
      if (!this.#closed) action();
    }, config.newcomerDelay);
  }
}
