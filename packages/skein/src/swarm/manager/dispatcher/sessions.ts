import { type Clock, newObjectId, RpcError, type Timer } from '../../../common/index.ts';
import { gracePeriods, heartbeatEpsilonMs, registrationLimit } from './constants.ts';

/** How a node is connected. */
export interface Connection {
  /** The IP address that it comes from. */
  readonly address: string;
  /** Whether its daemon answers on this connection, in time. Never rejects. */
  ping(): Promise<boolean>;
}

/** A node that has a session with this manager. */
export interface RegisteredNode extends Connection {
  readonly nodeId: string;
  readonly sessionId: string;
  /** Aborts when the session is over: replaced, expired, node removed, or the manager stops. */
  readonly ended: AbortSignal;
}

interface Entry extends RegisteredNode {
  readonly controller: AbortController;
  address: string;
  ping: () => Promise<boolean>;
  expiry: Timer | undefined;
  windowStart: number;
  registrations: number;
}

export interface SessionTableOptions {
  readonly clock: Clock;
  /** The cluster's heartbeat period in milliseconds, read anew for each heartbeat. */
  readonly heartbeatPeriodMs: () => number;
  /** A session ran out of heartbeats; it is already gone from the table. */
  readonly expired: (nodeId: string) => void;
}

/** Who is registered, and until when. BOUNDED by the number of nodes: one entry a node. */
export class SessionTable {
  readonly #entries = new Map<string, Entry>();
  readonly #options: SessionTableOptions;

  constructor(options: SessionTableOptions) {
    this.#options = options;
  }

  /**
   * Opens a session; an older one of the node ends.
   * @throws RpcError Unavailable when the node registers too often.
   */
  register(nodeId: string, { address, ping }: Connection): RegisteredNode {
    const now = this.#options.clock.now();
    const previous = this.#entries.get(nodeId);
    const sameWindow = previous !== undefined && now - previous.windowStart <= registrationLimit.periodMs;
    const registrations = sameWindow ? previous.registrations + 1 : 1;
    if (registrations > registrationLimit.count) {
      throw new RpcError('Unavailable', `node ${nodeId} exceeded rate limit count of registrations`);
    }
    if (previous !== undefined) this.#end(previous);
    const controller = new AbortController();
    const entry: Entry = {
      nodeId,
      address,
      ping,
      sessionId: newObjectId(),
      controller,
      ended: controller.signal,
      expiry: undefined,
      windowStart: sameWindow ? previous.windowStart : now,
      registrations,
    };
    this.#entries.set(nodeId, entry);
    this.#arm(entry, this.#options.heartbeatPeriodMs());
    return entry;
  }

  /** @throws RpcError NotFound `node not registered`, InvalidArgument `session invalid`. */
  get(nodeId: string, sessionId: string): RegisteredNode {
    return this.#entry(nodeId, sessionId);
  }

  /** Goes on with a session over another connection. @returns undefined when it is not the node's session. */
  resume(nodeId: string, sessionId: string, { address, ping }: Connection): RegisteredNode | undefined {
    const entry = this.#entries.get(nodeId);
    if (entry?.sessionId !== sessionId) return undefined;
    return Object.assign(entry, { address, ping });
  }

  all(): RegisteredNode[] {
    return [...this.#entries.values()];
  }

  /** Notes a heartbeat. @returns milliseconds until the next one is due. */
  heartbeat(nodeId: string, sessionId: string): number {
    const entry = this.#entry(nodeId, sessionId);
    const periodMs = this.#options.heartbeatPeriodMs() + (2 * Math.random() - 1) * heartbeatEpsilonMs;
    this.#arm(entry, periodMs);
    return periodMs;
  }

  /** Ends the node's session, if there is one. */
  end(nodeId: string): void {
    const entry = this.#entries.get(nodeId);
    if (entry === undefined) return;
    this.#entries.delete(nodeId);
    this.#end(entry);
  }

  /** Ends all. @returns the nodes that had a session. */
  endAll(): string[] {
    const nodeIds = [...this.#entries.keys()];
    for (const nodeId of nodeIds) this.end(nodeId);
    return nodeIds;
  }

  #entry(nodeId: string, sessionId: string): Entry {
    const entry = this.#entries.get(nodeId);
    if (entry === undefined) throw new RpcError('NotFound', 'node not registered');
    if (entry.sessionId !== sessionId) throw new RpcError('InvalidArgument', 'session invalid');
    return entry;
  }

  #end(entry: Entry): void {
    this.#options.clock.clearTimeout(entry.expiry);
    entry.controller.abort();
  }

  #arm(entry: Entry, periodMs: number): void {
    this.#options.clock.clearTimeout(entry.expiry);
    entry.expiry = this.#options.clock.setTimeout(() => {
      this.end(entry.nodeId);
      this.#options.expired(entry.nodeId);
    }, periodMs * gracePeriods);
  }
}
