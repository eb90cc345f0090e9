import { create } from '@bufbuild/protobuf';
import { type Timestamp, TimestampSchema } from '@bufbuild/protobuf/wkt';
import type { HandlerContext, ServiceImpl } from '@connectrpc/connect';
import { RpcError } from '../../../common/index.ts';
import {
  type LogBroker as LogBrokerService,
  type LogMessage,
  LogSelectorSchema,
  LogStream,
  LogSubscriptionOptionsSchema,
  type PublishLogsMessage,
  type SubscriptionMessage,
} from '../../gen/logbroker_pb.js';
import { Wakeup } from '../../identity/index.ts';
import type { Store } from '../../store/types.ts';
import { callerOf } from '../server/peer.ts';
import type { ClusterLogMessage, ClusterLogRequest, ClusterLogs } from '../types.ts';
import { Subscription } from './subscription.ts';

/** More readers than this at once are refused. */
const maxSubscriptions = 1_000;
const nanosPerSecond = 1_000_000_000n;

/**
 * Brings the logs of tasks from the nodes to whoever reads them: readers subscribe, nodes with matching tasks are told
 * so over ListenSubscriptions and answer with PublishLogs (protocols.md 2.7).
 */
export class LogBroker implements ClusterLogs {
  readonly #store: Store;
  readonly #stopping: AbortSignal;
  /** BOUNDED by maxSubscriptions. */
  readonly #subscriptions = new Map<string, Subscription>();
  /** Wake-ups of each node's ListenSubscriptions calls. BOUNDED by the nodes' sessions. */
  readonly #listeners = new Map<string, Set<Wakeup>>();

  constructor(store: Store, stopping: AbortSignal) {
    this.#store = store;
    this.#stopping = stopping;
  }

  /** @returns the service for the gRPC server. */
  service(): ServiceImpl<typeof LogBrokerService> {
    return {
      listenSubscriptions: (_request, context) => this.#listen(context),
      publishLogs: (messages, context) => this.#publish(messages, context),
    };
  }

