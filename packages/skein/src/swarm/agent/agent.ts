import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { clone, equals } from '@bufbuild/protobuf';
import { type Clock, delay, errorText, type Logger, SkeinError } from '../../common/index.ts';
import type { SessionMessage } from '../gen/dispatcher_pb.js';
import { type Node, NodeSchema } from '../gen/objects_pb.js';
import {
  type EncryptionKey,
  IssuanceStatus_State,
  type NodeDescription,
  NodeDescriptionSchema,
  NodeRole,
  type WeightedPeer,
} from '../gen/types_pb.js';
import { managerRole, type NodeIdentity } from '../identity/index.ts';
import { type KnownManager, KnownManagers } from './managers.ts';
import { Session } from './session.ts';
import { StatusReporter } from './status-reporter.ts';
import { TaskDatabase } from './task-database.ts';
import type { AttachmentRequest, Executor } from './types.ts';
import { Worker } from './worker.ts';

/** Pause before a new session (swarmkit agent/agent.go): 100 ms + 2 × the last, at most 8 s, of which a random part. */
const sessionBackoffMs = { base: 100, cap: 8_000 } as const;
/**
 * How often the description is read again (swarmkit agent/agent.go: nodeUpdatePeriod), and what of the session the
 * executor could not do is tried again.
 */
const descriptionPeriodMs = 20_000;
/** How long leaving waits for the tasks to go. */
const leaveTimeoutMs = 30_000;
/** How long closing waits for calls of the executor that are under way. */
const closeTimeoutMs = 10_000;
const taskFile = 'tasks.db';
const managersFile = 'managers.json';

/** A manager asked where it listens, as dockerd does: behind NAT a host may not reach itself as others do. */
export interface OwnManager {
  /** `host:port` that the cluster knows it by. */
  readonly advertised: string;
  /** `host:port` that this host reaches it at. */
  readonly local: string;
}

export interface AgentOptions {
  readonly executor: Executor;
  /** The agent follows its renewals, adopts new roots and asks for renewal on role changes. */
  readonly identity: NodeIdentity;
  /** `host:port` of managers to begin with; those of the last session are remembered. */
  readonly managers: readonly string[];
  /** The manager on this host, if there is one. */
  readonly ownManager?: OwnManager | undefined;
  /** The agent's own directory; made when missing. */
  readonly stateDirectory: string;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface AgentStatus {
  /** A session stands. */
  readonly connected: boolean;
  readonly managers: readonly KnownManager[];
  /** The own Node object as a manager last sent it. */
  readonly node: Node | undefined;
  /** Why there is no session; '' while there is one. */
  readonly lastError: string;
}

/**
 * This host's part in the swarm: it keeps a session with some manager and makes the host's tasks what that assigns.
 * Tasks live on while no manager can be reached, and over a restart of the daemon.
 */
export class Agent {
  readonly #options: AgentOptions;
  readonly #managers: KnownManagers;
  readonly #database: TaskDatabase;
  readonly #worker: Worker;
  readonly #reporter = new StatusReporter();
  readonly #closing = new AbortController();
  readonly #listeners = new Set<(status: AgentStatus) => void>();
  #running: Promise<void> | undefined;
  #closed: Promise<void> | undefined;
  #session: Session | undefined;
  #sessionId = '';
  #connected = false;
  #lastError = '';
  #node: Node | undefined;
  /** The one that the executor has taken in. */
  #configuredNode: Node | undefined;
  #desiredRole: NodeRole;
  #keyTimes = '';
  #toldManagers = '';
  /** The session's last message, while the executor has not done all that it says. */
  #unapplied: SessionMessage | undefined;
  /** One message at a time. */
  #handling: Promise<void> = Promise.resolve();

