import type { TableEvent } from './codec.ts';
import { type Context, NEVER } from './context.ts';
import type { OwnNetwork } from './own-network.ts';
import type { TableGossip } from './table-gossip.ts';
import type { Entry } from './tables.ts';
import type { DeleteReason } from './watch.ts';

/** Writes this node's own entries: stored at once, then told to the network. */
export class EntryWriter {
  readonly #context: Context;
  readonly #gossip: TableGossip;

  constructor(context: Context, gossip: TableGossip) {
    this.#context = context;
    this.#gossip = gossip;
  }

  /** An entry of this node, at a new time. */
  live(value: Uint8Array): Entry {
    const { self, tableClock } = this.#context;
    return { owner: self, lTime: tableClock.increment(), value, deleted: false, reapAt: NEVER };
  }

  /** A deletion by this node, at a new time. It keeps the value: dockerd reads from it what to take away. */
  tombstone(value: Uint8Array): Entry {
    const { self, tableClock, clock, config } = this.#context;
    const reapAt = clock.now() + config.reapEntry;
    return { owner: self, lTime: tableClock.increment(), value, deleted: true, reapAt };
  }

  write(
    type: TableEvent['type'],
    network: OwnNetwork,
    table: string,
    key: string,
    entry: Entry,
    reason: DeleteReason = 'deleted',
  ): void {
    const { store, config, codec } = this.#context;
    store.set(network.id, table, key, entry, reason);
    const residualReapTime = entry.deleted ? Math.ceil(config.reapEntry / 1_000) : 0;
    const { lTime, owner: nodeName, value } = entry;
    const body = { type, lTime, nodeName, networkId: network.id, tableName: table, key, value, residualReapTime };
    this.#gossip.queue(network, `${table} ${key}`, codec.encode({ type: 'table', body }), true);
  }
}
