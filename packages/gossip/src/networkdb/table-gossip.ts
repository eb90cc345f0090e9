import { retransmitLimit } from '../memberlist/config.ts';
import { type Clock, type Random, sample, type Timer } from '../runtime/index.ts';
import { type Address, type Part, toPart } from '../wire/index.ts';
import type { GossipCodec } from './codec.ts';
import type { NetworkDBConfig } from './config.ts';
import type { OwnNetwork } from './own-network.ts';
import type { Peer, PeerTable } from './peers.ts';

/** Left free in a packet for the protobuf around the events. */
const MESSAGE_OVERHEAD = 5;
/** Protobuf's cost per event of a compound, counted with some room: tags and lengths. */
const PART_OVERHEAD = 7;

export interface TableGossipOptions {
  readonly config: NetworkDBConfig;
  readonly clock: Clock;
  readonly random: Random;
  readonly codec: GossipCodec;
  readonly peers: PeerTable;
  /** Those that were left, too: their last events have to get out. */
  networks(): Iterable<OwnNetwork>;
  /** Bytes of a user message in a packet. */
  packetSize(): number;
  sendPacket(to: Address, data: Uint8Array): void;
  /** Sends reliably, in the background. */
  sendStream(to: Peer, data: Uint8Array): void;
}

/** Spreads table events among the nodes of their network, and to nobody else. */
export class TableGossip {
  readonly #options: TableGossipOptions;
  #timer: Timer | undefined;
  /** Clock time of the last tick, in ms. */
  #lastTick = Number.NEGATIVE_INFINITY;
  #closed = false;

  constructor(options: TableGossipOptions) {
    this.#options = options;
  }

  /** Queues an encoded event; `name` is its table and key. */
  queue(network: OwnNetwork, name: string, event: Uint8Array, isOwn: boolean): void {
    const part = toPart({ type: 'user', body: event });
    if (part.bytes.length - 1 + PART_OVERHEAD > this.#budget()) {
      if (isOwn) this.#sendLarge(network, event);
      return;
    }
    // Of one key only the newest event travels, whoever wrote it.
    (isOwn ? network.relayed : network.own).remove(name);
    (isOwn ? network.own : network.relayed).push(name, part);
    this.#arm();
  }

  /** What no packet holds goes to each peer by itself. */
  #sendLarge(network: OwnNetwork, event: Uint8Array): void {
    const { peers, codec, sendStream } = this.#options;
    const message = codec.encode({ type: 'compound', body: [event] });
    for (const peer of peers.activeOn(network.id)) sendStream(peer, message);
  }

  #budget(): number {
    return this.#options.packetSize() - MESSAGE_OVERHEAD;
  }

  /** After a rest the first news goes out at once but for what comes with it, then the interval holds. */
  #arm(): void {
    if (this.#timer || this.#closed) return;
    const { clock, config } = this.#options;
    const delay = Math.max(config.gossipDelay, this.#lastTick + config.gossipInterval - clock.now());
    this.#timer = clock.setTimeout(() => this.#tick(), delay);
  }

  /** Runs as long as there is something to tell. */
  #tick(): void {
    this.#timer = undefined;
    this.#lastTick = this.#options.clock.now();
    let isBusy = false;
    for (const network of this.#options.networks()) {
      if (network.own.size + network.relayed.size === 0) continue;
      this.#gossip(network);
      isBusy ||= network.own.size + network.relayed.size > 0;
    }
    if (isBusy) this.#arm();
  }

  #gossip(network: OwnNetwork): void {
    const { config, peers, random, codec, sendPacket } = this.#options;
    const active = peers.activeOn(network.id);
    const limit = retransmitLimit(config.retransmitMult, active.length + 1);
    const targets = sample(random, active, config.gossipNodes, () => true);
    if (targets.length === 0) {
      // Nobody is there to hear it; whoever comes gets it by bulk sync.
      network.own.clear();
      network.relayed.clear();
    }
    for (const target of targets) {
      const parts: Part[] = [];
      const left = network.own.take(this.#budget(), limit, parts, PART_OVERHEAD);
      network.relayed.take(left, limit, parts, PART_OVERHEAD);
      if (parts.length === 0) return;
      const body = parts.map(({ message }) => message.body as Uint8Array);
      sendPacket(target.address, codec.encode({ type: 'compound', body }));
    }
  }

  close(): void {
    this.#closed = true;
    if (this.#timer) this.#options.clock.clearTimeout(this.#timer);
  }
}