  private constructor(options: AgentOptions, managers: KnownManagers, database: TaskDatabase) {
    this.#options = options;
    this.#managers = managers;
    this.#database = database;
    this.#desiredRole = options.identity.credentials.role === managerRole ? NodeRole.MANAGER : NodeRole.WORKER;
    this.#worker = new Worker({
      executor: options.executor,
      database,
      clock: options.clock,
      logger: options.logger,
      report: (taskId, status) => this.#reporter.report(taskId, status),
      started: (manager) => this.#session?.taskStarted(manager),
    });
  }

  /** Adopts the remembered tasks and begins to look for a manager. */
  static async start(options: AgentOptions): Promise<Agent> {
    await mkdir(options.stateDirectory, { recursive: true, mode: 0o700 });
    const managers = await KnownManagers.open(
      join(options.stateDirectory, managersFile),
      options.managers,
      options.logger,
    );
    const agent = new Agent(options, managers, new TaskDatabase(join(options.stateDirectory, taskFile)));
    agent.#worker.start();
    options.identity.startRenewal(() => managers.addresses().map((address) => agent.#wayTo(address)));
    agent.#running = agent.#run();
    return agent;
  }

  status(): AgentStatus {
    return {
      connected: this.#connected,
      managers: this.#managers.all(),
      node: this.#node,
      lastError: this.#lastError,
    };
  }

  /**
   * Asks the manager for an attachment task of a plain container; the executor gets the task as an assignment.
   * @returns the task's ID. @throws RpcError of the manager, SkeinError Unavailable without a session.
   */
  attachNetwork(request: AttachmentRequest): Promise<string> {
    return this.#standingSession().attachNetwork(request);
  }

  /** Gives an attachment back; no error when it is gone. */
  detachNetwork(attachmentId: string): Promise<void> {
    return this.#standingSession().detachNetwork(attachmentId);
  }

  #standingSession(): Session {
    if (this.#session !== undefined && this.#connected) return this.#session;
    const why = this.#lastError === '' ? '' : `: ${this.#lastError}`;
    throw new SkeinError('Unavailable', `this node has no session with a manager${why}`);
  }

  /** Calls `listener` after each change of the status. @returns the function that ends it. */
  onChange(listener: (status: AgentStatus) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /**
   * Ends the session. A second call only waits for the first.
   * @param stopTasks false: the daemon stops, containers run on. true: the host leaves the swarm, all tasks are shut
   * down and removed, for at most 30 seconds.
   */
  close(options: { stopTasks: boolean }): Promise<void> {
    this.#closed ??= this.#close(options);
    return this.#closed;
  }

  async #close({ stopTasks }: { stopTasks: boolean }): Promise<void> {
    this.#closing.abort(new Error('agent closed'));
    await this.#atMost(closeTimeoutMs, this.#running);
    if (stopTasks) await this.#atMost(leaveTimeoutMs, this.#worker.removeAll());
    await this.#atMost(closeTimeoutMs, this.#worker.close());
    this.#database[Symbol.dispose]();
    this.#listeners.clear();
  }

  /** An executor that does not heed its signal must not hold up the end. */
  async #atMost(milliseconds: number, work: Promise<void> | undefined): Promise<void> {
    const timeout = new AbortController();
    const ended = Promise.resolve(work).finally(() => timeout.abort());
    await Promise.race([ended, delay(this.#options.clock, milliseconds, timeout.signal).catch(() => {})]);
  }

  async #run(): Promise<void> {
    const { clock, logger } = this.#options;
    const signal = this.#closing.signal;
    for (let backoffMs = 0; !signal.aborted; ) {
      try {
        const registered = await this.#runSession(signal);
        backoffMs = registered ? 0 : backoffMs;
      } catch (error) {
        backoffMs = this.#connected ? 0 : Math.min(sessionBackoffMs.base + 2 * backoffMs, sessionBackoffMs.cap);
        const text = errorText(error);
        // Each new reason once: a manager may be away for hours, and is asked every few seconds.
        const isNews = this.#connected || text !== this.#lastError;
        logger[isNews ? 'warn' : 'debug']({ error: text }, 'no session with a manager');
        this.#setState(false, text);
      }
      const pauseMs = Math.max(backoffMs, this.#connected ? 0 : sessionBackoffMs.base) * Math.random();
      await delay(clock, pauseMs, signal).catch(() => {});
    }
    this.#setState(false, this.#lastError);
  }

  /** @returns when the session was ended from this side; true if it stood. @throws what ended it otherwise. */
  async #runSession(signal: AbortSignal): Promise<boolean> {
    const { identity, clock, logger } = this.#options;
    const manager = this.#managers.next();
    if (manager === undefined) throw new Error('no manager is known');
    const description = await this.#describe();
    const ending = new AbortController();
    const session = new Session({
      address: this.#wayTo(manager.address),
      credentials: identity.credentials,
      description,
      sessionId: this.#sessionId,
      worker: this.#worker,
      reporter: this.#reporter,
      clock,
      logger,
      message: (message) => this.#handle(message),
      registered: (sessionId) => {
        this.#sessionId = sessionId;
        this.#setState(true, '');
      },
    });
    this.#session = session;
    const both = AbortSignal.any([signal, ending.signal]);
    const watching = this.#watchDescription(description, both, ending);
    try {
      await session.run(both);
      return this.#connected;
    } finally {
      this.#session = undefined;
      ending.abort();
      await watching;
    }
  }

  #wayTo(address: string): string {
    const { ownManager } = this.#options;
    return address === ownManager?.advertised ? ownManager.local : address;
  }

  /** A changed description needs a new Session call. */
  async #watchDescription(current: NodeDescription, signal: AbortSignal, ending: AbortController): Promise<void> {
    while (!signal.aborted) {
      await delay(this.#options.clock, descriptionPeriodMs, signal).catch(() => {});
      if (signal.aborted) return;
      try {
        await this.#inTurn(async () => {
          if (this.#unapplied !== undefined) await this.#apply(this.#unapplied);
        });
        if (equals(NodeDescriptionSchema, current, await this.#describe())) continue;
        this.#options.logger.info('node description changed; renewing the session');
        ending.abort();
      } catch (error) {
        this.#options.logger.error({ error: errorText(error) }, 'node description or session could not be renewed');
      }
    }
  }

  async #describe(): Promise<NodeDescription> {
    const description = clone(NodeDescriptionSchema, await this.#options.executor.describe());
    description.tlsInfo = this.#options.identity.tlsInfo();
    return description;
  }

  #handle(message: SessionMessage): Promise<void> {
    return this.#inTurn(() => this.#apply(message));
  }

  #inTurn(action: () => Promise<void>): Promise<void> {
    const done = this.#handling.then(action);
    this.#handling = done.catch(() => {});
    return done;
  }

  /** In dockerd's order: managers, node, root CA, keys. What the executor cannot do is logged; the session goes on. */
  async #apply(message: SessionMessage): Promise<void> {
    const isTold = await this.#takeManagers(message.managers);
    const isConfigured = message.node === undefined || (await this.#takeNode(message.node));
    if (message.rootCa.length > 0) {
      await this.#options.identity.adoptRootCa(Buffer.from(message.rootCa).toString('latin1'));
    }
    const hasKeys = await this.#takeKeys(message.networkBootstrapKeys);
    this.#unapplied = isTold && isConfigured && hasKeys ? undefined : message;
    this.#tell();
  }

  async #takeManagers(peers: readonly WeightedPeer[]): Promise<boolean> {
    await this.#managers.replace(peers);
    const told = JSON.stringify(peers.map(({ peer }) => [peer?.nodeId, peer?.addr]));
    if (told === this.#toldManagers) return true;
    const isDone = await this.#attempt('managers', () => this.#options.executor.setManagers(peers));
    if (isDone) this.#toldManagers = told;
    return isDone;
  }

  async #takeNode(node: Node): Promise<boolean> {
    const { identity, logger, executor } = this.#options;
    const desiredRole = node.spec?.desiredRole ?? NodeRole.WORKER;
    if (desiredRole !== this.#desiredRole) {
      logger.info(
        { role: NodeRole[desiredRole] },
        'the cluster wants another role for this node; renewing its certificate',
      );
      this.#desiredRole = desiredRole;
      identity.requestRenewal();
    } else if (node.certificate?.status?.state === IssuanceStatus_State.ROTATE) {
      identity.requestRenewal();
    }
    this.#node = node;
    const wanted = withoutStatus(node);
    if (this.#configuredNode !== undefined && equals(NodeSchema, this.#configuredNode, wanted)) return true;
    const isDone = await this.#attempt('node', () => executor.configure(node));
    if (isDone) this.#configuredNode = wanted;
    return isDone;
  }

  /** Only a changed set of Lamport times is a new key set. */
  async #takeKeys(keys: readonly EncryptionKey[]): Promise<boolean> {
    const keyTimes = keys.map(({ subsystem, lamportTime }) => `${subsystem}@${lamportTime}`).join(' ');
    if (keys.length === 0 || keyTimes === this.#keyTimes) return true;
    const isDone = await this.#attempt('network keys', () => this.#options.executor.setNetworkKeys(keys));
    if (isDone) this.#keyTimes = keyTimes;
    return isDone;
  }

  async #attempt(what: string, action: () => Promise<void>): Promise<boolean> {
    try {
      await action();
      return true;
    } catch (error) {
      this.#options.logger.error({ err: error }, `${what} of the session could not be applied`);
      return false;
    }
  }

  #setState(connected: boolean, lastError: string): void {
    this.#connected = connected;
    this.#lastError = lastError;
    this.#tell();
  }

  #tell(): void {
    const status = this.status();
    for (const listener of this.#listeners) listener(status);
  }
}

/** The executor needs no news of status and version (swarmkit agent/agent.go: nodesEqual). */
function withoutStatus(node: Node): Node {
  const copy = clone(NodeSchema, node);
  copy.status = undefined;
  copy.meta = undefined;
  return copy;
}
