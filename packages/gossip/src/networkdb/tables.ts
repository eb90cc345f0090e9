import { getOrCreate } from '../runtime/index.ts';
import type { DeleteReason, TableChange } from './watch.ts';

/** One key of one table of one network. */
export interface Entry {
  readonly owner: string;
  readonly lTime: number;
  readonly value: Uint8Array;
  /** A tombstone: kept so that older events do not bring the entry back. */
  readonly deleted: boolean;
  /** Of a tombstone: the clock time, in ms, at which it is forgotten. */
  readonly reapAt: number;
}

export interface Row extends Entry {
  readonly table: string;
  readonly networkId: string;
  readonly key: string;
}

type Tables = Map<string, Map<string, Entry>>;

/**
 * The entries of the networks that this node is on. An entry is visible while it is no tombstone and its owner
 * is reachable; watchers are told what becomes visible, changes, or stops being visible.
 * BOUNDED by `capacity` entries per network.
 */
export class TableStore {
  readonly #networks = new Map<string, Tables>();
  readonly #sizes = new Map<string, number>();
  readonly #capacity: number;
  readonly #isReachable: (owner: string) => boolean;
  readonly #emit: (change: TableChange) => void;

  constructor(capacity: number, isReachable: (owner: string) => boolean, emit: (change: TableChange) => void) {
    this.#capacity = capacity;
    this.#isReachable = isReachable;
    this.#emit = emit;
  }

  get(networkId: string, table: string, key: string): Entry | undefined {
    return this.#networks.get(networkId)?.get(table)?.get(key);
  }

  isVisible(entry: Entry): boolean {
    return !entry.deleted && this.#isReachable(entry.owner);
  }

  /** Whether one more entry fits the network. */
  hasRoom(networkId: string): boolean {
    return (this.#sizes.get(networkId) ?? 0) < this.#capacity;
  }

  size(networkId: string): number {
    return this.#sizes.get(networkId) ?? 0;
  }

  set(networkId: string, table: string, key: string, entry: Entry, reason: DeleteReason = 'deleted'): void {
    const tables = getOrCreate(this.#networks, networkId, (): Tables => new Map());
    const entries = getOrCreate(tables, table, () => new Map<string, Entry>());
    const before = entries.get(key);
    entries.set(key, entry);
    if (!before) this.#sizes.set(networkId, this.size(networkId) + 1);
    this.#tell({ networkId, table, key, ...entry }, before, this.isVisible(entry), reason);
  }

  #tell(row: Row, before: Entry | undefined, isVisible: boolean, reason: DeleteReason): void {
    const { table, networkId, key, owner, value } = row;
    const wasVisible = before !== undefined && this.isVisible(before);
    const change = { table, networkId, key, owner };
    if (wasVisible && !isVisible) this.#emit({ ...change, type: 'delete', value: before.value, reason });
    else if (!wasVisible && isVisible) this.#emit({ ...change, type: 'create', value });
    else if (wasVisible && isVisible) this.#emit({ ...change, type: 'update', value, previous: before.value });
    // Who came later, or lost the entry's former owner, may still go by what it heard elsewhere.
    else if (row.deleted && !before?.deleted && this.#isReachable(owner)) {
      this.#emit({ ...change, type: 'delete', value, reason });
    }
  }

  /** All entries of a network, tombstones and hidden ones among them. The current one may be deleted meanwhile. */
  *rows(networkId: string): Generator<Row> {
    for (const [table, entries] of this.#networks.get(networkId) ?? []) {
      for (const [key, entry] of entries) yield { networkId, table, key, ...entry };
    }
  }

  /** The visible entries of a table. */
  *visible(networkId: string, table: string): Generator<Row> {
    for (const [key, entry] of this.#networks.get(networkId)?.get(table) ?? []) {
      if (this.isVisible(entry)) yield { networkId, table, key, ...entry };
    }
  }

  networks(): string[] {
    return [...this.#networks.keys()];
  }

  tables(networkId: string): string[] {
    return [...(this.#networks.get(networkId)?.keys() ?? [])];
  }

  /** Tells the watchers that an owner was lost or has come back; call it after `isReachable` has changed. */
  ownerChanged(owner: string): void {
    const isReachable = this.#isReachable(owner);
    for (const networkId of this.networks()) {
      for (const row of this.rows(networkId)) {
        if (row.owner !== owner || row.deleted) continue;
        const { table, key, value } = row;
        const change = { table, networkId, key, value, owner };
        this.#emit(isReachable ? { ...change, type: 'create' } : { ...change, type: 'delete', reason: 'unreachable' });
      }
    }
  }

  /** Forgets the entries that `matches`, telling the watchers of those that `isTold`: by default what is visible. */
  remove(
    networkId: string,
    reason: DeleteReason,
    matches: (row: Row) => boolean,
    isTold = (row: Row): boolean => this.isVisible(row),
  ): void {
    const tables = this.#networks.get(networkId);
    for (const row of [...this.rows(networkId)]) {
      if (!matches(row)) continue;
      const { table, key, value, owner } = row;
      const entries = tables?.get(table);
      if (!entries?.delete(key)) continue;
      if (entries.size === 0) tables?.delete(table);
      this.#sizes.set(networkId, this.size(networkId) - 1);
      if (isTold(row)) this.#emit({ type: 'delete', table, networkId, key, value, owner, reason });
    }
    if (tables?.size === 0) {
      this.#networks.delete(networkId);
      this.#sizes.delete(networkId);
    }
  }

  /**
   * Forgets an owner's entries on every network, or on one that it has left: it will not come back to them. Those that
   * were hidden are told of as well: who was told that their owner is unreachable may have kept them.
   */
  removeOwner(owner: string, reason: 'deleted' | 'left', networkIds: readonly string[] = this.networks()): void {
    for (const networkId of networkIds) {
      this.remove(
        networkId,
        reason,
        (row) => row.owner === owner,
        (row) => !row.deleted,
      );
    }
  }

  /** Forgets tombstones that are old enough. */
  reap(now: number): void {
    for (const networkId of this.networks()) {
      let due = false;
      for (const entries of this.#networks.get(networkId)?.values() ?? []) {
        for (const entry of entries.values()) due ||= entry.deleted && entry.reapAt <= now;
      }
      if (due) this.remove(networkId, 'deleted', (row) => row.deleted && row.reapAt <= now);
    }
  }
}
