/** Volumes as the Docker Engine API knows them: a directory each, with a record where a user made it. */
import { mkdir, readdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { type EventBus, newHexId, SkeinError } from '../common/index.ts';
import { writeFileDurably } from './files.ts';
import { volumePath } from './oci/mounts.ts';
import type { Volume, Volumes } from './types.ts';

const recordFile = 'volume.json';
/** Name of a volume (moby volume/local: volumeNameRegex). */
const nameForm = /^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/;
/** Label of volumes without a name of their own (moby volume/service: AnonymousLabel). */
export const anonymousLabel = 'com.docker.volume.anonymous';

type VolumeRecord = Pick<Volume, 'CreatedAt' | 'Labels' | 'Options'>;

export class VolumeStore implements Volumes {
  readonly #directory: string;
  readonly #events: EventBus;
  /** Names of volumes that containers use → those containers. */
  readonly #usersOf: (name: string) => readonly string[];

  constructor(directory: string, events: EventBus, usersOf: (name: string) => readonly string[]) {
    this.#directory = directory;
    this.#events = events;
    this.#usersOf = usersOf;
  }

  async create(request: {
    name: string;
    driver: string;
    labels: Record<string, string>;
    options: Record<string, string>;
  }): Promise<Volume> {
    const { driver, labels, options } = request;
    if (!['', 'local'].includes(driver)) {
      throw new SkeinError('NotFound', `error looking up volume plugin ${driver}: plugin "${driver}" not found`);
    }
    const [option] = Object.keys(options);
    if (option !== undefined)
      throw new SkeinError('Unimplemented', `Skein's volumes are plain directories: no option ${option}.`);
    const name = request.name || newHexId();
    if (!nameForm.test(name)) {
      const why = 'includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed';
      const hint = 'If you intended to pass a host directory, use absolute path';
      throw new SkeinError('InvalidArgument', `create ${name}: "${name}" ${why}. ${hint}`);
    }
    const known = await this.#read(name);
    if (known) return known;
    await mkdir(volumePath(this.#directory, name), { recursive: true, mode: 0o755 });
    const record: VolumeRecord = {
      CreatedAt: new Date().toISOString(),
      Labels: request.name ? labels : { ...labels, [anonymousLabel]: '' },
      Options: null,
    };
    await writeFileDurably(join(this.#directory, name, recordFile), JSON.stringify(record), 0o600);
    this.#publish('create', name);
    return await this.inspect(name);
  }

  async inspect(name: string): Promise<Volume> {
    const volume = await this.#read(name);
    if (!volume) throw new SkeinError('NotFound', `get ${name}: no such volume`);
    return volume;
  }

  async list(): Promise<Volume[]> {
    const names = await readdir(this.#directory).catch(ifAbsent<string[]>([]));
    const volumes = await Promise.all(names.filter((name) => nameForm.test(name)).map((name) => this.#read(name)));
    return volumes.filter((volume) => volume !== undefined);
  }

  users(name: string): readonly string[] {
    return this.#usersOf(name);
  }

  async remove(name: string, { force }: { force: boolean }): Promise<void> {
    if (!(await this.#read(name))) {
      if (force) return;
      throw new SkeinError('NotFound', `get ${name}: no such volume`);
    }
    const users = this.#usersOf(name);
    if (users.length > 0) {
      throw new SkeinError('Conflict', `remove ${name}: volume is in use - [${users.join(', ')}]`);
    }
    await rm(join(this.#directory, name), { recursive: true, force: true });
    this.#publish('destroy', name);
  }

  async size(name: string): Promise<number> {
    return await directorySize(volumePath(this.#directory, name));
  }

  async #read(name: string): Promise<Volume | undefined> {
    if (!nameForm.test(name)) return undefined;
    const path = volumePath(this.#directory, name);
    const found = await stat(path).catch(ifAbsent(undefined));
    if (!found?.isDirectory()) return undefined;
    const text = await readFile(join(this.#directory, name, recordFile), 'utf8').catch(ifAbsent('{}'));
    const record = JSON.parse(text) as Partial<VolumeRecord>;
    return {
      CreatedAt: record.CreatedAt ?? found.birthtime.toISOString(),
      Driver: 'local',
      Labels: record.Labels ?? null,
      Mountpoint: path,
      Name: name,
      Options: record.Options ?? null,
      Scope: 'local',
    };
  }

  #publish(action: string, name: string): void {
    this.#events.publish({
      type: 'volume',
      action,
      actor: { id: name, attributes: { driver: 'local' } },
      scope: 'local',
    });
  }
}

function ifAbsent<T>(value: T): (error: NodeJS.ErrnoException) => T {
  return (error) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return value;
    throw error;
  };
}

/** @returns the bytes of all files below. What goes meanwhile is not counted. */
async function directorySize(path: string): Promise<number> {
  let size = 0;
  for (const entry of await readdir(path, { recursive: true, withFileTypes: true }).catch(ifAbsent([]))) {
    if (!entry.isFile()) continue;
    const found = await stat(join(entry.parentPath, entry.name)).catch(ifAbsent(undefined));
    size += found?.size ?? 0;
  }
  return size;
}
