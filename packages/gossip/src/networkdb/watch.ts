import type { Logger } from '../runtime/index.ts';

/** What changed in a table, as this node sees it. */
export interface TableChange {
  readonly type: 'create' | 'update' | 'delete';
  readonly table: string;
  readonly networkId: string;
  readonly key: string;
  /** The new value; of a delete, the last one. */
  readonly value: Uint8Array;
  /** Name of the node that wrote it; this node's own changes are told too. */
  readonly owner: string;
  /** The value before an update. */
  readonly previous?: Uint8Array;
  /**
   * Of a delete: `deleted` by the owner, as all that it has on a network that it leaves; owner `unreachable` (a `create`
   * follows if it returns); owner `left` the cluster; or `detached`: this node left the network. What was `deleted` may
   * never have been told of, and what was `deleted` or has `left` may have been unreachable before.
   */
  readonly reason?: DeleteReason;
}
export type DeleteReason = 'deleted' | 'unreachable' | 'left' | 'detached';
export type WatchHandler = (change: TableChange) => void;

interface Watcher {
  readonly table: string | undefined;
  readonly networkId: string | undefined;
  readonly handler: WatchHandler;
}

/** Who wants to know. What a handler throws is logged and hurts no other. */
export class Watchers {
  readonly #watchers = new Set<Watcher>();
  readonly #logger: Logger;

  constructor(logger: Logger) {
    this.#logger = logger;
  }

  /** Adds a handler; undefined means any table, any network. Returns how to remove it. */
  add(table: string | undefined, networkId: string | undefined, handler: WatchHandler): () => void {
    const watcher = { table, networkId, handler };
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  emit(change: TableChange): void {
    for (const { table, networkId, handler } of this.#watchers) {
      if ((table ?? change.table) !== change.table || (networkId ?? change.networkId) !== change.networkId) continue;
      this.call(handler, change);
    }
  }

  call(handler: WatchHandler, change: TableChange): void {
    try {
      handler(change);
    } catch (error) {
      this.#logger.warn('a table watcher failed', { table: change.table, key: change.key, error });
    }
  }

  clear(): void {
    this.#watchers.clear();
  }
}
