import type { Address } from '../wire/index.ts';
import { formatAddress, WireError } from '../wire/index.ts';
import type { BulkSyncer } from './bulk-sync.ts';
import type { BulkSync, NetworkPushPull, TableEvent } from './codec.ts';
import { type Context, NEVER } from './context.ts';
import type { EntryWriter } from './entry-writer.ts';
import { keepEarly, type OwnNetwork } from './own-network.ts';
import type { TableGossip } from './table-gossip.ts';

/** Table events arrive in a compound; one within another is not sent by anybody. */
const MAX_NESTING = 2;

export interface InboxOptions {
  readonly context: Context;
  readonly writer: EntryWriter;
  readonly bulk: BulkSyncer;
  readonly gossip: TableGossip;
  /** The first event of an owner came before the news that he is on the network. */
  cameEarly(network: OwnNetwork, owner: string): void;
  /** Passes news on to the whole cluster. */
  pass(name: string, data: Uint8Array): void;
}

/** What the other nodes say: node, network and table events, bulk syncs, push/pull states. */
export class Inbox {
  readonly #options: InboxOptions;
  readonly #context: Context;

  constructor(options: InboxOptions) {
    this.#options = options;
    this.#context = options.context;
  }

  /** Handles a user message; what breaks the rules is counted and dropped. */
  receive(data: Uint8Array, from: Address): void {
    try {
      this.#handle(data, from, 0);
    } catch (error) {
      this.#context.drops.add(error instanceof WireError ? error.code : 'failed');
      this.#context.logger.debug('gossip dropped', { from: formatAddress(from), error });
    }
  }

  #handle(data: Uint8Array, from: Address, depth: number): void {
    const message = this.#context.codec.decode(data);
    switch (message.type) {
      case 'node':
        this.#context.networkClock.witness(message.body.lTime);
        if (this.#context.peers.nodeEvent(message.body)) this.#pass(`node ${message.body.nodeName}`, data);
        return;
      case 'network': {
        const { lTime, networkId, nodeName } = message.body;
        this.#context.networkClock.witness(lTime);
        if (this.#context.peers.networkEvent(message.body)) this.#pass(`network ${networkId} ${nodeName}`, data);
        return;
      }
      case 'table':
        this.#handleTableEvent(message.body, data, false);
        return;
      case 'bulkSync':
        this.#handleBulkSync(message.body, from);
        return;
      case 'compound':
        if (depth >= MAX_NESTING) throw new WireError('malformed', 'compounds too deep');
        for (const part of message.body) this.#handle(part, from, depth + 1);
        return;
      default:
        throw new WireError('unsupported', `${message.type} as a user message`);
    }
  }

  /** Takes events that were kept until their owner was known to be on the network. */
  replay(events: readonly TableEvent[]): void {
    for (const event of events) {
      this.#handleTableEvent(event, this.#context.codec.encode({ type: 'table', body: event }), false);
    }
  }

  #pass(name: string, data: Uint8Array): void {
    this.#options.pass(name, data);
  }

