/**
 * store: the cluster's objects in synchronous transactions, in memory for reading and in one SQLite file for keeps.
 *
 * Owns that file and the objects' `meta`. Knows nothing of what the objects mean: no rule of scheduling, allocation or
 * validation lives here, only identity, name uniqueness and versions.
 */
export { openStore, type StoreOptions } from './store.ts';
export { objectName, tableNames, taskName } from './tables.ts';
export type { Note, ReadTransaction, Store, StoreEvent, TableName, Tables, WriteTransaction } from './types.ts';
