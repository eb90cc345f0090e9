/** Opens containers' root file systems for `docker cp`: of a running one as it sees it, of a stopped one mounted meanwhile. */
import { execFile } from 'node:child_process';
import { mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import { readArchive, statPath, writeArchive } from './archive.ts';
import { layerChanges } from './changes.ts';
import type { Container } from './container.ts';
import { snapshotter } from './containerd/client.ts';
import type { Context } from './context.ts';
import { rootPlace, unmount } from './mounts.ts';
import { layerDirectories } from './oci/rootfs.ts';
import { RootDirectory } from './root-directory.ts';
import type { ContainerFiles, FileChange, PathStat } from './types.ts';

const run = promisify(execFile);
/** Paths that the runtime makes to mount over. */
const runtimePaths = ['/dev', '/proc', '/sys', '/etc/hosts', '/etc/hostname', '/etc/resolv.conf'];

export class RootFiles implements ContainerFiles {
  readonly #context: Context;
  readonly #find: (id: string) => Container;

  constructor(context: Context, find: (id: string) => Container) {
    this.#context = context;
    this.#find = find;
  }

  async stat(id: string, path: string): Promise<PathStat> {
    return await this.#inRoot(id, (root) => statPath(root, id, path));
  }

  async read(
    id: string,
    path: string,
    target: (archive: Readable) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    await this.#inRoot(id, (root) => readArchive(root, path, target, signal));
  }

  async write(id: string, path: string, archive: Readable, options: { keepKinds: boolean }): Promise<void> {
    await this.#inRoot(id, (root) => writeArchive(root, path, archive, options));
  }

  async changes(id: string): Promise<FileChange[]> {
    const { record } = this.#find(id);
    const { mounts } = await this.#context.containerd.snapshots.mounts({ snapshotter, key: id });
    const points = [
      ...runtimePaths,
      ...record.mountPoints.map(({ Destination }) => Destination),
      ...record.files.map(({ path }) => path),
    ];
    return await layerChanges(layerDirectories(mounts), new Set(points));
  }

  async #inRoot<T>(id: string, action: (root: RootDirectory) => Promise<T>): Promise<T> {
    return await this.#find(id).withState(async ({ Running, Pid }) => {
      if (!Running) return await this.#mounted(id, action);
      await using root = await RootDirectory.open(`/proc/${Pid}/root`);
      return await action(root);
    });
  }

  /** The container cannot start meanwhile. */
  async #mounted<T>(id: string, action: (root: RootDirectory) => Promise<T>): Promise<T> {
    const place = join(this.#context.runDirectory, id, rootPlace);
    const { mounts } = await this.#context.containerd.snapshots.mounts({ snapshotter, key: id });
    await unmount(place);
    await mkdir(place, { recursive: true, mode: 0o700 });
    for (const { type, source, options } of mounts)
      await run('mount', ['-t', type, '-o', options.join(','), source, place]);
    try {
      await using root = await RootDirectory.open(place);
      return await action(root);
    } finally {
      await unmount(place);
      await rmdir(place);
    }
  }
}