  async *subscribe(request: ClusterLogRequest): AsyncGenerator<ClusterLogMessage> {
    if (request.serviceIds.length + request.taskIds.length === 0) {
      throw new RpcError('InvalidArgument', 'log selector must not be empty');
    }
    if (this.#subscriptions.size >= maxSubscriptions) {
      throw new RpcError('ResourceExhausted', `more than ${maxSubscriptions} log readers`);
    }
    const subscription = newSubscription(request);
    const unwatch = this.#watchTasks(subscription);
    this.#subscriptions.set(subscription.id, subscription);
    try {
      for (const nodeId of this.#store.view((transaction) => subscription.match(transaction))) {
        if (this.#listeners.has(nodeId)) this.#wake(nodeId);
        else subscription.done(nodeId, `node ${nodeId} is not available`);
      }
      const signal = AbortSignal.any([request.signal, this.#stopping]);
      for await (const message of subscription.read(signal)) yield clusterMessage(message);
    } finally {
      unwatch();
      this.#subscriptions.delete(subscription.id);
      subscription.close();
      for (const nodeId of this.#listeners.keys()) this.#wake(nodeId);
    }
  }

  async *#listen(context: HandlerContext): AsyncGenerator<SubscriptionMessage> {
    const { nodeId } = callerOf(context.values);
    const wakeup = new Wakeup();
    const listeners = this.#listeners.get(nodeId) ?? new Set();
    this.#listeners.set(nodeId, listeners.add(wakeup));
    const sent = new Map<string, Subscription>();
    wakeup.notify();
    try {
      const ended = AbortSignal.any([context.signal, this.#stopping]);
      while (await wakeup.next(ended)) {
        for (const [id, subscription] of sent) {
          if (!subscription.message.close) continue;
          sent.delete(id);
          yield subscription.message;
        }
        for (const subscription of [...this.#subscriptions.values()]) {
          if (sent.has(subscription.id) || !subscription.contains(nodeId)) continue;
          sent.set(subscription.id, subscription);
          yield subscription.message;
        }
      }
    } finally {
      listeners.delete(wakeup);
      if (listeners.size === 0) this.#disconnected(nodeId);
    }
  }

  async #publish(messages: AsyncIterable<PublishLogsMessage>, context: HandlerContext): Promise<object> {
    const { nodeId } = callerOf(context.values);
    let subscription: Subscription | undefined;
    try {
      for await (const message of messages) {
        subscription = this.#subscriptionFor(message.subscriptionId, subscription);
        if (message.close) break;
        const foreign = message.messages.find(({ context: origin }) => origin?.nodeId !== nodeId);
        if (foreign !== undefined) {
          const received = foreign.context?.nodeId ?? '';
          throw new RpcError('PermissionDenied', `invalid NodeID: expected=${nodeId};received=${received}`);
        }
        await subscription.push(message.messages, context.signal);
      }
      subscription?.done(nodeId);
      return {};
    } catch (error) {
      subscription?.done(nodeId, `node ${nodeId} disconnected unexpectedly`);
      throw error;
    }
  }

  #subscriptionFor(id: string, current: Subscription | undefined): Subscription {
    if (id === '') throw new RpcError('InvalidArgument', 'missing subscription ID');
    if (current !== undefined && current.id !== id) {
      throw new RpcError('InvalidArgument', 'different subscription IDs in the same session');
    }
    const found = this.#subscriptions.get(id);
    if (found === undefined) throw new RpcError('NotFound', 'unknown subscription ID');
    return found;
  }

  /** A follower is told of tasks that come later. */
  #watchTasks(subscription: Subscription): () => void {
    if (!subscription.follow) return () => {};
    return this.#store.watch((events) => {
      for (const { table, action, object } of events) {
        if (table !== 'task' || action === 'delete' || !('serviceId' in object)) continue;
        if (!subscription.matches(object)) continue;
        for (const nodeId of subscription.add(object)) this.#wake(nodeId);
      }
    });
  }

  #disconnected(nodeId: string): void {
    this.#listeners.delete(nodeId);
    for (const subscription of this.#subscriptions.values()) {
      if (subscription.contains(nodeId)) subscription.done(nodeId, `node ${nodeId} disconnected unexpectedly`);
    }
  }

  #wake(nodeId: string): void {
    for (const wakeup of this.#listeners.get(nodeId) ?? []) wakeup.notify();
  }
}

function newSubscription(request: ClusterLogRequest): Subscription {
  const { serviceIds, taskIds, follow, tail, since } = request;
  const selector = create(LogSelectorSchema, { serviceIds: [...serviceIds], taskIds: [...taskIds] });
  const options = create(LogSubscriptionOptionsSchema, {
    streams: [...(request.stdout ? [LogStream.STDOUT] : []), ...(request.stderr ? [LogStream.STDERR] : [])],
    follow,
    // 0 is "from the beginning", so that a number of lines is told negative, less one.
    tail: tail === undefined ? 0n : -BigInt(tail) - 1n,
    ...(since !== undefined && { since: timestampFromNanos(since) }),
  });
  return new Subscription(selector, options);
}

function clusterMessage(message: LogMessage): ClusterLogMessage {
  return {
    nodeId: message.context?.nodeId ?? '',
    serviceId: message.context?.serviceId ?? '',
    taskId: message.context?.taskId ?? '',
    stream: message.stream === LogStream.STDERR ? 'stderr' : 'stdout',
    timestamp: message.timestamp === undefined ? '' : rfc3339Nano(message.timestamp),
    data: message.data,
    attributes: Object.fromEntries(message.attrs.map(({ key, value }) => [key, value])),
  };
}

function timestampFromNanos(nanos: bigint): Timestamp {
  return create(TimestampSchema, { seconds: nanos / nanosPerSecond, nanos: Number(nanos % nanosPerSecond) });
}

/** As Go's time.RFC3339Nano with all nine digits, which is how Docker prints log times. */
function rfc3339Nano(timestamp: Timestamp): string {
  const seconds = new Date(Number(timestamp.seconds) * 1000).toISOString().slice(0, 19);
  return `${seconds}.${String(timestamp.nanos).padStart(9, '0')}Z`;
}
