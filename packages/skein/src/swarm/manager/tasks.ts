import { clone, create, equals } from '@bufbuild/protobuf';
import { timestampFromMs, timestampMs } from '@bufbuild/protobuf/wkt';
import { newObjectId } from '../../common/index.ts';
import { type Cluster, type Node, type Service, type Task, TaskSchema } from '../gen/objects_pb.js';
import {
  EndpointSpecSchema,
  NodeSpec_Availability,
  ServiceSpecSchema,
  type TaskSpec,
  TaskSpecSchema,
} from '../gen/specs_pb.js';
import { NodeStatus_State, PlacementSchema, TaskState } from '../gen/types_pb.js';
import type { ReadTransaction, WriteTransaction } from '../store/index.ts';
import { parseConstraints, satisfiesConstraints } from './constraints.ts';

export function stateOf(task: Task): TaskState {
  return task.status?.state ?? TaskState.NEW;
}

/** @returns whether the task has not ended: its container may exist and its addresses are in use. */
export function isAlive(task: Task): boolean {
  return stateOf(task) <= TaskState.RUNNING;
}

/** @returns whether the cluster wants the task to run, or to run later; of a job, that it runs to its end. */
export function isWanted(task: Task): boolean {
  return task.desiredState <= TaskState.COMPLETE;
}

/** @returns whether the task is a job's and has done its work: it is neither run again nor brought down. */
export function isDone(task: Task): boolean {
  return task.jobIteration !== undefined && stateOf(task) === TaskState.COMPLETE;
}

/** @returns what is wanted of a task that may run: a job's is to come to its end. */
export function startedState(task: Pick<Task, 'jobIteration'>): TaskState {
  return task.jobIteration === undefined ? TaskState.RUNNING : TaskState.COMPLETE;
}

/** @returns whether the task is on its way down on some node. */
export function isStopping(task: Task): boolean {
  return !isWanted(task) && isAlive(task) && stateOf(task) >= TaskState.ASSIGNED;
}

/** @returns when an object was made, in ms since the epoch. */
export function createdMs({ meta }: Pick<Task, 'meta'>): number {
  return meta?.createdAt ? timestampMs(meta.createdAt) : 0;
}

/** Raises what the cluster wants of a task; never lowers it. */
export function setDesiredState(tx: WriteTransaction, id: string, desired: TaskState): void {
  const stored = tx.get('task', id);
  if (!stored || stored.desiredState >= desired) return;
  const task = clone(TaskSchema, stored);
  task.desiredState = desired;
  tx.update('task', task);
}

/** Starts a task that was held back with desired state READY. */
export function releaseTask(tx: WriteTransaction, id: string): void {
  const stored = tx.get('task', id);
  if (!stored || stored.desiredState >= TaskState.RUNNING) return;
  const task = clone(TaskSchema, stored);
  task.desiredState = startedState(task);
  tx.update('task', task);
}

/** The manager's own steps of a task's state: NEW, PENDING, ASSIGNED, ORPHANED. */
export function setStatus(task: Task, now: number, state: TaskState, message: string, err = ''): void {
  const status = create(TaskSchema, { status: { timestamp: timestampFromMs(now), state, message, err } }).status;
  if (status) task.status = status;
}

export interface NewTask {
  readonly cluster: Cluster | undefined;
  readonly service: Service;
  /** From 1 in a replicated service, from 0 in a replicated job, 0 in a global one. */
  readonly slot: bigint;
  /** The node of a global service's task, else ''. */
  readonly nodeId: string;
  /** `held`: not before it is released (READY). */
  readonly start: 'now' | 'held';
  readonly now: number;
}

/** @returns a task of a service as its spec is now, in state NEW. */
export function newTask({ cluster, service, slot, nodeId, start, now }: NewTask): Task {
  const spec = clone(ServiceSpecSchema, service.spec ?? create(ServiceSpecSchema));
  const jobIteration = isJob(service) ? { index: service.jobStatus?.jobIteration?.index ?? 0n } : undefined;
  const task = create(TaskSchema, {
    id: newObjectId(),
    serviceId: service.id,
    slot,
    nodeId,
    jobIteration,
    spec: spec.task ?? create(TaskSpecSchema),
    specVersion: { index: service.specVersion?.index ?? 0n },
    serviceAnnotations: spec.annotations ?? {},
    endpoint: { spec: spec.endpoint },
    logDriver: spec.task?.logDriver ?? cluster?.spec?.taskDefaults?.logDriver,
  });
  task.desiredState = start === 'held' ? TaskState.READY : startedState(task);
  setStatus(task, now, TaskState.NEW, 'created');
  return task;
}

/** @returns whether a service's tasks are to come to an end (swarmkit's replicated-job and global-job). */
export function isJob(service: Service): boolean {
  const mode = service.spec?.mode.case;
  return mode === 'replicatedJob' || mode === 'globalJob';
}

/** @returns whether a node can keep tasks at all: it is there, not down and not drained. */
export function isUsable(node: Node | undefined): node is Node {
  return (
    node !== undefined &&
    node.status?.state !== NodeStatus_State.DOWN &&
    node.spec?.availability !== NodeSpec_Availability.DRAIN
  );
}

/** @returns whether a node satisfies a task spec's placement constraints (checked when the spec was accepted). */
export function satisfiesPlacement(node: Node, spec: TaskSpec | undefined): boolean {
  const constraints = spec?.placement?.constraints ?? [];
  return constraints.length === 0 || satisfiesConstraints(node, parseConstraints(constraints));
}

/**
 * @returns whether a task differs from what its service's spec asks for and must be replaced. Other placement
 * constraints alone do not count while its node satisfies them, nor do other registry credentials once it has its
 * image (swarmkit manager/orchestrator/task.go).
 */
export function isOutdated(tx: ReadTransaction, service: Service, task: Task): boolean {
  if ((task.specVersion?.index ?? 0n) === (service.specVersion?.index ?? 0n)) return false;
  const wanted = clone(TaskSpecSchema, service.spec?.task ?? create(TaskSpecSchema));
  const actual = clone(TaskSpecSchema, task.spec ?? create(TaskSpecSchema));
  const node = tx.get('node', task.nodeId);
  if (node && satisfiesPlacement(node, wanted)) {
    wanted.placement = create(PlacementSchema);
    actual.placement = create(PlacementSchema);
  }
  const hasImage = isWanted(task) && stateOf(task) >= TaskState.READY && stateOf(task) <= TaskState.RUNNING;
  if (hasImage && wanted.runtime.case === 'container' && actual.runtime.case === 'container')
    wanted.runtime.value.pullOptions = actual.runtime.value.pullOptions;
  const noEndpoint = create(EndpointSpecSchema);
  return (
    !equals(TaskSpecSchema, wanted, actual) ||
    !equals(EndpointSpecSchema, service.spec?.endpoint ?? noEndpoint, task.endpoint?.spec ?? noEndpoint)
  );
}
