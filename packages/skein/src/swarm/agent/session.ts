import { durationMs } from '@bufbuild/protobuf/wkt';
import { type Client, Code, ConnectError, createClient } from '@connectrpc/connect';
import { type Clock, delay, errorText, type Logger, SkeinError } from '../../common/index.ts';
import { AssignmentsMessage_Type, Dispatcher, type SessionMessage } from '../gen/dispatcher_pb.js';
import { LogBroker, type SubscriptionMessage } from '../gen/logbroker_pb.js';
import { ResourceAllocator } from '../gen/resource_pb.js';
import type { NodeDescription } from '../gen/types_pb.js';
import { type Credentials, connectManager, type ManagerConnection, managerRole } from '../identity/index.ts';
import { LogPublisher } from './log-publisher.ts';
import type { StatusReporter } from './status-reporter.ts';
import type { AttachmentRequest } from './types.ts';
import type { Worker } from './worker.ts';

/** swarmkit agent/session.go: dispatcherRPCTimeout. */
const callTimeoutMs = 5_000;
/** Log subscriptions served at once; more are answered with nothing. */
const maxPublishers = 256;

export interface SessionOptions {
  readonly address: string;
  readonly credentials: Credentials;
  readonly description: NodeDescription;
  /** Of the last session, to go on with it. */
  readonly sessionId: string;
  readonly worker: Worker;
  readonly reporter: StatusReporter;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Handles one Session message to its end before the next is read, and before the first assignments. */
  readonly message: (message: SessionMessage) => Promise<void>;
  /** The session stands: the first message has been handled. */
  readonly registered: (sessionId: string) => void;
}

/**
 * One session with one manager (swarmkit agent/session.go): the Session stream, heartbeats, assignments, log
 * subscriptions and status reports. The end of any of them is the end of all.
 */
export class Session {
  readonly #options: SessionOptions;
  readonly #connection: ManagerConnection;
  readonly #dispatcher: Client<typeof Dispatcher>;
  readonly #logBroker: Client<typeof LogBroker>;
  readonly #resources: Client<typeof ResourceAllocator>;
  /** BOUNDED by maxPublishers. */
  readonly #publishers = new Map<string, LogPublisher>();
  #sessionId = '';

  constructor(options: SessionOptions) {
    this.#options = options;
    const { address, credentials } = options;
    const { rootCa, certificate, key } = credentials;
    this.#connection = connectManager(address, { rootCa, serverName: managerRole, client: { certificate, key } });
    this.#dispatcher = createClient(Dispatcher, this.#connection.transport);
    this.#logBroker = createClient(LogBroker, this.#connection.transport);
    this.#resources = createClient(ResourceAllocator, this.#connection.transport);
  }

