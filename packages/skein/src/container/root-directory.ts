/**
 * A walk through a container's root file system by file descriptors: each step opens one name without following links
 * (as openat(2) with O_NOFOLLOW), and links are resolved inside the root. So no link, also one that the container changes
 * meanwhile, leads out of it.
 */
import { constants } from 'node:fs';
import { type FileHandle, lstat, mkdir, open, readlink } from 'node:fs/promises';
import { SkeinError } from '../common/index.ts';

const directoryFlags = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;
/** Linux' own limit (path_resolution(7)). */
const maximumSymlinks = 40;

/** @returns the path of a name in an open directory. */
export function at(directory: FileHandle, name: string): string {
  return `/proc/self/fd/${directory.fd}/${name}`;
}

export class RootDirectory implements AsyncDisposable {
  readonly #root: FileHandle;

  private constructor(root: FileHandle) {
    this.#root = root;
  }

  /** @param path of the root on this host; itself it may be a link such as /proc/1/root. */
  static async open(path: string): Promise<RootDirectory> {
    return new RootDirectory(await open(path, constants.O_RDONLY | constants.O_DIRECTORY));
  }

  /**
   * Opens a directory, which the caller closes. @param options.make makes what is missing.
   * @throws SkeinError NotFound, InvalidArgument when a part is no directory.
   */
  async directory(path: string, options: { make?: boolean } = {}): Promise<FileHandle> {
    const rest = partsOf(path);
    const opened: FileHandle[] = [await reopen(this.#root)];
    let links = 0;
    try {
      for (let name = rest.shift(); name !== undefined; name = rest.shift()) {
        if (name === '..') {
          if (opened.length > 1) await opened.pop()?.close();
          continue;
        }
        const current = opened.at(-1) ?? this.#root;
        const target = await linkAt(current, name);
        if (target === undefined) {
          opened.push(await this.#step(current, name, path, options.make ?? false));
          continue;
        }
        links += 1;
        if (links > maximumSymlinks)
          throw new SkeinError('InvalidArgument', `${path}: too many levels of symbolic links`);
        if (target.startsWith('/')) for (const handle of opened.splice(1)) await handle.close();
        rest.unshift(...partsOf(target));
      }
      const found = opened.pop();
      if (found === undefined) throw new Error(`no directory at ${path}`);
      return found;
    } finally {
      for (const handle of opened) await handle.close();
    }
  }

  async #step(current: FileHandle, name: string, path: string, make: boolean): Promise<FileHandle> {
    try {
      return await open(at(current, name), directoryFlags);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === 'ENOENT' && make) {
        await mkdir(at(current, name), { mode: 0o755 });
        return await open(at(current, name), directoryFlags);
      }
      if (code === 'ENOENT') throw new SkeinError('NotFound', `no such file or directory: ${path}`, { cause: error });
      if (code === 'ENOTDIR') throw new SkeinError('InvalidArgument', `not a directory: ${path}`, { cause: error });
      throw error;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#root.close();
  }
}

function partsOf(path: string): string[] {
  return path.split('/').filter((part) => part !== '' && part !== '.');
}

async function reopen(directory: FileHandle): Promise<FileHandle> {
  return await open(`/proc/self/fd/${directory.fd}`, constants.O_RDONLY | constants.O_DIRECTORY);
}

async function linkAt(directory: FileHandle, name: string): Promise<string | undefined> {
  const stat = await lstat(at(directory, name)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  return stat?.isSymbolicLink() ? await readlink(at(directory, name)) : undefined;
}
