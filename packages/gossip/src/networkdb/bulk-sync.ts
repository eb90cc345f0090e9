import { type Clock, getOrCreate, type Logger, type Random, shuffle, type Timer } from '../runtime/index.ts';
import type { Address } from '../wire/index.ts';
import type { BulkSync, GossipCodec } from './codec.ts';
import type { NetworkDBConfig } from './config.ts';
import type { LamportClock } from './lamport.ts';
import type { OwnNetwork } from './own-network.ts';
import type { Peer, PeerTable } from './peers.ts';
import type { TableStore } from './tables.ts';

export interface BulkSyncerOptions {
  readonly self: string;
  readonly config: NetworkDBConfig;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly codec: GossipCodec;
  readonly tableClock: LamportClock;
  readonly peers: PeerTable;
  readonly store: TableStore;
  /** The networks that this node is on. */
  networks(): Iterable<OwnNetwork>;
  /** Sends a reliable message; rejects if it did not arrive. */
  send(to: Address, data: Uint8Array): Promise<void>;
}

type Settle = (answered: boolean) => void;

/** What a node asked for before it was known, which was at `since` (clock time in ms). */
interface EarlyRequest {
  readonly networkIds: readonly string[];
  readonly since: number;
}
const MAX_EARLY_REQUESTS = 64;

/** Exchanges whole networks with single peers: at joining, every 30 s, and when something was missed. */
export class BulkSyncer {
  readonly #options: BulkSyncerOptions;
  /** Who waits for the answer of a peer. BOUNDED by the peers times the callers' own bounds. */
  readonly #waiting = new Map<string, Set<Settle>>();
  /** By name, the oldest first. BOUNDED by MAX_EARLY_REQUESTS. */
  readonly #early = new Map<string, EarlyRequest>();
  #timer: Timer | undefined;
  #closed = false;

  constructor(options: BulkSyncerOptions) {
    this.#options = options;
  }

  start(): void {
    this.#schedule(this.#options.random.next());
  }

