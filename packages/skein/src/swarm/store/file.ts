import { closeSync, openSync } from 'node:fs';
import { DatabaseSync, type StatementSync } from 'node:sqlite';
import { crc32 } from 'node:zlib';
import { errorText, SkeinError } from '../../common/index.ts';
import type { Note, TableName } from './types.ts';

/** `PRAGMA application_id`: marks the file as ours ("Skei"). */
const applicationId = 0x536b6569;
/** `PRAGMA user_version`: the layout below. */
const layoutVersion = 2;
/** The layout without notes, which is given them. */
const layoutWithoutNotes = 1;
/** The file holds keys and secrets. */
const ownerOnly = 0o600;

const noteLayout = `
  CREATE TABLE note (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
  PRAGMA user_version = ${layoutVersion};
`;

const layout = `
  CREATE TABLE object (
    place INTEGER PRIMARY KEY,
    kind  TEXT NOT NULL,
    id    TEXT NOT NULL,
    body  BLOB NOT NULL,
    crc   INTEGER NOT NULL,
    UNIQUE (kind, id)
  ) STRICT;
  CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
  INSERT INTO counter VALUES ('version', 0);
  PRAGMA application_id = ${applicationId};
  ${noteLayout}
`;

/** An object as kept on disk; no body means that it goes. */
export interface StoredChange {
  readonly table: TableName;
  readonly id: string;
  readonly body: Uint8Array | undefined;
}

export interface StoredObject {
  readonly table: string;
  readonly id: string;
  readonly body: Uint8Array;
}

/**
 * The SQLite file behind a store: write-ahead log, one fsync per commit, locked to this process. A commit that returned
 * survives a crash of the process and of the machine; one that did not leaves no trace.
 */
export class StoreFile implements Disposable {
  readonly #database: DatabaseSync;
  readonly #put: StatementSync;
  readonly #remove: StatementSync;
  readonly #setVersion: StatementSync;
  readonly #note: StatementSync;
  readonly #unnote: StatementSync;

  /** @param path a file, made if absent, or `:memory:`. @throws Error when it is damaged, foreign or in use. */
  constructor(path: string) {
    this.#database = openDatabase(path);
    this.#put = this.#database.prepare(
      'INSERT INTO object (kind, id, body, crc) VALUES (?, ?, ?, ?) ' +
        'ON CONFLICT (kind, id) DO UPDATE SET body = excluded.body, crc = excluded.crc',
    );
    this.#remove = this.#database.prepare('DELETE FROM object WHERE kind = ? AND id = ?');
    this.#setVersion = this.#database.prepare("UPDATE counter SET value = ? WHERE name = 'version'");
    this.#note = this.#database.prepare(
      'INSERT INTO note (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value',
    );
    this.#unnote = this.#database.prepare('DELETE FROM note WHERE key = ?');
  }

  /** @returns the number of committed transactions. */
  version(): bigint {
    const statement = this.#database.prepare("SELECT value FROM counter WHERE name = 'version'");
    statement.setReadBigInts(true);
    const value = statement.get()?.value;
    if (typeof value !== 'bigint') throw new SkeinError('Internal', 'the cluster store has no version counter');
    return value;
  }

  /** @returns all objects in the order in which they were made. @throws SkeinError Internal for a damaged one. */
  *objects(): Iterable<StoredObject> {
    for (const row of this.#database.prepare('SELECT kind, id, body, crc FROM object ORDER BY place').iterate()) {
      const body = row.body as Uint8Array;
      if (crc32(body) !== row.crc)
        throw new SkeinError('Internal', `the ${row.kind} ${row.id} is damaged: its checksum is wrong`);
      yield { table: String(row.kind), id: String(row.id), body };
    }
  }

  notes(): Map<string, string> {
    const rows = this.#database.prepare('SELECT key, value FROM note').all();
    return new Map(rows.map(({ key, value }) => [String(key), String(value)]));
  }

  /** Writes all changes, the notes and the new version, or nothing. */
  commit(version: bigint, changes: Iterable<StoredChange>, notes: Iterable<Note> = []): void {
    this.#database.exec('BEGIN IMMEDIATE');
    try {
      for (const { table, id, body } of changes) {
        if (body) this.#put.run(table, id, body, crc32(body));
        else this.#remove.run(table, id);
      }
      for (const { key, value } of notes) {
        if (value === undefined) this.#unnote.run(key);
        else this.#note.run(key, value);
      }
      this.#setVersion.run(version);
      this.#database.exec('COMMIT');
    } catch (error) {
      if (this.#database.isTransaction) this.#database.exec('ROLLBACK');
      throw new SkeinError('Internal', `cannot write the cluster store: ${errorText(error)}`, { cause: error });
    }
  }

  [Symbol.dispose](): void {
    if (this.#database.isOpen) this.#database.close();
  }
}

function openDatabase(path: string): DatabaseSync {
  let database: DatabaseSync | undefined;
  try {
    if (path !== ':memory:') closeSync(openSync(path, 'a', ownerOnly));
    database = new DatabaseSync(path);
    database.exec('PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;');
    prepareLayout(database);
    return database;
  } catch (error) {
    database?.close();
    throw error;
  }
}

/** Makes the layout in a new file; checks that an old one is ours, whole and of this version. */
function prepareLayout(database: DatabaseSync): void {
  const pragma = (name: string) => Object.values(database.prepare(`PRAGMA ${name}`).get() ?? {})[0];
  const tables = database.prepare('SELECT count(*) AS n FROM sqlite_schema').get()?.n;
  if (tables === 0) {
    database.exec(`BEGIN IMMEDIATE; ${layout} COMMIT;`);
    return;
  }
  if (pragma('application_id') !== applicationId) throw new Error('the file is a database of another program');
  if (pragma('user_version') === layoutWithoutNotes) database.exec(`BEGIN IMMEDIATE; ${noteLayout} COMMIT;`);
  if (pragma('user_version') !== layoutVersion)
    throw new Error(`its layout is version ${pragma('user_version')}, this program knows version ${layoutVersion}`);
  const check = pragma('quick_check');
  if (check !== 'ok') throw new Error(`the file is damaged: ${check}`);
}