  #handleBulkSync(message: BulkSync, from: Address): void {
    this.#context.tableClock.witness(message.lTime);
    for (const data of message.events) {
      const inner = this.#context.codec.decode(data);
      if (inner.type === 'table') this.#handleTableEvent(inner.body, data, true);
      else this.#context.drops.add('unsupported');
    }
    this.#options.bulk.received(message, from);
  }

  #handleTableEvent(event: TableEvent, data: Uint8Array, isBulkSync: boolean): void {
    this.#context.received.add(event.networkId);
    this.#context.tableClock.witness(event.lTime);
    const network = this.#context.networks.get(event.networkId);
    if (!network || network.leaving) {
      this.#context.drops.add('other-network');
      return;
    }
    if (event.nodeName === this.#context.self) {
      this.#defend(network, event);
      return;
    }
    if (!this.#context.peers.isOn(event.nodeName, event.networkId)) {
      const isFirst = keepEarly(network, event, this.#context.clock.now());
      if (isFirst) this.#options.cameEarly(network, event.nodeName);
      this.#context.drops.add('owner-not-on-network');
      return;
    }
    if (!this.#applyTableEvent(event)) return;
    if (!network.inSync || (isBulkSync && network.relayed.size > this.#context.config.maxRelayedOnSync)) return;
    this.#options.gossip.queue(network, `${event.tableName} ${event.key}`, data, false);
  }

  /**
   * Takes an event that is newer than what is known; false for others. Of two owners who wrote at the same Lamport time
   * the greater name wins: the protocol has no rule for that, and without one their nodes would differ for ever.
   */
  #applyTableEvent(event: TableEvent): boolean {
    const { networkId, tableName, key, lTime, nodeName, value } = event;
    const known = this.#context.store.get(networkId, tableName, key);
    if (known && (lTime < known.lTime || (lTime === known.lTime && nodeName <= known.owner))) return false;
    if (!known && !this.#context.store.hasRoom(networkId)) {
      this.#context.drops.add('network-full');
      return false;
    }
    const deleted = event.type === 'delete';
    const residual = event.residualReapTime > 0 ? event.residualReapTime * 1_000 : this.#context.config.reapEntry;
    const reapAt = deleted ? this.#context.clock.now() + Math.min(residual, this.#context.config.reapEntry) : NEVER;
    this.#context.store.set(networkId, tableName, key, { owner: nodeName, lTime, value, deleted, reapAt });
    return true;
  }

  /**
   * Somebody holds something else under this node's name, such as the tombstone that an older Docker makes for an owner
   * that it lost sight of. The owner knows best: it says its word again with a newer time.
   */
  #defend(network: OwnNetwork, event: TableEvent): void {
    const { writer } = this.#options;
    const { tableName, key } = event;
    const known = this.#context.store.get(network.id, tableName, key);
    if (known && known.owner !== this.#context.self) return;
    if (known && event.lTime < known.lTime) return;
    if (known && !known.deleted) {
      const isSame = event.type !== 'delete' && Buffer.compare(event.value, known.value) === 0;
      if (!isSame) writer.write('update', network, tableName, key, writer.live(known.value));
    } else if (event.type !== 'delete' && this.#context.store.hasRoom(network.id)) {
      writer.write('delete', network, tableName, key, writer.tombstone(event.value));
    }
  }

  /** What a push/pull tells a peer about networks: this node's own and those of all others. */
  localState(join: boolean): Uint8Array {
    if (join) for (const network of this.#context.attached()) network.lTime = this.#context.networkClock.increment();
    const nodeName = this.#context.self;
    const networks: NetworkPushPull['networks'] = [
      ...[...this.#context.networks.values()].map(({ id, lTime, leaving }) => ({
        networkId: id,
        lTime,
        nodeName,
        leaving,
      })),
      ...this.#context.peers.attachments(),
    ];
    return this.#context.codec.encode({
      type: 'pushPull',
      body: { lTime: this.#context.networkClock.time, nodeName, networks },
    });
  }

  /**
   * Takes what a push/pull told, and passes on what of it is news, unless `quiet`: whoever does not exchange states
   * himself, such as the others of a group that meets another, would not hear of it.
   */
  mergeState(state: Uint8Array, quiet: boolean): void {
    try {
      const message = this.#context.codec.decode(state);
      if (message.type !== 'pushPull') throw new WireError('unsupported', `${message.type} as push/pull state`);
      const { lTime, nodeName, networks } = message.body;
      this.#context.networkClock.witness(lTime);
      this.#context.peers.nodeEvent({ type: 'join', lTime, nodeName });
      for (const { leaving, ...entry } of networks) {
        this.#context.networkClock.witness(entry.lTime);
        const event = { type: leaving ? 'leave' : 'join', ...entry } as const;
        if (!this.#context.peers.networkEvent(event) || quiet) continue;
        this.#pass(
          `network ${entry.networkId} ${entry.nodeName}`,
          this.#context.codec.encode({ type: 'network', body: event }),
        );
      }
    } catch (error) {
      this.#context.drops.add(error instanceof WireError ? error.code : 'failed');
      this.#context.logger.debug('push/pull state dropped', { error });
    }
  }
}
