/** `docker cp`: a container's files as a tar archive, both ways. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:fs';
import {
  chmod,
  type FileHandle,
  lchown,
  link,
  lstat,
  lutimes,
  mkdir,
  open,
  readlink,
  rm,
  rmdir,
  symlink,
} from 'node:fs/promises';
import { posix } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { extract, type Header } from 'tar-stream';
import { SkeinError } from '../common/index.ts';
import { at, type RootDirectory } from './root-directory.ts';
import type { PathStat } from './types.ts';

/** Bits of Go's fs.FileMode, which Docker's JSON has. */
const goMode = {
  directory: 2 ** 31,
  link: 2 ** 27,
  device: 2 ** 26,
  pipe: 2 ** 25,
  socket: 2 ** 24,
  setUserId: 2 ** 23,
  setGroupId: 2 ** 22,
  characterDevice: 2 ** 21,
  sticky: 2 ** 20,
} as const;
const writeFlags = constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL | constants.O_NOFOLLOW;
/** asm-generic/fcntl.h; Node does not name it. */
const openPath = 0o10000000;

/** A path's directory, open, and its last name; '.' for the root itself. */
async function locate(root: RootDirectory, path: string): Promise<{ parent: FileHandle; name: string }> {
  const isDirectory = /\/\.?$/.test(path);
  const clean = posix.normalize(`/${path}`).replace(/\/+$/, '') || '/';
  if (clean === '/') return { parent: await root.directory('/'), name: '.' };
  if (isDirectory) await (await root.directory(clean)).close();
  return { parent: await root.directory(posix.dirname(clean)), name: posix.basename(clean) };
}

/** @throws SkeinError NotFound in Docker's words. */
export async function statPath(root: RootDirectory, containerId: string, path: string): Promise<PathStat> {
  const { parent, name } = await locate(root, path).catch((error: unknown) => {
    throw notFound(containerId, path, error);
  });
  try {
    const stat = await lstat(at(parent, name)).catch((error: unknown) => {
      throw notFound(containerId, path, error);
    });
    const bits = [
      stat.isDirectory() && goMode.directory,
      stat.isSymbolicLink() && goMode.link,
      (stat.isBlockDevice() || stat.isCharacterDevice()) && goMode.device,
      stat.isCharacterDevice() && goMode.characterDevice,
      stat.isFIFO() && goMode.pipe,
      stat.isSocket() && goMode.socket,
      (stat.mode & 0o4000) !== 0 && goMode.setUserId,
      (stat.mode & 0o2000) !== 0 && goMode.setGroupId,
      (stat.mode & 0o1000) !== 0 && goMode.sticky,
    ].reduce<number>((sum, bit) => sum + (bit === false ? 0 : bit), stat.mode & 0o777);
    return {
      name: name === '.' ? '/' : name,
      size: stat.size,
      mode: bits,
      mtime: stat.mtime.toISOString(),
      linkTarget: stat.isSymbolicLink() ? linkTarget(path, await readlink(at(parent, name))) : '',
    };
  } finally {
    await parent.close();
  }
}

function linkTarget(path: string, target: string): string {
  return target.startsWith('/') ? target : posix.join(posix.dirname(posix.normalize(`/${path}`)), target);
}

function notFound(containerId: string, path: string, error: unknown): unknown {
  const code = error instanceof SkeinError ? error.code : (error as NodeJS.ErrnoException).code;
  if (!['NotFound', 'ENOENT', 'ENOTDIR'].includes(String(code))) return error;
  return new SkeinError('NotFound', `Could not find the file ${path} in container ${containerId}`, { cause: error });
}

