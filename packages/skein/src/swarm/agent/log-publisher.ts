import { create, type MessageInitShape } from '@bufbuild/protobuf';
import { type Timestamp, TimestampSchema } from '@bufbuild/protobuf/wkt';
import { errorText, type Logger } from '../../common/index.ts';
import {
  type LogMessage,
  LogMessageSchema,
  LogStream,
  type PublishLogsMessageSchema,
  type SubscriptionMessage,
} from '../gen/logbroker_pb.js';
import type { Task } from '../gen/objects_pb.js';
import { Wakeup } from '../identity/index.ts';
import type { TaskManager } from './task-manager.ts';
import type { TaskController, TaskLogOptions } from './types.ts';

/** What goes in one message: a manager refuses more than 4 MiB (swarmkit manager: gRPC's default). */
const batchLimit = { messages: 128, bytes: 1024 * 1024 } as const;
/** Messages that wait before the readers of the logs are held back. */
const maxQueued = 512;
const nanosPerSecond = 1_000_000_000n;

/** Reads the logs that one subscription asks for and gives them out as PublishLogs messages. */
export class LogPublisher {
  readonly #subscription: SubscriptionMessage;
  readonly #nodeId: string;
  readonly #logger: Logger;
  readonly #closing = new AbortController();
  /** BOUNDED by maxQueued and one message a task. */
  readonly #queue: LogMessage[] = [];
  readonly #arrived = new Wakeup();
  readonly #tasks = new Set<string>();
  readonly #spaceWaiters = new Set<() => void>();
  #reading = 0;

  constructor(subscription: SubscriptionMessage, nodeId: string, logger: Logger) {
    this.#subscription = subscription;
    this.#nodeId = nodeId;
    this.#logger = logger;
  }

  /** Reads this task's logs too, if the subscription selects it. */
  add(manager: TaskManager): void {
    const { task, controller } = manager;
    if (this.#tasks.has(task.id) || !this.#selects(task)) return;
    this.#tasks.add(task.id);
    this.#reading++;
    void this.#read(task, controller)
      .catch((error: unknown) => this.#logger.warn({ task: task.id, error: errorText(error) }, 'task logs ended early'))
      .finally(() => {
        this.#reading--;
        this.#arrived.notify();
      });
  }

  /** @returns the stream for PublishLogs; its last message closes the subscription on this node's behalf. */
  async *messages(): AsyncGenerator<MessageInitShape<typeof PublishLogsMessageSchema>> {
    const subscriptionId = this.#subscription.id;
    this.#arrived.notify();
    while (await this.#arrived.next(this.#closing.signal)) {
      while (this.#queue.length > 0) yield { subscriptionId, messages: this.#takeBatch() };
      if (this.#reading === 0 && this.#subscription.options?.follow !== true) break;
    }
    yield { subscriptionId, close: true };
  }

  close(): void {
    this.#closing.abort(new Error('log subscription closed'));
    this.#releaseSpaceWaiters();
  }

  #selects({ id, serviceId }: Task): boolean {
    const { serviceIds = [], taskIds = [], nodeIds = [] } = this.#subscription.selector ?? {};
    return taskIds.includes(id) || serviceIds.includes(serviceId) || nodeIds.includes(this.#nodeId);
  }

  #options(): TaskLogOptions {
    const { streams = [], follow = false, tail = 0n, since } = this.#subscription.options ?? {};
    const all = streams.length === 0;
    return {
      stdout: all || streams.includes(LogStream.STDOUT),
      stderr: all || streams.includes(LogStream.STDERR),
      follow,
      ...(tail < 0n && { tail: Number(-tail - 1n) }),
      ...(since !== undefined && { since: since.seconds * nanosPerSecond + BigInt(since.nanos) }),
      signal: this.#closing.signal,
    };
  }

  async #read(task: Task, controller: TaskController): Promise<void> {
    for await (const { stream, timestamp, line } of controller.logs(this.#options())) {
      if (this.#closing.signal.aborted) return;
      this.#queue.push(
        create(LogMessageSchema, {
          context: { serviceId: task.serviceId, nodeId: this.#nodeId, taskId: task.id },
          stream: stream === 'stdout' ? LogStream.STDOUT : LogStream.STDERR,
          data: line,
          ...(timestamp !== '' && { timestamp: parseTimestamp(timestamp) }),
        }),
      );
      this.#arrived.notify();
      while (this.#queue.length >= maxQueued && !this.#closing.signal.aborted) {
        await new Promise<void>((resolve) => this.#spaceWaiters.add(resolve));
      }
    }
  }

  #takeBatch(): LogMessage[] {
    let bytes = 0;
    let count = 0;
    for (const { data } of this.#queue.slice(0, batchLimit.messages)) {
      bytes += data.length;
      if (count > 0 && bytes > batchLimit.bytes) break;
      count++;
    }
    const batch = this.#queue.splice(0, count);
    this.#releaseSpaceWaiters();
    return batch;
  }

  #releaseSpaceWaiters(): void {
    for (const resolve of this.#spaceWaiters) resolve();
    this.#spaceWaiters.clear();
  }
}

/** Reads RFC 3339 with up to nine digits of fraction, without losing nanoseconds. */
export function parseTimestamp(text: string): Timestamp {
  const milliseconds = Date.parse(text);
  if (Number.isNaN(milliseconds)) return create(TimestampSchema);
  const fraction = /\.(\d{1,9})/.exec(text)?.[1] ?? '';
  return create(TimestampSchema, {
    seconds: BigInt(Math.floor(milliseconds / 1000)),
    nanos: Number(fraction.padEnd(9, '0')),
  });
}