  #schedule(stagger: number): void {
    if (this.#closed) return;
    this.#timer = this.#options.clock.setTimeout(() => {
      this.#round().catch((error: unknown) => this.#options.logger.warn('bulk sync round failed', { error }));
      this.#schedule(1);
    }, this.#options.config.bulkSyncInterval * stagger);
  }

  /** One random peer per network, a second if the first cannot be reached; a peer covers all networks in common. */
  async #round(): Promise<void> {
    const covered = new Set<string>();
    for (const network of [...this.#options.networks()]) {
      if (covered.has(network.id)) continue;
      const peers = [...this.#options.peers.activeOn(network.id)];
      shuffle(this.#options.random, peers);
      for (const peer of peers.slice(0, 2)) {
        const common = this.common(peer);
        if (!(await this.#sendEntries(peer.address, common, true, peer.name))) continue;
        for (const id of common) covered.add(id);
        break;
      }
    }
  }

  /** Networks that both this node and the peer are on. */
  common(peer: Peer): string[] {
    const { networks, peers } = this.#options;
    return [...networks()].map(({ id }) => id).filter((id) => peers.isOn(peer.name, id));
  }

  /** Asks a peer for its entries while sending ours; false when it did not answer in time. Never rejects. */
  request(peer: Peer, networkIds: readonly string[]): Promise<boolean> {
    if (networkIds.length === 0 || this.#closed) return Promise.resolve(false);
    const { clock, config } = this.#options;
    return new Promise((resolve) => {
      const waiting = getOrCreate(this.#waiting, peer.name, () => new Set<Settle>());
      const settle = (answered: boolean): void => {
        clock.clearTimeout(timer);
        waiting.delete(settle);
        if (waiting.size === 0 && this.#waiting.get(peer.name) === waiting) this.#waiting.delete(peer.name);
        resolve(answered);
      };
      const timer = clock.setTimeout(() => settle(false), config.bulkSyncTimeout);
      waiting.add(settle);
      this.#sendEntries(peer.address, networkIds, true, peer.name).then(
        (sent) => sent || settle(false),
        () => settle(false),
      );
    });
  }

  /** Handles a bulk sync whose events have been applied: answers it, or takes it as an answer. */
  received(message: BulkSync, from: Address): void {
    const peer = this.#options.peers.get(message.nodeName);
    const own = new Set([...this.#options.networks()].map(({ id }) => id));
    const wanted = [...new Set(message.networks)].filter((id) => own.has(id));
    if (peer) for (const id of wanted) peer.syncedAt.set(id, this.#options.clock.now());
    if (!message.unsolicited) {
      for (const settle of [...(this.#waiting.get(message.nodeName) ?? [])]) settle(true);
      return;
    }
    if (peer) this.#answer(peer, wanted);
    else {
      this.#options.logger.debug('bulk sync of an unknown node', { name: message.nodeName, from });
      this.#keepEarly(message.nodeName, wanted);
    }
  }

  #keepEarly(name: string, networkIds: readonly string[]): void {
    const known = this.#early.get(name)?.networkIds ?? [];
    const [oldest] = this.#early.keys();
    if (oldest !== undefined && this.#early.size >= MAX_EARLY_REQUESTS) this.#early.delete(oldest);
    this.#early.set(name, {
      networkIds: [...new Set([...known, ...networkIds])],
      since: this.#options.clock.now(),
    });
  }

  /** A peer is known from now on: what it asked for before is answered, as long as it waits for that. */
  met(peer: Peer): void {
    const early = this.#early.get(peer.name);
    this.#early.delete(peer.name);
    const { clock, config } = this.#options;
    if (early && clock.now() - early.since < config.bulkSyncTimeout) this.#answer(peer, early.networkIds);
  }

  #answer(peer: Peer, networkIds: readonly string[]): void {
    this.#sendEntries(peer.address, networkIds, false, peer.name).catch((error: unknown) => {
      this.#options.logger.warn('bulk sync not answered', { peer: peer.name, error });
    });
  }

  /** Sends the entries in as many messages as their size needs; only the last one asks for the answer. */
  async #sendEntries(to: Address, ids: readonly string[], unsolicited: boolean, name: string): Promise<boolean> {
    const { self, tableClock, codec, send, logger } = this.#options;
    const chunks = this.#chunks(ids);
    try {
      for (const [index, events] of chunks.entries()) {
        const asks = unsolicited && index === chunks.length - 1;
        const head = { lTime: tableClock.increment(), unsolicited: asks, nodeName: self, networks: ids };
        await send(to, codec.encode({ type: 'bulkSync', body: { ...head, events } }));
      }
      return true;
    } catch (error) {
      logger.debug('bulk sync not sent', { peer: name, error });
      return false;
    }
  }

  #chunks(networkIds: readonly string[]): Uint8Array[][] {
    const { store, codec, clock, config } = this.#options;
    const now = clock.now();
    let chunk: Uint8Array[] = [];
    const chunks = [chunk];
    let size = 0;
    for (const networkId of networkIds) {
      for (const row of store.rows(networkId)) {
        const residual = row.deleted ? Math.max(1, Math.ceil((row.reapAt - now) / 1_000)) : 0;
        const event = codec.encode({
          type: 'table',
          body: {
            type: row.deleted ? 'delete' : 'create',
            lTime: row.lTime,
            nodeName: row.owner,
            networkId,
            tableName: row.table,
            key: row.key,
            value: row.value,
            residualReapTime: residual,
          },
        });
        if (size + event.length > config.bulkSyncChunk && chunk.length > 0) {
          chunk = [];
          chunks.push(chunk);
          size = 0;
        }
        chunk.push(event);
        size += event.length;
      }
    }
    return chunks;
  }

  close(): void {
    this.#closed = true;
    if (this.#timer) this.#options.clock.clearTimeout(this.#timer);
    for (const waiting of [...this.#waiting.values()]) for (const settle of [...waiting]) settle(false);
  }
}
