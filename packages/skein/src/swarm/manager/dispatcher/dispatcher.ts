import { create, equals } from '@bufbuild/protobuf';
import { durationFromMs, durationMs } from '@bufbuild/protobuf/wkt';
import type { HandlerContext, ServiceImpl } from '@connectrpc/connect';
import { type Clock, delay, type Logger, RpcError } from '../../../common/index.ts';
import {
  type AssignmentsMessage,
  AssignmentsMessage_Type,
  AssignmentsMessageSchema,
  type Dispatcher as DispatcherService,
  type SessionMessage,
  SessionMessageSchema,
  type SessionRequest,
  type UpdateTaskStatusRequest,
} from '../../gen/dispatcher_pb.js';
import type { Cluster } from '../../gen/objects_pb.js';
import { type WeightedPeer, WeightedPeerSchema } from '../../gen/types_pb.js';
import { Wakeup } from '../../identity/index.ts';
import type { Store, StoreEvent } from '../../store/types.ts';
import { callerOf, hostOf, peerKey } from '../server/peer.ts';
import type { HostWitness } from '../types.ts';
import { AssignmentSet } from './assignments.ts';
import {
  assignmentBatchMs,
  defaultHeartbeatPeriodMs,
  managerWeight,
  messages,
  silentHostPeriods,
} from './constants.ts';
import { HostWatch } from './host-watch.ts';
import { NodeStatuses } from './node-status.ts';
import { type RegisteredNode, SessionTable } from './sessions.ts';
import { StatusBatch } from './status-batch.ts';

export interface DispatcherOptions {
  readonly store: Store;
  readonly clusterId: string;
  /** The manager's own node. */
  readonly nodeId: string;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Without one, heartbeats alone tell that a node is down. */
  readonly witness?: HostWitness | undefined;
}

/**
 * The manager's conversation with the nodes: sessions, liveness, assignments, statuses. All state that outlives a
 * session is in the store.
 */
export class Dispatcher {
  readonly #options: DispatcherOptions;
  readonly #sessions: SessionTable;
  readonly #statuses: NodeStatuses;
  readonly #batch: StatusBatch;
  readonly #stopping = new AbortController();
  readonly #unwatch: () => void;
  readonly #hosts: HostWatch | undefined;

