import { lstat, realpath, stat } from 'node:fs/promises';
import { posix, resolve } from 'node:path';
import { PassThrough, pipeline, type Readable } from 'node:stream';
import { pipeline as piped } from 'node:stream/promises';
import { EngineError } from '../../client/client.ts';
import { asNumber, asText, at, type Json, parseJson } from '../../client/json.ts';
import { type Context, command } from '../../command/command.ts';
import { CommandError } from '../../command/errors.ts';
import { humanSize } from '../../output/index.ts';
import { packLocal, unpackLocal } from './copy-archive.ts';
import { type End, placeOf } from './copy-place.ts';

/** Bits of Go's fs.FileMode, which the engine's stat has. */
const goDirectory = 2 ** 31;
const goLink = 2 ** 27;
const statHeader = 'x-docker-container-path-stat';

interface Options {
  readonly followLink: boolean;
  readonly quiet: boolean;
}

export const copy = command(
  'cp [OPTIONS] CONTAINER:SRC_PATH DEST_PATH|- | SRC_PATH|- CONTAINER:DEST_PATH',
  'Copy files/folders between a container and the local filesystem',
  `
  -a, --archive      Archive mode (copy all uid/gid information)
  -L, --follow-link  Always follow symbol link in SRC_PATH
  -q, --quiet        Suppress the summary, as when no terminal is attached
  `,
  async (context, flags, [source = '', destination = '']) => {
    if (source === '') throw new CommandError('source can not be empty');
    if (destination === '') throw new CommandError('destination can not be empty');
    const isTerminal = (context.out as NodeJS.WriteStream).isTTY === true;
    const options = {
      followLink: flags.on('follow-link'),
      quiet: flags.changed('quiet') ? flags.on('quiet') : !isTerminal,
    };
    const [from, to] = [splitName(source), splitName(destination)];
    if (from.container && to.container) throw new CommandError('copying between containers is not supported');
    if (from.container) await copyOut(context, from.container, from.path, to.path, options);
    else if (to.container) await copyIn(context, from.path, to.container, to.path, flags.on('archive'), options);
    else throw new CommandError('must specify at least one container source');
  },
  { arity: { min: 2, max: 2 } },
);

/** `container:path`; a path of here that has a colon begins with `/` or `.`. */
export function splitName(text: string): { container: string; path: string } {
  const colon = text.indexOf(':');
  if (colon < 0 || text.startsWith('/') || text.startsWith('.')) return { container: '', path: text };
  return { container: text.slice(0, colon), path: text.slice(colon + 1) };
}

async function copyOut(
  context: Context,
  container: string,
  path: string,
  destination: string,
  { followLink, quiet }: Options,
): Promise<void> {
  const asked = posix.join('/', path) + (path.endsWith('/.') ? '/.' : '');
  const found = followLink ? await statInside(context, container, asked) : undefined;
  const source = found?.target ?? asked;
  const { signal } = context;
  const { body, headers } = await context.client.call('GET', archivePath(container), {
    query: { path: source },
    signal,
  });
  try {
    if (destination === '-') await piped(body, context.out, { end: false });
    else {
      // A link that is followed keeps the name that it was asked for by.
      const end: End = { path: asked, kind: kindOf(parseStat(String(headers[statHeader] ?? ''))) };
      await unpackOut(context, body, end, absolute(destination), quiet);
    }
  } finally {
    body.destroy();
  }
}

async function unpackOut(context: Context, body: Readable, end: End, local: string, quiet: boolean): Promise<void> {
  const { directory, name } = placeOf(end, await localEnd(local));
  const counted = new Counter(body);
  await unpackLocal(counted.stream, directory, name);
  if (!quiet) context.err.write(summary(counted.bytes, local));
}

async function copyIn(
  context: Context,
  source: string,
  container: string,
  path: string,
  copiesOwner: boolean,
  { followLink, quiet }: Options,
): Promise<void> {
  const destination = await insideEnd(context, container, path);
  const query = { noOverwriteDirNonDir: 'true', copyUIDGID: copiesOwner ? 'true' : undefined };
  const send = (directory: string, stream: Readable) =>
    context.client.text('PUT', archivePath(container), {
      query: { path: directory, ...query },
      stream,
      signal: context.signal,
    });
  if (source === '-') {
    if (destination.kind !== 'directory')
      throw new CommandError(`destination "${container}:${path}" must be a directory`);
    await send(destination.path, context.stdin);
    return;
  }
  const asked = absolute(source);
  const found = await localEnd(asked, followLink);
  if (found.kind === 'none') throw new CommandError(`lstat ${asked}: no such file or directory`);
  const { directory, name } = placeOf({ ...found, path: asked }, destination);
  const read = followLink ? await realpath(asked) : asked;
  const counted = new Counter(packLocal(read, name));
  await send(directory, counted.stream);
  if (!quiet) context.err.write(summary(counted.bytes, `${container}:${destination.path}`));
}

const archivePath = (container: string): string => `/containers/${encodeURIComponent(container)}/archive`;
/** A local path with what its end says: `/`, `/.`. */
const absolute = (path: string): string =>
  resolve(path) + (/(?:\/|^)\.$/.test(path) ? '/.' : path.endsWith('/') ? '/' : '');
const summary = (bytes: number, to: string): string => `Successfully copied ${humanSize(bytes, 3)} to ${to}\n`;

async function localEnd(path: string, followsLink = true): Promise<End> {
  const bare = path.replace(/\/\.?$/, '') || '/';
  try {
    const found = await (followsLink ? stat(bare) : lstat(bare));
    return { path, kind: found.isDirectory() ? 'directory' : 'other' };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return { path, kind: 'none' };
  }
}

const kindOf = (found: Json): End['kind'] =>
  (asNumber(at(found, 'mode')) & goDirectory) !== 0 ? 'directory' : 'other';

/** What is at the path; `target`: where its link leads, if it is one. */
async function statInside(
  context: Context,
  container: string,
  path: string,
): Promise<{ found: Json; target: string | undefined } | undefined> {
  try {
    const { signal } = context;
    const { headers } = await context.client.call('HEAD', archivePath(container), { query: { path }, signal });
    const found = parseStat(String(headers[statHeader] ?? ''));
    const isLink = (asNumber(at(found, 'mode')) & goLink) !== 0;
    const target = posix.resolve(posix.dirname(path), asText(at(found, 'linkTarget')));
    return { found, target: isLink ? target : undefined };
  } catch (error) {
    // Whatever is wrong with the container is said when the archive is asked for.
    if (error instanceof EngineError) return undefined;
    throw error;
  }
}

/** What is there, a link followed once. */
async function insideEnd(context: Context, container: string, path: string): Promise<End> {
  const asked = posix.join('/', path) + (path.endsWith('/.') ? '/.' : '');
  const first = await statInside(context, container, asked);
  const end = first?.target === undefined ? asked : first.target;
  const last = first?.target === undefined ? first : await statInside(context, container, end);
  return { path: end, kind: last === undefined ? 'none' : kindOf(last.found) };
}

function parseStat(header: string): Json {
  return header === '' ? null : parseJson(Buffer.from(header, 'base64').toString());
}

/** Counts what goes through. */
class Counter {
  readonly stream = new PassThrough();
  bytes = 0;

  constructor(source: Readable) {
    source.on('data', (chunk: Buffer) => {
      this.bytes += chunk.length;
    });
    // Whatever ends one of the two ends the other; an error is seen by who reads the stream.
    pipeline(source, this.stream, () => undefined);
  }
}
