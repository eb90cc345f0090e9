/** What is kept of each container on disk: `<directory>/<id>/config.json`, replaced as a whole. */
import { mkdir, readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { KeyedQueue, type Logger } from '../common/index.ts';
import { writeFileDurably } from './files.ts';
import type { ResolvedConfig } from './oci/process.ts';
import { zeroTime } from './time.ts';
import type { ContainerState, HostConfig, MountPoint } from './types.ts';

const fileName = 'config.json';
const recordVersion = 1;

/** One container. `phase` tells a restarted daemon what a crash may have left half-done. */
export interface ContainerRecord {
  version: typeof recordVersion;
  phase: 'creating' | 'ready' | 'removing';
  id: string;
  name: string;
  created: string;
  /** `sha256:…`. */
  imageId: string;
  config: ResolvedConfig;
  hostConfig: HostConfig;
  mountPoints: MountPoint[];
  /** Anonymous volumes, removed with the container. */
  anonymousVolumes: string[];
  networkNamespace: string;
  /** Of the last start: the container whose shim it is (`Shim.leader`); absent before the first start. */
  shim?: string;
  /** While its first process is being made. */
  starting?: true;
  restartCount: number;
  /** Path inside → file in the run directory, of secrets and configs. */
  files: { path: string; source: string }[];
  state: ContainerState;
}

/** @returns the state of a container that has never run. */
export function initialState(): ContainerState {
  return {
    Status: 'created',
    Running: false,
    Paused: false,
    Restarting: false,
    OOMKilled: false,
    Dead: false,
    Pid: 0,
    ExitCode: 0,
    Error: '',
    StartedAt: zeroTime,
    FinishedAt: zeroTime,
  };
}

/** The records' directory. */
export class ContainerStore {
  readonly #directory: string;
  readonly #queue = new KeyedQueue();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** @returns the directory of one container's files. */
  directoryOf(id: string): string {
    return join(this.#directory, id);
  }

  /** Saves the record as it is now. Saves of one record follow each other: a start and an end may come at once. */
  async save(record: ContainerRecord): Promise<void> {
    const { id } = record;
    const contents = JSON.stringify(record);
    await this.#queue.run(id, async () => {
      const directory = this.directoryOf(id);
      await mkdir(directory, { recursive: true, mode: 0o710 });
      await writeFileDurably(join(directory, fileName), contents, 0o600);
    });
  }

  async remove(id: string): Promise<void> {
    await this.#queue.run(id, () => rm(this.directoryOf(id), { recursive: true, force: true }));
  }

  /** @returns all records. A directory without one was half-made or half-removed, and is removed. */
  async load(logger: Logger): Promise<ContainerRecord[]> {
    await mkdir(this.#directory, { recursive: true, mode: 0o710 });
    const records: ContainerRecord[] = [];
    for (const id of await readdir(this.#directory)) {
      const record = await this.#read(id, logger);
      if (record) records.push(record);
    }
    return records;
  }

  async #read(id: string, logger: Logger): Promise<ContainerRecord | undefined> {
    const path = join(this.directoryOf(id), fileName);
    try {
      const record = JSON.parse(await readFile(path, 'utf8')) as ContainerRecord;
      if (record.version === recordVersion) return record;
      logger.error({ path }, 'a container record of another version of skein is left alone');
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') await this.remove(id);
      else logger.error({ err: error, path }, 'a container record cannot be read and is left alone');
    }
    return undefined;
  }
}
