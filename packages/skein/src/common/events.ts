/** One event of `docker events`, in the engine API's terms. */
export interface EngineEvent {
  /** `container`, `network`, `service`, `node`, `image`, `daemon`, … */
  readonly type: string;
  /** `create`, `start`, `die`, `connect`, … */
  readonly action: string;
  readonly actor: { readonly id: string; readonly attributes: Readonly<Record<string, string>> };
  readonly scope: 'local' | 'swarm';
  /** Nanoseconds since the epoch. */
  readonly timeNano: bigint;
}

/** How many past events a late subscriber can still ask for with `since` (moby daemon/events: eventsLimit). */
const keptEvents = 256;

/** Spreads the engine's events to any number of listeners and keeps the last ones. Listeners must not throw. */
export class EventBus {
  readonly #listeners = new Set<(event: EngineEvent) => void>();
  readonly #past: EngineEvent[] = [];

  /** Publishes an event that happens now. */
  publish(event: Omit<EngineEvent, 'timeNano'>): void {
    const stamped: EngineEvent = { ...event, timeNano: BigInt(Date.now()) * 1_000_000n };
    this.#past.push(stamped);
    if (this.#past.length > keptEvents) this.#past.shift();
    for (const listener of this.#listeners) listener(stamped);
  }

  /** @returns the kept events, oldest first. */
  past(): readonly EngineEvent[] {
    return this.#past;
  }

  /** Calls `listener` for each event from now on. @returns the function that ends it. */
  subscribe(listener: (event: EngineEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}
