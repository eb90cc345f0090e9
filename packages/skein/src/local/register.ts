/** The plain containers of this host: their records, in memory and on disk, and one change of each at a time. */
import * as z from 'zod';
import { KeyedQueue, type Logger, SkeinError } from '../common/index.ts';
import { Collection } from '../overlay/index.ts';
import type { PlainRecord } from './record.ts';

/** What every record has. */
const recordShape = z.looseObject({
  containerId: z.string(),
  name: z.string(),
  mode: z.looseObject({ kind: z.string() }),
  networks: z.array(z.looseObject({ target: z.string(), position: z.number() })),
  ports: z.array(z.looseObject({})),
});

export class Register {
  readonly #store: Collection<PlainRecord>;
  /** By container ID. BOUNDED by the containers of this host. */
  readonly #records = new Map<string, PlainRecord>();
  readonly #queue = new KeyedQueue();

  /** @param directory of the records. Nothing is read before `load`. */
  constructor(directory: string, logger: Logger) {
    this.#store = new Collection(directory, logger, recordShape);
  }

  /** Reads what an earlier daemon has recorded. */
  load(): void {
    for (const [id, record] of this.#store.all()) this.#records.set(id, record);
  }

  all(): PlainRecord[] {
    return [...this.#records.values()];
  }

  find(id: string): PlainRecord | undefined {
    return this.#records.get(id);
  }

  /** @throws SkeinError NotFound. */
  get(id: string): PlainRecord {
    const record = this.#records.get(id);
    if (!record) throw new SkeinError('NotFound', `No such container: ${id}`);
    return record;
  }

  add(record: PlainRecord): void {
    this.#records.set(record.containerId, record);
    this.save(record);
  }

  /** Writes a changed record to disk. */
  save(record: PlainRecord): void {
    this.#store.put(record.containerId, record);
  }

  delete({ containerId }: PlainRecord): void {
    this.#records.delete(containerId);
    this.#store.delete(containerId);
  }

  /** Runs the action after all earlier ones of this container. */
  inOrder<T>(id: string, action: () => Promise<T>): Promise<T> {
    return this.#queue.run(id, action);
  }

  /** Resolves when what is under way for this container, or for all, has ended. */
  settled(id?: string): Promise<void> {
    return this.#queue.settled(id);
  }
}
