import { clone, create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { errorText, type Logger, RpcError, SkeinError } from '../../common/index.ts';
import { type Meta, MetaSchema } from '../gen/objects_pb.js';
import { type StoredChange, StoreFile } from './file.ts';
import { MemoryTables, objectName, schemaOf, tableNames } from './tables.ts';
import type { Note, ReadTransaction, Store, StoreEvent, TableName, Tables, WriteTransaction } from './types.ts';

/** Commits that listeners may cause while one commit is being told, before that counts as a loop. */
const maxNestedCommits = 10_000;

export interface StoreOptions {
  /** The file, or `:memory:` for a store that ends with the process. */
  readonly path: string;
  readonly logger: Logger;
  /** Milliseconds since the epoch, for `created_at` and `updated_at`. */
  readonly now?: () => number;
}

/** Opens the cluster's store. @throws SkeinError Internal when the file is damaged, of another program or in use. */
export function openStore(options: StoreOptions): Store {
  const opened = new DisposableStack();
  try {
    const store = new FileStore(opened.use(new StoreFile(options.path)), options);
    opened.move();
    return store;
  } catch (error) {
    opened.dispose();
    throw new SkeinError('Internal', `cannot open the cluster store ${options.path}: ${errorText(error)}`, {
      cause: error,
    });
  }
}

/** What a transaction first found where it changed something. */
interface Touched {
  readonly table: TableName;
  readonly id: string;
  readonly previous: Tables[TableName] | undefined;
}

class FileStore implements Store {
  readonly #file: StoreFile;
  readonly #logger: Logger;
  readonly #now: () => number;
  readonly #tables = new MemoryTables();
  readonly #listeners = new Set<(events: readonly StoreEvent[]) => void>();
  readonly #annotators = new Set<(events: readonly StoreEvent[]) => readonly Note[]>();
  /** Commits not yet told to the listeners. BOUNDED by maxNestedCommits. */
  readonly #untold: (readonly StoreEvent[])[] = [];
  #version: bigint;
  #writing = false;
  #telling = false;

  constructor(file: StoreFile, options: StoreOptions) {
    this.#file = file;
    this.#logger = options.logger;
    this.#now = options.now ?? Date.now;
    this.#version = file.version();
    for (const { table, id, body } of file.objects()) this.#load(table, id, body);
  }

  get version(): bigint {
    return this.#version;
  }

  view<R>(read: (transaction: ReadTransaction) => R): R {
    return read(this.#tables);
  }

  update<R>(change: (transaction: WriteTransaction) => R): R {
    if (this.#writing) throw new SkeinError('Internal', 'a store transaction was begun inside another one');
    this.#writing = true;
    const transaction = new Transaction(this.#tables, this.#version + 1n, this.#now());
    let result: R;
    let events: readonly StoreEvent[];
    try {
      result = change(transaction);
      events = transaction.events();
      if (events.length > 0) {
        const notes = [...this.#annotators].flatMap((note) => note(events));
        this.#file.commit(this.#version + 1n, events.map(encode), notes);
      }
    } catch (error) {
      transaction.undo();
      throw error;
    } finally {
      this.#writing = false;
    }
    if (events.length > 0) {
      this.#version += 1n;
      this.#tell(events);
    }
    return result;
  }

  watch(listener: (events: readonly StoreEvent[]) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  annotate(note: (events: readonly StoreEvent[]) => readonly Note[]): () => void {
    this.#annotators.add(note);
    return () => this.#annotators.delete(note);
  }

  notes(): ReadonlyMap<string, string> {
    return this.#file.notes();
  }

  [Symbol.dispose](): void {
    this.#listeners.clear();
    this.#annotators.clear();
    this.#file[Symbol.dispose]();
  }

  /** Tells each commit to all listeners before the next one, also when a listener commits. */
  #tell(events: readonly StoreEvent[]): void {
    this.#untold.push(events);
    if (this.#untold.length > maxNestedCommits)
      throw new SkeinError(
        'Internal',
        'the listeners of the cluster store answer each change with a change, without end',
      );
    if (this.#telling) return;
    this.#telling = true;
    try {
      for (let next = this.#untold.shift(); next; next = this.#untold.shift())
        for (const listener of [...this.#listeners]) this.#call(listener, next);
    } finally {
      this.#telling = false;
    }
  }

  #call(listener: (events: readonly StoreEvent[]) => void, events: readonly StoreEvent[]): void {
    try {
      listener(events);
    } catch (error) {
      this.#logger.error({ err: error }, 'a listener of the cluster store failed');
    }
  }

  #load(table: string, id: string, body: Uint8Array): void {
    const known = tableNames.find((name) => name === table);
    if (!known) throw new SkeinError('Internal', `the cluster store holds objects of an unknown kind, ${table}`);
    try {
      this.#tables.replace(known, id, fromBinary(schemaOf(known), body) as Tables[TableName]);
    } catch (error) {
      throw new SkeinError('Internal', `the ${table} ${id} cannot be read: ${errorText(error)}`, {
        cause: error,
      });
    }
  }
}

class Transaction implements WriteTransaction {
  readonly #tables: MemoryTables;
  readonly #version: bigint;
  readonly #now: number;
  readonly #touched = new Map<string, Touched>();

  constructor(tables: MemoryTables, version: bigint, now: number) {
    this.#tables = tables;
    this.#version = version;
    this.#now = now;
  }

  get<T extends TableName>(table: T, id: string) {
    return this.#tables.get(table, id);
  }
  findByName<T extends TableName>(table: T, name: string) {
    return this.#tables.findByName(table, name);
  }
  list<T extends TableName>(table: T) {
    return this.#tables.list(table);
  }
  tasksByNode(nodeId: string) {
    return this.#tables.tasksByNode(nodeId);
  }
  tasksByService(serviceId: string) {
    return this.#tables.tasksByService(serviceId);
  }

  create<T extends TableName>(table: T, object: Tables[T]): void {
    if (object.id === '') throw new RpcError('InvalidArgument', `${table} without an ID`);
    if (this.#tables.get(table, object.id)) throw new RpcError('AlreadyExists', `${table} ${object.id} already exists`);
    const now = timestampFromMs(this.#now);
    this.#put(table, object, create(MetaSchema, { createdAt: now, updatedAt: now }));
  }

  update<T extends TableName>(table: T, object: Tables[T]): void {
    const stored = this.#tables.get(table, object.id);
    if (!stored) throw new RpcError('NotFound', `${table} ${object.id} not found`);
    if ((object.meta?.version?.index ?? 0n) !== stored.meta?.version?.index)
      throw new RpcError('Unknown', 'update out of sequence');
    this.#put(
      table,
      object,
      create(MetaSchema, { createdAt: stored.meta.createdAt, updatedAt: timestampFromMs(this.#now) }),
    );
  }

  delete<T extends TableName>(table: T, id: string): void {
    if (!this.#tables.get(table, id)) throw new RpcError('NotFound', `${table} ${id} not found`);
    this.#touch(table, id);
    this.#tables.replace(table, id, undefined);
  }

  /** @returns the transaction's net changes, in the order in which the objects were first touched. */
  events(): readonly StoreEvent[] {
    const events: StoreEvent[] = [];
    for (const { table, id, previous } of this.#touched.values()) {
      const object = this.#tables.get(table, id);
      if (object) events.push({ action: previous ? 'update' : 'create', table, object, previous });
      else if (previous) events.push({ action: 'delete', table, object: previous, previous });
    }
    return events;
  }

  undo(): void {
    for (const { table, id, previous } of this.#touched.values()) this.#tables.replace(table, id, previous);
  }

  /** Keeps a copy, so that what the caller does with its object afterwards changes nothing here. */
  #put<T extends TableName>(table: T, object: Tables[T], meta: Meta): void {
    const namesake = this.#tables.namesake(table, object);
    if (namesake) {
      const name = objectName(table, object);
      throw new RpcError('AlreadyExists', `name conflicts with an existing object: ${table} ${name} already exists`);
    }
    meta.version = { $typeName: 'docker.swarmkit.v1.Version', index: this.#version };
    object.meta = meta;
    this.#touch(table, object.id);
    this.#tables.replace(table, object.id, clone(schemaOf(table), object) as Tables[T]);
  }

  #touch(table: TableName, id: string): void {
    const key = `${table}/${id}`;
    if (!this.#touched.has(key)) this.#touched.set(key, { table, id, previous: this.#tables.get(table, id) });
  }
}

function encode(event: StoreEvent): StoredChange {
  const { action, table, object } = event;
  return { table, id: object.id, body: action === 'delete' ? undefined : toBinary(schemaOf(table), object) };
}
