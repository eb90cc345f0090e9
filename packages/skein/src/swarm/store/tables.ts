import type { DescMessage } from '@bufbuild/protobuf';
import type { GenMessage } from '@bufbuild/protobuf/codegenv2';
import {
  ClusterSchema,
  ConfigSchema,
  NetworkSchema,
  NodeSchema,
  SecretSchema,
  ServiceSchema,
  type Task,
  TaskSchema,
} from '../gen/objects_pb.js';
import type { ReadTransaction, TableName, Tables } from './types.ts';

/** The message that each table keeps; its key is the table's name on disk. */
const schemas: { readonly [T in TableName]: GenMessage<Tables[T]> } = {
  cluster: ClusterSchema,
  node: NodeSchema,
  service: ServiceSchema,
  task: TaskSchema,
  network: NetworkSchema,
  secret: SecretSchema,
  config: ConfigSchema,
};

export const tableNames = Object.keys(schemas) as readonly TableName[];

/** Tables in which a name, compared without case, belongs to one object (swarmkit manager/state/store). */
const uniqueNames: ReadonlySet<TableName> = new Set(['cluster', 'service', 'network', 'secret', 'config']);

/** @returns the descriptor of a table's message, for the codec. */
export function schemaOf(table: TableName): DescMessage {
  return schemas[table];
}

/** @returns a task's name: its own, or `<service>.<slot>.<task ID>`, with the node's ID as slot of a global service. */
export function taskName(task: Task): string {
  if (task.annotations?.name) return task.annotations.name;
  const place = task.slot > 0n ? String(task.slot) : task.nodeId;
  return `${task.serviceAnnotations?.name ?? ''}.${place}.${task.id}`;
}

/** @returns the name under which an object is found. */
export function objectName<T extends TableName>(table: T, object: Tables[T]): string {
  if (table === 'task') return taskName(object as Task);
  return (object as Tables[Exclude<TableName, 'task'>]).spec?.annotations?.name ?? '';
}

/** Objects' IDs by one of their fields. BOUNDED by the objects of its table. */
class Index<O extends { id: string }> {
  readonly #keyOf: (object: O) => string;
  readonly #ids = new Map<string, Set<string>>();

  constructor(keyOf: (object: O) => string) {
    this.#keyOf = keyOf;
  }

  ids(key: string): Iterable<string> {
    return this.#ids.get(key) ?? [];
  }

  /** Follows an object from what it was to what it is. */
  move(previous: O | undefined, object: O | undefined): void {
    const [from, to] = [previous ? this.#keyOf(previous) : '', object ? this.#keyOf(object) : ''];
    if (from === to) return;
    const left = this.#ids.get(from);
    if (previous && left?.delete(previous.id) && left.size === 0) this.#ids.delete(from);
    if (!object || to === '') return;
    const ids = this.#ids.get(to);
    if (ids) ids.add(object.id);
    else this.#ids.set(to, new Set([object.id]));
  }
}

/** One table in memory with its indexes. */
class Table<O extends { id: string }> {
  readonly objects = new Map<string, O>();
  readonly names: Index<O>;
  readonly #indexes: readonly Index<O>[];

  constructor(nameOf: (object: O) => string, ...more: readonly Index<O>[]) {
    this.names = new Index((object) => nameOf(object).toLowerCase());
    this.#indexes = [this.names, ...more];
  }

  /** Puts `object` in the place of the one with its ID, or takes that one away. */
  replace(id: string, object: O | undefined): void {
    const previous = this.objects.get(id);
    for (const index of this.#indexes) index.move(previous, object);
    if (object) this.objects.set(id, object);
    else this.objects.delete(id);
  }

  find(ids: Iterable<string>): O[] {
    const found: O[] = [];
    for (const id of ids) {
      const object = this.objects.get(id);
      if (object) found.push(object);
    }
    return found;
  }
}

/** All tables in memory: the read side of the store. */
export class MemoryTables implements ReadTransaction {
  readonly #byNode = new Index<Task>((task) => task.nodeId);
  readonly #byService = new Index<Task>((task) => task.serviceId);
  readonly #tables: { readonly [T in TableName]: Table<Tables[T]> } = {
    cluster: new Table((object) => objectName('cluster', object)),
    node: new Table((object) => objectName('node', object)),
    service: new Table((object) => objectName('service', object)),
    task: new Table(taskName, this.#byNode, this.#byService),
    network: new Table((object) => objectName('network', object)),
    secret: new Table((object) => objectName('secret', object)),
    config: new Table((object) => objectName('config', object)),
  };

  get<T extends TableName>(table: T, id: string): Tables[T] | undefined {
    return this.#table(table).objects.get(id);
  }

  findByName<T extends TableName>(table: T, name: string): Tables[T] | undefined {
    return this.#table(table).find(this.#table(table).names.ids(name.toLowerCase()))[0];
  }

  list<T extends TableName>(table: T): Tables[T][] {
    return [...this.#table(table).objects.values()];
  }

  tasksByNode(nodeId: string): Task[] {
    return this.#tables.task.find(this.#byNode.ids(nodeId));
  }

  tasksByService(serviceId: string): Task[] {
    return this.#tables.task.find(this.#byService.ids(serviceId));
  }

  /** Puts, replaces or (without `object`) removes. */
  replace<T extends TableName>(table: T, id: string, object: Tables[T] | undefined): void {
    this.#table(table).replace(id, object);
  }

  /** @returns the other object that has this object's name, in a table whose names are unique. */
  namesake<T extends TableName>(table: T, object: Tables[T]): Tables[T] | undefined {
    if (!uniqueNames.has(table)) return undefined;
    const found = this.findByName(table, objectName(table, object));
    return found && found.id !== object.id ? found : undefined;
  }

  #table<T extends TableName>(table: T): Table<Tables[T]> {
    return this.#tables[table] as Table<Tables[T]>;
  }
}