  constructor(options: DispatcherOptions) {
    this.#options = options;
    const { store, clock, logger, nodeId } = options;
    this.#statuses = new NodeStatuses(store, clock, logger);
    this.#batch = new StatusBatch({ store, clock, logger, managerId: nodeId });
    this.#sessions = new SessionTable({
      clock,
      heartbeatPeriodMs: () => this.#heartbeatPeriodMs(),
      expired: (silent) => this.#statuses.expired(silent, messages.heartbeatFailure),
    });
    this.#hosts = options.witness && this.#watchHosts(options.witness);
    this.#statuses.start(this.#heartbeatPeriodMs());
    this.#unwatch = store.watch((events) => {
      for (const { table, action, object } of events) {
        if (table === 'node' && action === 'delete') this.#removed(object.id);
      }
    });
  }

  #watchHosts(witness: HostWitness): HostWatch {
    const { clock, logger, nodeId: own } = this.#options;
    return new HostWatch({
      witness,
      nodes: () => this.#sessions.all().filter(({ nodeId }) => nodeId !== own),
      silenceMs: () => this.#heartbeatPeriodMs() * silentHostPeriods,
      gone: (nodeId) => {
        this.#sessions.end(nodeId);
        this.#statuses.expired(nodeId, messages.hostGone);
      },
      clock,
      logger,
    });
  }

  /** Ends all sessions and writes what is pending. */
  close(): void {
    this.#hosts?.close();
    this.#unwatch();
    this.#stopping.abort();
    for (const nodeId of this.#sessions.endAll()) this.#statuses.disconnected(nodeId);
    this.#batch.flush();
    this.#statuses.close();
  }

  /** @returns the service for the gRPC server. Tasks is left out: agents that know Assignments never call it. */
  service(): Partial<ServiceImpl<typeof DispatcherService>> {
    return {
      session: (request, context) => this.#session(request, context),
      heartbeat: ({ sessionId }, { values }) => {
        this.#checkRunning();
        return { period: durationFromMs(Math.round(this.#sessions.heartbeat(callerOf(values).nodeId, sessionId))) };
      },
      updateTaskStatus: (request, { values }) => this.#updateTaskStatus(callerOf(values).nodeId, request),
      updateVolumeStatus: ({ sessionId }, { values }) => {
        this.#checkRunning();
        this.#sessions.get(callerOf(values).nodeId, sessionId);
        return {};
      },
      assignments: ({ sessionId }, context) => this.#assignments(sessionId, context),
    };
  }

  async *#session(request: SessionRequest, context: HandlerContext): AsyncGenerator<SessionMessage> {
    this.#checkRunning();
    const { nodeId, address: caller } = callerOf(context.values);
    const node = this.#options.store.view((transaction) => transaction.get('node', nodeId));
    if (node === undefined) throw new RpcError('Unknown', 'node not found');
    // The manager's own node comes from loopback: it is known as the manager is.
    const address = node.managerStatus?.addr ? hostOf(node.managerStatus.addr) : caller;
    const connection = { address, ping: context.values.get(peerKey).ping };
    const session =
      this.#sessions.resume(nodeId, request.sessionId, connection) ?? this.#sessions.register(nodeId, connection);
    this.#options.logger.info({ node: nodeId, address, session: session.sessionId }, 'session');
    this.#statuses.ready(nodeId, address, request.description);

    const wakeup = new Wakeup();
    const unwatch = this.#options.store.watch((events) => {
      if (events.some((event) => concernsSession(event, nodeId))) wakeup.notify();
    });
    try {
      const ended = AbortSignal.any([context.signal, session.ended]);
      let last = this.#sessionMessage(session);
      yield last;
      while (await wakeup.next(ended)) {
        const next = this.#sessionMessage(session);
        if (equals(SessionMessageSchema, last, next)) continue;
        yield next;
        last = next;
      }
      if (context.signal.aborted) return;
      if (this.#stopping.signal.aborted) yield last;
      throw new RpcError('Aborted', 'node must disconnect');
    } finally {
      unwatch();
    }
  }

  async *#assignments(sessionId: string, context: HandlerContext): AsyncGenerator<AssignmentsMessage> {
    this.#checkRunning();
    const { nodeId } = callerOf(context.values);
    const session = this.#sessions.get(nodeId, sessionId);
    const ended = AbortSignal.any([context.signal, session.ended]);
    const { store, clock } = this.#options;
    const assigned = new AssignmentSet();
    const wakeup = new Wakeup();
    const unwatch = store.watch((events) => {
      store.view((transaction) => {
        for (const { table, action, object } of events as StoreEvent<'task'>[]) {
          if (table !== 'task' || object.nodeId !== nodeId) continue;
          if (action === 'delete') assigned.remove(object.id);
          else assigned.update(object, transaction);
        }
      });
      if (assigned.changeCount > 0) wakeup.notify();
    });
    try {
      store.view((transaction) => {
        for (const task of transaction.tasksByNode(nodeId)) assigned.update(task, transaction);
      });
      let sequence = 1;
      const changes = assigned.takeChanges();
      let sentAt = clock.now();
      yield create(AssignmentsMessageSchema, { type: AssignmentsMessage_Type.COMPLETE, resultsIn: '1', changes });
      while (await wakeup.next(ended)) {
        await delay(clock, Math.max(0, sentAt + assignmentBatchMs - clock.now()), ended);
        const changes = assigned.takeChanges();
        if (changes.length === 0) continue;
        sentAt = clock.now();
        const [appliesTo, resultsIn] = [String(sequence), String(++sequence)];
        yield create(AssignmentsMessageSchema, {
          type: AssignmentsMessage_Type.INCREMENTAL,
          appliesTo,
          resultsIn,
          changes,
        });
      }
    } catch (error) {
      if (!ended.aborted) throw error;
    } finally {
      unwatch();
    }
    if (!context.signal.aborted) throw new RpcError('Aborted', 'dispatcher is stopped');
  }

  #updateTaskStatus(nodeId: string, request: UpdateTaskStatusRequest): object {
    this.#checkRunning();
    this.#sessions.get(nodeId, request.sessionId);
    const known = this.#options.store.view((transaction) =>
      request.updates.flatMap(({ taskId, status }) => {
        const task = transaction.get('task', taskId);
        return task === undefined || status === undefined ? [] : [{ task, status }];
      }),
    );
    if (known.some(({ task }) => task.nodeId !== nodeId)) {
      throw new RpcError('PermissionDenied', 'cannot update a task not assigned this node');
    }
    for (const { task, status } of known) this.#batch.add(task.id, status);
    return {};
  }

  #sessionMessage(session: RegisteredNode): SessionMessage {
    const { store, clusterId } = this.#options;
    return store.view((transaction) => {
      const cluster = transaction.get('cluster', clusterId);
      return create(SessionMessageSchema, {
        sessionId: session.sessionId,
        node: transaction.get('node', session.nodeId),
        managers: transaction.list('node').flatMap(({ id, managerStatus }) => weightedPeer(id, managerStatus?.addr)),
        networkBootstrapKeys: cluster?.networkBootstrapKeys ?? [],
        rootCa: cluster?.rootCa?.caCert ?? new Uint8Array(),
      });
    });
  }

  #heartbeatPeriodMs(): number {
    const { store, clusterId } = this.#options;
    return heartbeatPeriodMs(store.view((transaction) => transaction.get('cluster', clusterId)));
  }

  #removed(nodeId: string): void {
    this.#sessions.end(nodeId);
    this.#statuses.forget(nodeId);
  }

  #checkRunning(): void {
    if (this.#stopping.signal.aborted) throw new RpcError('Aborted', 'dispatcher is stopped');
  }
}

function heartbeatPeriodMs(cluster: Cluster | undefined): number {
  const period = cluster?.spec?.dispatcher?.heartbeatPeriod;
  const milliseconds = period === undefined ? 0 : durationMs(period);
  return milliseconds > 0 ? milliseconds : defaultHeartbeatPeriodMs;
}

function weightedPeer(nodeId: string, addr: string | undefined): WeightedPeer[] {
  if (addr === undefined || addr === '') return [];
  return [create(WeightedPeerSchema, { peer: { nodeId, addr }, weight: managerWeight })];
}

/** Own node, keys and root of the cluster, managers. */
function concernsSession({ table, object, previous }: StoreEvent, nodeId: string): boolean {
  if (table === 'cluster') return true;
  if (table !== 'node') return false;
  return object.id === nodeId || 'managerStatus' in object || (previous !== undefined && 'managerStatus' in previous);
}
