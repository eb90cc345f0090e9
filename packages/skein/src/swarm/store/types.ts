/** What the store room offers: the cluster's objects, in transactions, with versions and a watch, crash-safe on disk. */
import type { Cluster, Config, Network, Node, Secret, Service, Task } from '../gen/objects_pb.js';

/** The tables and their objects (swarmkit objects.proto). */
export interface Tables {
  cluster: Cluster;
  node: Node;
  service: Service;
  task: Task;
  network: Network;
  secret: Secret;
  config: Config;
}
export type TableName = keyof Tables;

/** A consistent view. Objects given out must not be changed: clone before changing. */
export interface ReadTransaction {
  get<T extends TableName>(table: T, id: string): Tables[T] | undefined;
  /** Exact name (spec.annotations.name; a task's annotations.name). */
  findByName<T extends TableName>(table: T, name: string): Tables[T] | undefined;
  /** All, or by an indexed field. */
  list<T extends TableName>(table: T): Tables[T][];
  tasksByNode(nodeId: string): Task[];
  tasksByService(serviceId: string): Task[];
}

export interface WriteTransaction extends ReadTransaction {
  /** Sets meta (version, created, updated). @throws RpcError AlreadyExists `name conflicts with an existing object: …`. */
  create<T extends TableName>(table: T, object: Tables[T]): void;
  /** Replaces; `meta.version` must be the stored one. @throws RpcError NotFound, Unknown `update out of sequence`. */
  update<T extends TableName>(table: T, object: Tables[T]): void;
  delete<T extends TableName>(table: T, id: string): void;
}

export interface StoreEvent<T extends TableName = TableName> {
  readonly action: 'create' | 'update' | 'delete';
  readonly table: T;
  readonly object: Tables[T];
  readonly previous: Tables[T] | undefined;
}

/** Something small that is kept with the commit that is its reason: a text under a key; undefined takes it away. */
export interface Note {
  readonly key: string;
  readonly value: string | undefined;
}

export interface Store extends Disposable {
  /** The number of committed transactions; an object's meta.version.index is the version of its last change. */
  readonly version: bigint;
  view<R>(read: (transaction: ReadTransaction) => R): R;
  /** All or nothing: commits (fsync) when `change` returns, rolls back when it throws. Synchronous. Events follow the commit, in order. */
  update<R>(change: (transaction: WriteTransaction) => R): R;
  /** Calls `listener` with the events of each commit. @returns the function that ends it. */
  watch(listener: (events: readonly StoreEvent[]) => void): () => void;
  /**
   * Asks `note` before each commit, with its events, what to keep of it: both are on the disk then, or neither.
   * @returns the function that ends it.
   */
  annotate(note: (events: readonly StoreEvent[]) => readonly Note[]): () => void;
  /** What has been noted and not taken away. */
  notes(): ReadonlyMap<string, string>;
}
