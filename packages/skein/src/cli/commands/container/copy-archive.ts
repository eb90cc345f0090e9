/** The user's side of `cp`: local files as a tar archive, and an archive as local files. */
import { createReadStream, createWriteStream, type Stats } from 'node:fs';
import { chmod, link, lstat, lutimes, mkdir, readdir, readlink, rm, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { extract, type Header, type Pack, pack } from 'tar-stream';
import { CommandError } from '../../command/errors.ts';
import { renamed } from './copy-place.ts';

/** Permission bits of a mode, set-user-ID and its like among them. */
const permissions = 0o7777;

/** @returns the archive of a file or a directory with all that is in it, its uppermost entry called `name`. */
export function packLocal(path: string, name: string): Readable {
  const archive = pack();
  addTree(archive, path, name).then(
    () => archive.finalize(),
    (error: unknown) => archive.destroy(error instanceof Error ? error : new Error(String(error))),
  );
  return Readable.from(archive, { objectMode: false });
}

async function addTree(archive: Pack, path: string, name: string): Promise<void> {
  const stat = await lstat(path);
  const header = headerOf(stat, name);
  if (stat.isSymbolicLink()) await addEntry(archive, { ...header, type: 'symlink', linkname: await readlink(path) });
  else if (stat.isDirectory()) {
    await addEntry(archive, { ...header, type: 'directory' });
    for (const child of await readdir(path)) await addTree(archive, join(path, child), `${name}/${child}`);
  } else if (stat.isFile()) {
    await pipeline(createReadStream(path), archive.entry({ ...header, type: 'file', size: stat.size }));
  } else throw new CommandError(`${path}: cp copies files, directories and links`);
}

const headerOf = ({ mode, uid, gid, mtime }: Stats, name: string) => ({
  name,
  mode: mode & permissions,
  uid,
  gid,
  mtime,
});

function addEntry(archive: Pack, header: Parameters<Pack['entry']>[0]): Promise<void> {
  return new Promise((resolve, reject) => {
    archive.entry(header, (error) => (error ? reject(error) : resolve()));
  });
}

/** Unpacks into a directory, the uppermost entry called `name`. Nothing is written outside of that directory. */
export async function unpackLocal(archive: Readable, directory: string, name: string): Promise<void> {
  const unpack = extract();
  const feeding = pipeline(archive, unpack).catch((error: unknown) => {
    unpack.destroy(error instanceof Error ? error : new Error(String(error)));
  });
  const directories: { path: string; header: Header }[] = [];
  for await (const entry of unpack) {
    const inside = safeName(renamed(entry.header.name, name));
    const path = join(directory, inside);
    await checkParents(directory, inside);
    await writeEntry(path, directory, name, entry.header, entry as unknown as Readable);
    if (entry.header.type === 'directory') directories.push({ path, header: entry.header });
    entry.resume();
  }
  await feeding;
  // Last, as a directory's own permissions may forbid to write in it.
  for (const { path, header } of directories.reverse()) await setMode(path, header);
}

function safeName(name: string): string {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.');
  if (parts.includes('..')) throw new CommandError(`invalid path in archive: ${name}`);
  return parts.join('/');
}

/** A link that came with the archive must not lead out of the directory. */
async function checkParents(directory: string, inside: string): Promise<void> {
  for (let parent = dirname(inside); parent !== '.'; parent = dirname(parent)) {
    const stat = await lstat(join(directory, parent)).catch(() => undefined);
    if (stat && !stat.isDirectory()) throw new CommandError(`not a directory: ${join(directory, parent)}`);
  }
}

async function writeEntry(
  path: string,
  directory: string,
  name: string,
  header: Header,
  contents: Readable,
): Promise<void> {
  const present = await lstat(path).catch(() => undefined);
  const isDirectory = header.type === 'directory';
  if (present?.isDirectory() === true && !isDirectory) {
    throw new CommandError(`cannot overwrite directory ${JSON.stringify(path)} with non-directory`);
  }
  if (present && !present.isDirectory()) {
    if (isDirectory) throw new CommandError(`cannot overwrite non-directory ${JSON.stringify(path)} with directory`);
    await rm(path);
  }
  switch (header.type) {
    case 'directory':
      await mkdir(path, { recursive: true, mode: 0o700 });
      return;
    case 'symlink':
      await symlink(header.linkname ?? '', path);
      return;
    case 'link': {
      const target = safeName(renamed(header.linkname ?? '', name));
      await checkParents(directory, target);
      await link(join(directory, target), path);
      return;
    }
    case 'file':
    case 'contiguous-file':
      await pipeline(contents, createWriteStream(path, { flags: 'wx', mode: 0o600 }));
      await setMode(path, header);
      return;
    default:
      throw new CommandError(`${header.name}: cp copies files, directories and links, no ${header.type}`);
  }
}

async function setMode(path: string, header: Header): Promise<void> {
  await chmod(path, (header.mode ?? 0o644) & permissions);
  const time = header.mtime ?? new Date();
  await lutimes(path, time, time);
}
