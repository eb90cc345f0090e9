/** Reads files of a container's root file system straight from overlayfs' layers, without mounting them. */
import { constants } from 'node:fs';
import { lstat, open, readlink } from 'node:fs/promises';
import { join, posix } from 'node:path';
import { SkeinError } from '../../common/index.ts';

/** A longer file is not read: /etc/passwd of real images stays far below. */
const maximumBytes = 1024 * 1024;
/** Linux' own limit (path_resolution(7)). */
const maximumSymlinks = 40;
const readFlags = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

/** @returns the directories of an overlay or bind mount of containerd, uppermost first. */
export function layerDirectories(
  mounts: readonly { type: string; source: string; options: readonly string[] }[],
): string[] {
  const [mount] = mounts;
  if (mount?.type === 'bind') return [mount.source];
  const option = (name: string): string[] =>
    mount?.options
      .find((text) => text.startsWith(`${name}=`))
      ?.slice(name.length + 1)
      .split(':') ?? [];
  return [...option('upperdir'), ...option('lowerdir')];
}

async function statIn(
  layers: readonly string[],
  path: string,
): Promise<{ file: string; isLink: boolean; isFile: boolean } | undefined> {
  for (const layer of layers) {
    const file = join(layer, path);
    const stat = await lstat(file).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
      throw error;
    });
    // A character device 0:0 is overlayfs' whiteout (kernel Documentation/filesystems/overlayfs.rst).
    if (stat?.isCharacterDevice() && stat.rdev === 0) return undefined;
    if (stat) return { file, isLink: stat.isSymbolicLink(), isFile: stat.isFile() };
  }
  return undefined;
}

/**
 * @returns the path inside the root that a path leads to, without symbolic links; undefined when there is nothing.
 * Links are followed inside the layers only, so that none leads out of the root.
 */
export async function resolveRootPath(layers: readonly string[], path: string): Promise<string | undefined> {
  let rest = posix.normalize(path).split('/').filter(Boolean);
  let resolved = '/';
  for (let links = 0; rest.length > 0; ) {
    const next = posix.join(resolved, rest[0] ?? '');
    const found = await statIn(layers, next);
    if (!found) return undefined;
    rest = rest.slice(1);
    if (!found.isLink) {
      resolved = next;
      continue;
    }
    links += 1;
    if (links > maximumSymlinks) throw new SkeinError('InvalidArgument', `${path}: too many levels of symbolic links`);
    const target = posix.join('/', posix.resolve(resolved, await readlink(found.file)));
    rest = [...target.split('/').filter(Boolean), ...rest];
    resolved = '/';
  }
  return resolved;
}

/**
 * @returns a file's text, or undefined when there is none. What else stands there is not opened: a pipe that nobody writes
 * to would hold a thread of the daemon for ever, and a device does things.
 */
export async function readRootFile(layers: readonly string[], path: string): Promise<string | undefined> {
  const resolved = await resolveRootPath(layers, path);
  const found = resolved === undefined ? undefined : await statIn(layers, resolved);
  return found?.isFile ? await readBounded(found.file) : undefined;
}

async function readBounded(path: string): Promise<string> {
  const file = await open(path, readFlags);
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(maximumBytes), 0, maximumBytes, 0);
    return buffer.subarray(0, bytesRead).toString('utf8');
  } finally {
    await file.close();
  }
}