/** Writes the archive of a path, with its last name, by the host's tar. Ends early when `signal` aborts. */
export async function readArchive(
  root: RootDirectory,
  path: string,
  target: (archive: Readable) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  // `dir/.` is what is in the directory: its entries begin with `./` (moby: PreserveTrailingDotOrSeparator).
  const isInside = path.endsWith('/.');
  const { parent, name } = isInside ? { parent: await root.directory(path), name: '.' } : await locate(root, path);
  try {
    const words = ['--numeric-owner', '-C', '/proc/self/fd/3', '-cf', '-', '--', name];
    const child = spawn('tar', words, { stdio: ['ignore', 'pipe', 'ignore', parent.fd], signal });
    const ended = once(child, 'close').catch(() => undefined);
    // stdio says that it is a pipe.
    if (child.stdout) await target(child.stdout);
    await ended;
  } finally {
    await parent.close();
  }
}

/**
 * Unpacks an archive (already uncompressed) into a directory.
 * @param options.keepKinds a directory does not take the place of something else, nor something else that of one.
 * @throws SkeinError NotFound, InvalidArgument.
 */
export async function writeArchive(
  root: RootDirectory,
  path: string,
  archive: Readable,
  options: { keepKinds: boolean },
): Promise<void> {
  await (await root.directory(path)).close();
  const unpack = extract();
  const feeding = pipeline(archive, unpack).catch((error: unknown) => {
    unpack.destroy(error instanceof Error ? error : new Error(String(error)));
  });
  const base = posix.normalize(`/${path}`);
  for await (const entry of unpack) {
    await writeEntry(root, base, entry.header, entry as AsyncIterable<Uint8Array>, options);
    entry.resume();
  }
  await feeding;
}

async function writeEntry(
  root: RootDirectory,
  base: string,
  header: Header,
  contents: AsyncIterable<Uint8Array>,
  options: { keepKinds: boolean },
): Promise<void> {
  const inside = posix.normalize(`/${header.name}`).replace(/\/+$/, '');
  if (inside === '') return;
  const whole = posix.join(base, inside);
  await using parent = await root.directory(posix.dirname(whole), { make: true });
  const place = at(parent, posix.basename(whole));
  const present = await lstat(place).catch(() => undefined);
  const isDirectory = header.type === 'directory';
  if (present && present.isDirectory() !== isDirectory) {
    if (options.keepKinds) {
      const [what, other] = isDirectory ? ['directory', 'non-directory'] : ['non-directory', 'directory'];
      throw new SkeinError('InvalidArgument', `cannot overwrite ${other} "${whole}" with ${what}`);
    }
    await (present.isDirectory() ? rmdir(place) : rm(place));
  } else if (present && !isDirectory) {
    await rm(place);
  }
  await makeEntry(root, base, place, header, contents, isDirectory && present?.isDirectory() === true);
  await lchown(place, header.uid ?? 0, header.gid ?? 0);
  if (header.type === 'symlink') return;
  await changeMode(place, header.mode ?? 0o644);
  const time = header.mtime ?? new Date();
  await lutimes(place, time, time);
}

/**
 * chmod(2) follows links, and one may stand there: a hard link to a symbolic one, or what the container has put in the
 * place meanwhile. So the thing itself is held first.
 */
async function changeMode(place: string, mode: number): Promise<void> {
  await using held = await open(place, openPath | constants.O_NOFOLLOW);
  if (!(await held.stat()).isSymbolicLink()) await chmod(`/proc/self/fd/${held.fd}`, mode);
}

async function makeEntry(
  root: RootDirectory,
  base: string,
  place: string,
  header: Header,
  contents: AsyncIterable<Uint8Array>,
  isThere: boolean,
): Promise<void> {
  switch (header.type) {
    case 'directory':
      if (!isThere) await mkdir(place);
      return;
    case 'symlink':
      await symlink(header.linkname ?? '', place);
      return;
    case 'link': {
      const target = posix.join(base, posix.normalize(`/${header.linkname ?? ''}`));
      await using directory = await root.directory(posix.dirname(target));
      await link(at(directory, posix.basename(target)), place);
      return;
    }
    case 'file':
    case 'contiguous-file': {
      const file = await open(place, writeFlags, 0o600);
      await pipeline(contents, file.createWriteStream());
      return;
    }
    default:
      throw new SkeinError(
        'InvalidArgument',
        `${header.name}: Skein copies files, directories and links, no ${header.type}`,
      );
  }
}
