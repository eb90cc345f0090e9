import { timestampMs } from '@bufbuild/protobuf/wkt';
import type { Node, Task } from '../../gen/objects_pb.js';
import { type GenericResource, PortConfig_PublishMode, type Resources, TaskState } from '../../gen/types_pb.js';
import type { ReadTransaction } from '../../store/index.ts';
import { isAlive, isWanted, stateOf } from '../tasks.ts';

/** Failures of a service on a node within this time count against the node (swarmkit manager/scheduler: monitorFailures). */
const failureMemoryMs = 5 * 60_000;

/** What a node has left, with the decisions of the current run already counted. */
export class NodeLoad {
  node: Node;
  nanoCpus: bigint;
  memoryBytes: bigint;
  /** Free amounts by kind; a named resource counts as one. */
  readonly generic = new Map<string, bigint>();
  readonly hostPorts = new Set<string>();
  readonly #byService = new Map<string, number>();
  readonly #failures = new Map<string, number>();
  total = 0;

  constructor(tx: ReadTransaction, node: Node, now: number) {
    this.node = node;
    const resources = node.description?.resources;
    this.nanoCpus = resources?.nanoCpus ?? 0n;
    this.memoryBytes = resources?.memoryBytes ?? 0n;
    for (const [kind, amount] of genericAmounts(resources)) this.generic.set(kind, amount);
    for (const task of tx.tasksByNode(node.id)) this.#count(task, now);
  }

  tasksOf(serviceId: string): number {
    return this.#byService.get(serviceId) ?? 0;
  }

  recentFailures(serviceId: string): number {
    return this.#failures.get(serviceId) ?? 0;
  }

  /** Counts a task that is, or will be, on the node. */
  add(task: Task): void {
    const reserved = task.spec?.resources?.reservations;
    this.nanoCpus -= reserved?.nanoCpus ?? 0n;
    this.memoryBytes -= reserved?.memoryBytes ?? 0n;
    for (const [kind, amount] of genericAmounts(reserved))
      this.generic.set(kind, (this.generic.get(kind) ?? 0n) - amount);
    for (const port of hostPortsOf(task)) this.hostPorts.add(port);
    if (!isWanted(task)) return;
    this.total++;
    this.#byService.set(task.serviceId, this.tasksOf(task.serviceId) + 1);
  }

  #count(task: Task, now: number): void {
    const state = stateOf(task);
    if (isAlive(task) && state >= TaskState.ASSIGNED) this.add(task);
    const failed = state === TaskState.FAILED || state === TaskState.REJECTED;
    if (failed && task.status?.timestamp && timestampMs(task.status.timestamp) > now - failureMemoryMs)
      this.#failures.set(task.serviceId, this.recentFailures(task.serviceId) + 1);
  }
}

/** @returns how much of each generic resource is given or asked for. */
export function genericAmounts(resources: Resources | undefined): Map<string, bigint> {
  const amounts = new Map<string, bigint>();
  const add = (kind: string, amount: bigint) => amounts.set(kind, (amounts.get(kind) ?? 0n) + amount);
  for (const { resource } of (resources?.generic ?? []) as GenericResource[]) {
    if (resource.case === 'namedResourceSpec') add(resource.value.kind, 1n);
    if (resource.case === 'discreteResourceSpec') add(resource.value.kind, resource.value.value);
  }
  return amounts;
}

/** @returns the fixed host-mode ports that a task opens on its node, as `protocol/port`. */
export function hostPortsOf(task: Task): string[] {
  return (task.endpoint?.ports ?? [])
    .filter((port) => port.publishMode === PortConfig_PublishMode.HOST && port.publishedPort !== 0)
    .map((port) => `${port.protocol}/${port.publishedPort}`);
}
