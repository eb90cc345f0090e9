import { create, equals } from '@bufbuild/protobuf';
import {
  type Assignment,
  type AssignmentChange,
  AssignmentChange_AssignmentAction,
  AssignmentChangeSchema,
} from '../../gen/dispatcher_pb.js';
import { ConfigSchema, SecretSchema, type Task, TaskSchema } from '../../gen/objects_pb.js';
import { ResourceType, TaskState } from '../../gen/types_pb.js';
import type { ReadTransaction } from '../../store/types.ts';

type Item = NonNullable<Assignment['item']>;
type DependencyKind = 'secret' | 'config';
interface Dependency {
  readonly kind: DependencyKind;
  readonly id: string;
}

/**
 * What one node has been assigned, and what changed since the last message (swarmkit
 * manager/dispatcher/assignments.go). Secrets and configs are counted by the tasks that need them: sent with the first,
 * taken back with the last. BOUNDED by the node's tasks and what they reference.
 */
export class AssignmentSet {
  readonly #tasks = new Map<string, Task>();
  /** `kind/id` → the tasks that use it. */
  readonly #users = new Map<string, Set<string>>();
  readonly #changes = new Map<string, AssignmentChange>();

  get changeCount(): number {
    return this.#changes.size;
  }

  /** @returns the changes since the last call. The receiver sorts by kind itself. */
  takeChanges(): AssignmentChange[] {
    const changes = [...this.#changes.values()];
    this.#changes.clear();
    return changes;
  }

  /** A task of the node was created or changed. */
  update(task: Task, transaction: ReadTransaction): void {
    const state = stateOf(task);
    if (state < TaskState.ASSIGNED) return;
    const known = this.#tasks.get(task.id);
    this.#tasks.set(task.id, task);
    if (known === undefined) {
      if (state <= TaskState.RUNNING) this.#acquire(task, transaction);
    } else if (state > TaskState.ASSIGNED && equalButStatus(known, task)) {
      if (state > TaskState.RUNNING) this.#release(task);
      return;
    }
    this.#change(`task/${task.id}`, AssignmentChange_AssignmentAction.UPDATE, { case: 'task', value: task });
  }

  /** A task of the node was deleted. */
  remove(taskId: string): void {
    const task = this.#tasks.get(taskId);
    if (task === undefined) return;
    this.#tasks.delete(taskId);
    const item: Item = { case: 'task', value: create(TaskSchema, { id: taskId }) };
    this.#change(`task/${taskId}`, AssignmentChange_AssignmentAction.REMOVE, item);
    this.#release(task);
  }

  #acquire(task: Task, transaction: ReadTransaction): void {
    for (const { kind, id } of dependenciesOf(task)) {
      const key = `${kind}/${id}`;
      const users = this.#users.get(key) ?? new Set();
      if (users.size === 0) {
        const item = readDependency(transaction, kind, id);
        if (item === undefined) continue;
        this.#change(key, AssignmentChange_AssignmentAction.UPDATE, item);
      }
      this.#users.set(key, users.add(task.id));
    }
  }

  #release(task: Task): void {
    for (const { kind, id } of dependenciesOf(task)) {
      const key = `${kind}/${id}`;
      const users = this.#users.get(key);
      if (users?.delete(task.id) !== true || users.size > 0) continue;
      this.#users.delete(key);
      const item: Item =
        kind === 'secret'
          ? { case: 'secret', value: create(SecretSchema, { id }) }
          : { case: 'config', value: create(ConfigSchema, { id }) };
      this.#change(key, AssignmentChange_AssignmentAction.REMOVE, item);
    }
  }

  #change(key: string, action: AssignmentChange_AssignmentAction, item: Item): void {
    this.#changes.set(key, create(AssignmentChangeSchema, { action, assignment: { item } }));
  }
}

/** A secret that a driver provides is not in the store, so it is passed over; the task then fails with its name. */
function readDependency(transaction: ReadTransaction, kind: DependencyKind, id: string): Item | undefined {
  if (kind === 'config') {
    const value = transaction.get('config', id);
    return value && { case: 'config', value };
  }
  const value = transaction.get('secret', id);
  return value === undefined || value.spec?.driver !== undefined ? undefined : { case: 'secret', value };
}

/** Each once, whether referenced by the container or by `resource_references`. */
function dependenciesOf(task: Task): Dependency[] {
  const found = new Map<string, Dependency>();
  const add = (kind: DependencyKind, id: string) => found.set(`${kind}/${id}`, { kind, id });
  const runtime = task.spec?.runtime;
  if (runtime?.case === 'container') {
    for (const { secretId } of runtime.value.secrets) add('secret', secretId);
    for (const { configId } of runtime.value.configs) add('config', configId);
  }
  for (const { resourceId, resourceType } of task.spec?.resourceReferences ?? []) {
    if (resourceType === ResourceType.SECRET) add('secret', resourceId);
    if (resourceType === ResourceType.CONFIG) add('config', resourceId);
  }
  return [...found.values()];
}

function equalButStatus(a: Task, b: Task): boolean {
  return equals(TaskSchema, withoutStatus(a), withoutStatus(b));
}

const withoutStatus = (task: Task): Task => ({ ...task, status: undefined, meta: undefined });

function stateOf(task: Task): TaskState {
  return task.status?.state ?? TaskState.NEW;
}
