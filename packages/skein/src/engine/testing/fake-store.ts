/** The cluster's objects in memory, as the manager's store offers them for reading. */
import { create, type DescMessage, type MessageShape } from '@bufbuild/protobuf';
import { timestampFromDate } from '@bufbuild/protobuf/wkt';
import {
  ClusterSchema,
  ConfigSchema,
  NetworkSchema,
  NodeSchema,
  SecretSchema,
  ServiceSchema,
  type Task,
  TaskSchema,
} from '../../swarm/gen/objects_pb.js';
import type { Control } from '../../swarm/manager/types.ts';

export type Store = Control['store'];
type Listener = Parameters<Store['watch']>[0];
type Event = Parameters<Listener>[0][number];
export type Table = Event['table'];

export const schemas = {
  cluster: ClusterSchema,
  node: NodeSchema,
  service: ServiceSchema,
  task: TaskSchema,
  network: NetworkSchema,
  secret: SecretSchema,
  config: ConfigSchema,
} as const;

// Any of the stored messages; the fake treats them alike.
export type Stored = MessageShape<DescMessage> & {
  id: string;
  meta?: { version?: { index: bigint } | undefined } | undefined;
  spec?: { annotations?: { name: string } | undefined } | undefined;
};

export class FakeStore {
  readonly tables = new Map<Table, Map<string, Stored>>();
  readonly #listeners = new Set<Listener>();
  version = 9n;

  /** The store as the contract has it. */
  readonly contract: Store = {
    view: (read) =>
      read({
        get: (table, id) => this.table(table).get(id) as never,
        findByName: (table, name) => this.list(table).find((each) => nameOf(each) === name) as never,
        list: (table) => this.list(table) as never,
        tasksByNode: (nodeId) => this.tasks().filter((task) => task.nodeId === nodeId),
        tasksByService: (serviceId) => this.tasks().filter((task) => task.serviceId === serviceId),
      }),
    watch: (listener) => {
      this.#listeners.add(listener);
      return () => this.#listeners.delete(listener);
    },
  };

  table(name: Table): Map<string, Stored> {
    const table = this.tables.get(name) ?? new Map<string, Stored>();
    this.tables.set(name, table);
    return table;
  }

  list(name: Table): Stored[] {
    return [...this.table(name).values()];
  }

  tasks(): Task[] {
    return this.list('task') as unknown as Task[];
  }

  put(name: Table, object: Stored): void {
    const previous = this.table(name).get(object.id);
    this.version++;
    const now = timestampFromDate(new Date());
    const meta = { version: { index: this.version }, createdAt: now, updatedAt: now };
    // Without its type name the object is taken as an initialiser, and its inner objects become messages.
    const { $typeName: _type, ...members } = object;
    const stored = create(schemas[name] as DescMessage, { ...members, meta } as never) as Stored;
    this.table(name).set(object.id, stored);
    this.#tell({
      action: previous === undefined ? 'create' : 'update',
      table: name,
      object: stored,
      previous,
    } as never);
  }

  delete(name: Table, id: string): void {
    const object = this.table(name).get(id);
    this.table(name).delete(id);
    if (object !== undefined) this.#tell({ action: 'delete', table: name, object, previous: undefined } as never);
  }

  #tell(event: Event): void {
    for (const listener of this.#listeners) listener([event]);
  }
}

export const nameOf = (object: Stored): string => object.spec?.annotations?.name ?? '';
