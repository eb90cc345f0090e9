import { create } from '@bufbuild/protobuf';
import { newObjectId, RpcError } from '../../../common/index.ts';
import {
  type LogMessage,
  type LogSelector,
  type LogSubscriptionOptions,
  type SubscriptionMessage,
  SubscriptionMessageSchema,
} from '../../gen/logbroker_pb.js';
import type { Task } from '../../gen/objects_pb.js';
import { TaskState } from '../../gen/types_pb.js';
import { Wakeup } from '../../identity/index.ts';
import type { ReadTransaction } from '../../store/types.ts';

/** Batches that wait for the reader before the nodes are held back. */
const maxQueuedBatches = 64;

/** One reader of logs: which nodes still owe it something, and what they sent. */
export class Subscription {
  readonly message: SubscriptionMessage;
  readonly #selector: LogSelector;
  /** Nodes with a matching task that are not done. BOUNDED by the number of nodes. */
  readonly #nodes = new Set<string>();
  /** Nodes that ever matched, so that each is asked once. */
  readonly #asked = new Set<string>();
  readonly #unscheduled = new Set<string>();
  readonly #errors: string[] = [];
  /** BOUNDED by maxQueuedBatches and one batch a publishing node. */
  readonly #queue: (readonly LogMessage[])[] = [];
  readonly #arrived = new Wakeup();
  readonly #spaceWaiters = new Set<() => void>();

  constructor(selector: LogSelector, options: LogSubscriptionOptions) {
    this.#selector = selector;
    this.message = create(SubscriptionMessageSchema, { id: newObjectId(), selector, options });
  }

  get id(): string {
    return this.message.id;
  }

  get follow(): boolean {
    return this.message.options?.follow ?? false;
  }

  contains(nodeId: string): boolean {
    return this.#nodes.has(nodeId);
  }

  /** Finds the nodes of all matching tasks. @returns those that are new. */
  match(transaction: ReadTransaction): string[] {
    const byId = this.#selector.taskIds.flatMap((id) => transaction.get('task', id) ?? []);
    const byService = this.#selector.serviceIds.flatMap((id) => transaction.tasksByService(id));
    const started = byService.filter((task) => this.follow || (task.status?.state ?? 0) >= TaskState.RUNNING);
    return [...byId, ...started].flatMap((task) => this.add(task));
  }

  matches(task: Task): boolean {
    return this.#selector.taskIds.includes(task.id) || this.#selector.serviceIds.includes(task.serviceId);
  }

  /** Notes a matching task. @returns its node if that was not asked before. */
  add(task: Task): string[] {
    if (task.nodeId === '') {
      this.#unscheduled.add(task.id);
      return [];
    }
    this.#unscheduled.delete(task.id);
    if (this.#asked.has(task.nodeId)) return [];
    this.#asked.add(task.nodeId);
    this.#nodes.add(task.nodeId);
    return [task.nodeId];
  }

  /** The node has sent all, or never will. A follower stays open: the node may come back. */
  done(nodeId: string, error?: string): void {
    if (error !== undefined && this.#nodes.has(nodeId)) this.#errors.push(error);
    if (this.follow) return;
    this.#nodes.delete(nodeId);
    this.#arrived.notify();
  }

  /** Hands log messages to the reader. Resolves when there is room for more. */
  async push(messages: readonly LogMessage[], signal: AbortSignal): Promise<void> {
    this.#queue.push(messages);
    this.#arrived.notify();
    while (this.#queue.length >= maxQueuedBatches && !signal.aborted && !this.message.close) {
      await new Promise<void>((resolve) => {
        const done = (): void => {
          this.#spaceWaiters.delete(done);
          signal.removeEventListener('abort', done);
          resolve();
        };
        this.#spaceWaiters.add(done);
        signal.addEventListener('abort', done, { once: true });
      });
    }
  }

  /** @returns the messages until all nodes are done or `signal` aborts. @throws RpcError naming what is missing. */
  async *read(signal: AbortSignal): AsyncGenerator<LogMessage> {
    for (;;) {
      for (let batch = this.#queue.shift(); batch !== undefined; batch = this.#queue.shift()) {
        this.#releaseSpaceWaiters();
        yield* batch;
        if (signal.aborted) return;
      }
      if (!this.follow && this.#nodes.size === 0) break;
      if (!(await this.#arrived.next(signal))) return;
    }
    const reasons = [...this.#errors, ...[...this.#unscheduled].map((id) => `task ${id} has not been scheduled`)];
    if (reasons.length > 0) {
      const reasonText = reasons.join(', ');
      throw new RpcError(
        'Unknown',
        `warning: incomplete log stream. some logs could not be retrieved for the following reasons: ${reasonText}`,
      );
    }
  }

  /** The reader went away. */
  close(): void {
    this.message.close = true;
    this.#queue.length = 0;
    this.#releaseSpaceWaiters();
  }

  #releaseSpaceWaiters(): void {
    for (const resolve of this.#spaceWaiters) resolve();
    this.#spaceWaiters.clear();
  }
}
