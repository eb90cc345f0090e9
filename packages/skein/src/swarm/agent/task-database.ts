import { DatabaseSync } from 'node:sqlite';
import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { SkeinError } from '../../common/index.ts';
import { type Task, TaskSchema } from '../gen/objects_pb.js';
import { type TaskStatus, TaskStatusSchema } from '../gen/types_pb.js';

const schema = `
  CREATE TABLE IF NOT EXISTS task (
    id       TEXT PRIMARY KEY,
    -- swarmkit's Task as the manager sent it
    task     BLOB NOT NULL,
    -- TaskStatus as this host knows it
    status   BLOB NOT NULL,
    -- 0: no longer ours; its remains wait for removal
    assigned INTEGER NOT NULL
  ) STRICT, WITHOUT ROWID`;

/** A task as this host remembers it; its status is this host's own. */
export interface RememberedTask {
  readonly task: Task;
  readonly assigned: boolean;
}

/** What the agent must not forget over a restart: its tasks and how far each is. Every write is on disk when it returns. */
export class TaskDatabase implements Disposable {
  readonly #database: DatabaseSync;

  /** @param path the file; made when missing. @throws SkeinError Internal when it is not a task database. */
  constructor(path: string) {
    try {
      this.#database = new DatabaseSync(path);
      this.#database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;');
      this.#database.exec(schema);
    } catch (error) {
      throw new SkeinError('Internal', `cannot open the task database ${path}`, { cause: error });
    }
  }

  /** @returns all remembered tasks. */
  tasks(): RememberedTask[] {
    return this.#database
      .prepare('SELECT task, status, assigned FROM task ORDER BY id')
      .all()
      .map(({ task, status, assigned }) => {
        const decoded = fromBinary(TaskSchema, task as Uint8Array);
        decoded.status = fromBinary(TaskStatusSchema, status as Uint8Array);
        return { task: decoded, assigned: assigned === 1 };
      });
  }

  /** Remembers an assigned task; a known one keeps its status. */
  putTask(task: Task, status: TaskStatus): void {
    this.#database
      .prepare(
        `INSERT INTO task (id, task, status, assigned) VALUES (?, ?, ?, 1)
         ON CONFLICT (id) DO UPDATE SET task = excluded.task, assigned = 1`,
      )
      .run(task.id, toBinary(TaskSchema, task), toBinary(TaskStatusSchema, status));
  }

  putStatus(taskId: string, status: TaskStatus): void {
    this.#database.prepare('UPDATE task SET status = ? WHERE id = ?').run(toBinary(TaskStatusSchema, status), taskId);
  }

  /** Marks a task whose remains are to be removed. */
  unassign(taskId: string): void {
    this.#database.prepare('UPDATE task SET assigned = 0 WHERE id = ?').run(taskId);
  }

  /** Forgets a task whose remains are gone. */
  delete(taskId: string): void {
    this.#database.prepare('DELETE FROM task WHERE id = ?').run(taskId);
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }
}
