import { setImmediate as turn } from 'node:timers/promises';
import { errorText, type Logger } from '../common/index.ts';

/** How often the tables are looked at; one in a namespace that nobody has changed costs some 70 µs. */
const defaultIntervalMs = 500;
/** After so long the rest of the process has its turn. */
const sliceMs = 5;

/** What is kept: usually a `ManagedTable`. */
export interface Repairable {
  /** @returns whether something had to be put right. */
  repair(): boolean;
}

/** Looks after a room's tables, and says when somebody else has changed one. */
export class TableKeeper implements Disposable {
  readonly #logger: Logger;
  /** With what the log calls each. BOUNDED by the containers of this host. */
  readonly #tables = new Map<Repairable, string>();
  /** What went wrong with each the last time, so that it is said once. */
  readonly #complaints = new WeakMap<Repairable, string>();
  readonly #timer: NodeJS.Timeout;
  #isUnderWay = false;

  constructor(logger: Logger, intervalMs = defaultIntervalMs) {
    this.#logger = logger;
    this.#timer = setInterval(() => void this.#audit(), intervalMs);
    this.#timer.unref();
  }

  /** @param what completes "the nft table …": `of container 0123`. */
  keep(table: Repairable, what: string): void {
    this.#tables.set(table, what);
  }

  /** No error when it is not kept. */
  release(table: Repairable): void {
    this.#tables.delete(table);
  }

  /** Nothing is repaired after this. */
  [Symbol.dispose](): void {
    clearInterval(this.#timer);
    this.#tables.clear();
  }

  async #audit(): Promise<void> {
    if (this.#isUnderWay) return;
    this.#isUnderWay = true;
    let sliceEnd = performance.now() + sliceMs;
    for (const [table, what] of [...this.#tables]) {
      if (this.#tables.has(table)) this.#repair(table, what);
      if (performance.now() < sliceEnd) continue;
      await turn();
      sliceEnd = performance.now() + sliceMs;
    }
    this.#isUnderWay = false;
  }

  #repair(table: Repairable, what: string): void {
    try {
      const isRepaired = table.repair();
      this.#complaints.delete(table);
      if (isRepaired) this.#logger.warn({}, `the nft table ${what} was changed by somebody else; it is restored`);
    } catch (error) {
      const text = errorText(error);
      if (this.#complaints.get(table) !== text) {
        this.#logger.error({ error: text }, `cannot restore the nft table ${what}`);
      }
      this.#complaints.set(table, text);
    }
  }
}