  /** Runs until `signal` aborts. @throws RpcError saying what ended the session. */
  async run(signal: AbortSignal): Promise<void> {
    const ending = new AbortController();
    const both = AbortSignal.any([signal, ending.signal]);
    try {
      const { first, messages } = await this.#initiate(both, ending);
      const parts = [this.#heartbeat(both), this.#work(first, messages, both)];
      try {
        await Promise.race(parts);
        if (!signal.aborted) throw new SkeinError('Unavailable', 'session closed by the manager');
      } finally {
        ending.abort();
        await Promise.allSettled(parts);
      }
    } catch (error) {
      if (!signal.aborted) throw error instanceof ConnectError ? this.#connection.error(error) : error;
    } finally {
      ending.abort();
      for (const publisher of this.#publishers.values()) publisher.close();
      this.#connection[Symbol.dispose]();
    }
  }

  /** Asks for an attachment task of a plain container. @returns its ID. @throws RpcError of the manager. */
  async attachNetwork({ target, containerId, addresses, aliases }: AttachmentRequest): Promise<string> {
    const config = { target, addresses: [...addresses], aliases: [...aliases] };
    const call = { timeoutMs: callTimeoutMs };
    try {
      return (await this.#resources.attachNetwork({ config, containerId }, call)).attachmentId;
    } catch (error) {
      throw error instanceof ConnectError ? this.#connection.error(error) : error;
    }
  }

  /** Gives an attachment back; no error when it is gone. @throws RpcError of the manager. */
  async detachNetwork(attachmentId: string): Promise<void> {
    try {
      await this.#resources.detachNetwork({ attachmentId }, { timeoutMs: callTimeoutMs });
    } catch (error) {
      if (ConnectError.from(error).code === Code.NotFound) return;
      throw error instanceof ConnectError ? this.#connection.error(error) : error;
    }
  }

  /** A task began here: subscriptions that follow may want its logs. */
  taskStarted(manager: Parameters<LogPublisher['add']>[0]): void {
    for (const publisher of this.#publishers.values()) publisher.add(manager);
  }

  /** Opens the Session stream. @returns its first message and the rest. */
  async #initiate(
    signal: AbortSignal,
    ending: AbortController,
  ): Promise<{ first: SessionMessage; messages: AsyncIterator<SessionMessage> }> {
    const { description, sessionId, clock } = this.#options;
    const stream = this.#dispatcher.session({ description, sessionId }, { signal });
    const messages = stream[Symbol.asyncIterator]();
    let timedOut = false;
    const timer = clock.setTimeout(() => {
      timedOut = true;
      ending.abort();
    }, callTimeoutMs);
    try {
      const first = await messages.next();
      if (first.done === true) throw new SkeinError('Unavailable', 'session closed by the manager');
      this.#sessionId = first.value.sessionId;
      return { first: first.value, messages };
    } catch (error) {
      if (!timedOut) throw error;
      throw this.#connection.error(new ConnectError('session initiation timed out', Code.DeadlineExceeded));
    } finally {
      clock.clearTimeout(timer);
    }
  }

  /** Handles the first message, before anything that builds on it, then does all the rest at once. */
  async #work(first: SessionMessage, messages: AsyncIterator<SessionMessage>, signal: AbortSignal): Promise<void> {
    const { worker, reporter, message, registered } = this.#options;
    await message(first);
    registered(this.#sessionId);
    worker.reportAll();
    await Promise.race([
      this.#followMessages(messages),
      this.#followAssignments(signal),
      this.#followSubscriptions(signal),
      reporter.run((updates) => this.#sendStatuses(updates, signal), signal),
    ]);
  }

  async #followMessages(messages: AsyncIterator<SessionMessage>): Promise<void> {
    for (let next = await messages.next(); next.done !== true; next = await messages.next()) {
      await this.#options.message(next.value);
    }
  }

  async #heartbeat(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const call = { signal, timeoutMs: callTimeoutMs };
      const { period } = await this.#dispatcher.heartbeat({ sessionId: this.#sessionId }, call);
      const periodMs = period === undefined ? 0 : durationMs(period);
      if (periodMs <= 0) throw new SkeinError('Internal', 'the manager asked for heartbeats without a pause');
      await delay(this.#options.clock, periodMs, signal);
    }
  }

  /** A message that does not follow the last one means that something was lost: the list is asked for anew. */
  async #followAssignments(signal: AbortSignal): Promise<void> {
    const { worker, logger } = this.#options;
    for (let lost = true; lost; ) {
      lost = false;
      let applied: string | undefined;
      for await (const message of this.#dispatcher.assignments({ sessionId: this.#sessionId }, { signal })) {
        if (message.type === AssignmentsMessage_Type.COMPLETE) {
          worker.assign(message.changes);
        } else if (message.appliesTo === applied) {
          worker.update(message.changes);
        } else {
          logger.warn({ appliesTo: message.appliesTo, applied }, 'an assignments message was lost');
          lost = true;
          break;
        }
        applied = message.resultsIn;
      }
    }
  }

  async #followSubscriptions(signal: AbortSignal): Promise<void> {
    try {
      for await (const subscription of this.#logBroker.listenSubscriptions({}, { signal })) {
        if (subscription.close) this.#publishers.get(subscription.id)?.close();
        else this.#startPublisher(subscription, signal);
      }
    } catch (error) {
      if (ConnectError.from(error).code !== Code.Unimplemented) throw error;
      await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    }
  }

  #startPublisher(subscription: SubscriptionMessage, signal: AbortSignal): void {
    const { worker, credentials, logger } = this.#options;
    if (this.#publishers.has(subscription.id) || this.#publishers.size >= maxPublishers) return;
    const publisher = new LogPublisher(subscription, credentials.nodeId, logger);
    this.#publishers.set(subscription.id, publisher);
    for (const manager of worker.managers()) publisher.add(manager);
    void this.#logBroker
      .publishLogs(publisher.messages(), { signal })
      .catch((error: unknown) => {
        if (!signal.aborted) logger.debug({ error: errorText(error) }, 'log publishing ended');
      })
      .finally(() => {
        publisher.close();
        this.#publishers.delete(subscription.id);
      });
  }

  async #sendStatuses(
    updates: Parameters<Parameters<StatusReporter['run']>[0]>[0],
    signal: AbortSignal,
  ): Promise<void> {
    const request = { sessionId: this.#sessionId, updates: [...updates] };
    await this.#dispatcher.updateTaskStatus(request, { signal, timeoutMs: callTimeoutMs });
  }
}
