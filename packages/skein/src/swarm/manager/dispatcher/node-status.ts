import { clone, create, equals } from '@bufbuild/protobuf';
import type { Clock, Logger, Timer } from '../../../common/index.ts';
import { type Node, NodeSchema, type Task, TaskSchema } from '../../gen/objects_pb.js';
import {
  type NodeDescription,
  NodeDescriptionSchema,
  type NodeStatus,
  NodeStatus_State,
  NodeStatusSchema,
  TaskState,
  TaskStatusSchema,
} from '../../gen/types_pb.js';
import type { Store } from '../../store/types.ts';
import { messages, orphanAfterMs, unknownGracePeriods } from './constants.ts';

/**
 * Keeps each Node's status in the store and the consequences of silence: UNKNOWN nodes that never come become DOWN, the
 * tasks of a node that stays DOWN become ORPHANED.
 */
export class NodeStatuses {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** Per node, what happens when it stays silent. BOUNDED by the number of nodes. */
  readonly #timers = new Map<string, Timer>();

  constructor(store: Store, clock: Clock, logger: Logger) {
    this.#store = store;
    this.#clock = clock;
    this.#logger = logger;
  }

  /** A starting manager knows of no heartbeat: nodes that were not down become UNKNOWN and get twice the usual grace. */
  start(heartbeatPeriodMs: number): void {
    for (const { id, status } of this.#store.view((transaction) => transaction.list('node'))) {
      if (status?.state === NodeStatus_State.DOWN) {
        this.#orphanLater(id);
        continue;
      }
      this.#set(id, { state: NodeStatus_State.UNKNOWN, message: messages.unknown });
      this.#after(id, heartbeatPeriodMs * unknownGracePeriods, () => this.down(id, messages.unknownHeartbeatFailure));
    }
  }

  /** The node registered: READY at `address`, with what it says about itself. */
  ready(nodeId: string, address: string, description: NodeDescription | undefined): void {
    this.#cancel(nodeId);
    this.#set(nodeId, { state: NodeStatus_State.READY, message: '', addr: address }, description);
  }

  /** The node is silent: DOWN; its tasks are placed elsewhere by the orchestrator, and orphaned after a day. */
  down(nodeId: string, message: string): void {
    this.#logger.warn({ node: nodeId, message }, 'node is down');
    this.#set(nodeId, { state: NodeStatus_State.DOWN, message });
    this.#orphanLater(nodeId);
  }

  /** The node's session is over: its heartbeats ceased, or its host is gone. */
  expired(nodeId: string, message: string): void {
    this.#guard(nodeId, () => this.down(nodeId, message));
  }

  /** This manager stops serving the node. */
  disconnected(nodeId: string): void {
    this.#set(nodeId, { state: NodeStatus_State.DISCONNECTED, message: messages.disconnected });
  }

  /** The node is gone from the cluster. */
  forget(nodeId: string): void {
    this.#cancel(nodeId);
  }

  close(): void {
    for (const timer of this.#timers.values()) this.#clock.clearTimeout(timer);
    this.#timers.clear();
  }

  #set(nodeId: string, status: Partial<NodeStatus>, description?: NodeDescription): void {
    this.#store.update((transaction) => {
      const node = transaction.get('node', nodeId);
      if (node === undefined) return;
      const next = clone(NodeSchema, node);
      next.status = Object.assign(next.status ?? create(NodeStatusSchema), status);
      if (description !== undefined) next.description = description;
      if (!sameStatus(node, next)) transaction.update('node', next);
    });
  }

  #orphanLater(nodeId: string): void {
    this.#after(nodeId, orphanAfterMs, () => {
      this.#logger.warn({ node: nodeId }, 'node stays down: its tasks are orphaned');
      this.#store.update((transaction) => {
        for (const task of transaction.tasksByNode(nodeId).filter(isActive)) {
          const next = clone(TaskSchema, task);
          next.status = Object.assign(next.status ?? create(TaskStatusSchema), { state: TaskState.ORPHANED });
          transaction.update('task', next);
        }
      });
    });
  }

  #after(nodeId: string, milliseconds: number, action: () => void): void {
    this.#cancel(nodeId);
    const timer = this.#clock.setTimeout(() => {
      this.#timers.delete(nodeId);
      this.#guard(nodeId, action);
    }, milliseconds);
    this.#timers.set(nodeId, timer);
  }

  /** What a timer sets off has no caller that could take its error. */
  #guard(nodeId: string, action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#logger.error({ err: error, node: nodeId }, 'node status could not be written');
    }
  }

  #cancel(nodeId: string): void {
    this.#clock.clearTimeout(this.#timers.get(nodeId));
    this.#timers.delete(nodeId);
  }
}

function sameStatus(a: Node, b: Node): boolean {
  const same = a.status !== undefined && b.status !== undefined && equals(NodeStatusSchema, a.status, b.status);
  if (a.description === undefined || b.description === undefined) return same && a.description === b.description;
  return same && equals(NodeDescriptionSchema, a.description, b.description);
}

function isActive(task: Task): boolean {
  const state = task.status?.state ?? TaskState.NEW;
  return state >= TaskState.ASSIGNED && state <= TaskState.RUNNING;
}
