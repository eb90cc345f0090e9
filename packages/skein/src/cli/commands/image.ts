import { createReadStream, createWriteStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { asList, asNumber, asObject, asText, asTexts, at, type JsonObject } from '../client/json.ts';
import { type Context, command } from '../command/command.ts';
import { CommandError } from '../command/errors.ts';
import { ago, ellipsis, humanSize, inspectAll, type Listing, printList, shortId, unixTime } from '../output/index.ts';
import { filterQuery } from './filters.ts';
import { filterFlag, formatFlag, inspectFlag } from './flags.ts';
import { showMessages } from './messages.ts';
import { pruneCommand, tellDeleted } from './prune.ts';
import { credentialHeaders, familiarImage } from './service/image.ts';

export interface ImageRow {
  readonly image: JsonObject;
  readonly full: boolean;
  readonly repository: string;
  readonly tag: string;
  readonly digest: string;
}

const secondMs = 1000;
const isoOf = (seconds: number) => new Date(seconds * secondMs).toISOString();
const imagePath = (name: string) => `/images/${name.split('/').map(encodeURIComponent).join('/')}`;
/** Go prints -1, the engine's "not computed", as this. */
const optionalSize = (value: number) => (value === -1 ? 'N/A' : humanSize(value));

export const imageListing: Listing<ImageRow> = {
  goType: '*formatter.imageContext',
  table: ['Repository', 'Tag', 'ID', 'CreatedSince', 'Size'],
  quiet: 'ID',
  columns: {
    ID: { header: 'IMAGE ID', value: ({ image, full }) => (full ? asText(image.Id) : shortId(asText(image.Id))) },
    Repository: { header: 'REPOSITORY', value: ({ repository }) => repository },
    Tag: { header: 'TAG', value: ({ tag }) => tag },
    Digest: { header: 'DIGEST', value: ({ digest }) => digest },
    CreatedSince: {
      header: 'CREATED',
      value: ({ image }) => (asNumber(image.Created) > 0 ? ago(isoOf(asNumber(image.Created))) : 'N/A'),
    },
    CreatedAt: { header: 'CREATED AT', value: ({ image }) => unixTime(asNumber(image.Created)) },
    Size: { header: 'SIZE', value: ({ image }) => humanSize(asNumber(image.Size), 3) },
    Containers: {
      header: 'CONTAINERS',
      value: ({ image }) => (asNumber(image.Containers) < 0 ? 'N/A' : String(asNumber(image.Containers))),
    },
    SharedSize: { header: 'SHARED SIZE', value: ({ image }) => optionalSize(asNumber(image.SharedSize)) },
    UniqueSize: {
      header: 'UNIQUE SIZE',
      value: ({ image }) =>
        asNumber(image.SharedSize) < 0 ? 'N/A' : humanSize(asNumber(image.Size) - asNumber(image.SharedSize)),
    },
    VirtualSize: { header: 'VIRTUAL SIZE', value: ({ image }) => humanSize(asNumber(image.Size)) },
  },
};

/** One row a tag; an image without a tag has one row, `<none>`; with `--digests` one for each digest too. */
export function rowsOf(image: JsonObject, full: boolean, withDigests: boolean): ImageRow[] {
  const none = '<none>';
  const tags = asList(image.RepoTags)
    .map(asText)
    .filter((tag) => tag !== '<none>:<none>');
  const digests = asList(image.RepoDigests)
    .map(asText)
    .filter((digest) => digest !== '<none>@<none>');
  const digestOf = (repository: string) =>
    digests.find((digest) => digest.startsWith(`${repository}@`))?.split('@')[1] ?? none;
  const rows = tags.map((name) => {
    const colon = name.lastIndexOf(':');
    const repository = name.slice(0, colon);
    return { image, full, repository, tag: name.slice(colon + 1), digest: withDigests ? digestOf(repository) : none };
  });
  if (rows.length > 0) return rows;
  return [
    {
      image,
      full,
      repository: digests[0]?.split('@')[0] ?? none,
      tag: none,
      digest: digests[0]?.split('@')[1] ?? none,
    },
  ];
}

const list = command(
  'ls [OPTIONS] [REPOSITORY[:TAG]]',
  'List images',
  `
  -a, --all    Show all images (default hides intermediate images)
  --digests    Show digests
  ${filterFlag}
  ${formatFlag}
  --no-trunc   Don't truncate output
  -q, --quiet  Only show image IDs
  `,
  async (context, flags, [reference]) => {
    const filters = filterQuery(flags.list('filter'), reference ? { reference: [reference] } : {});
    const found = await context.client.json('GET', '/images/json', { query: { all: flags.on('all'), filters } });
    const images = asList(found).map(asObject);
    images.sort((left, right) => asNumber(right.Created) - asNumber(left.Created));
    const rows = images.flatMap((image) => rowsOf(image, flags.on('no-trunc'), flags.on('digests')));
    const table = flags.on('digests')
      ? ['Repository', 'Tag', 'Digest', 'ID', 'CreatedSince', 'Size']
      : imageListing.table;
    const shown = flags.on('quiet')
      ? rows.filter((row, index) => rows.findIndex((other) => other.image === row.image) === index)
      : rows;
    printList(context.out, { ...imageListing, table }, shown, {
      format: flags.text('format'),
      quiet: flags.on('quiet'),
    });
  },
  { aliases: ['list'] },
);

const pull = command(
  'pull [OPTIONS] NAME[:TAG|@DIGEST]',
  'Download an image from a registry',
  `
  -a, --all-tags     Download all tagged images in the repository
  --platform string  Set platform if server is multi-platform capable
  -q, --quiet        Suppress verbose output
  `,
  async (context, flags, [name = '']) => {
    const image = familiarImage(name);
    if (image !== name && !flags.on('all-tags') && !flags.on('quiet') && image.endsWith(':latest')) {
      context.out.write('Using default tag: latest\n');
    }
    const silent = new (await import('node:stream')).PassThrough().resume();
    await pullImage(context, image, flags.on('quiet') ? silent : context.out, {
      allTags: flags.on('all-tags'),
      platform: flags.text('platform'),
    });
    context.out.write(`${canonicalImage(image)}\n`);
  },
);

/** Pulls an image and shows how far it is. @param name as the user wrote it. */
export async function pullImage(
  context: Context,
  name: string,
  out: Writable,
  { allTags, platform }: { allTags: boolean; platform: string } = { allTags: false, platform: '' },
): Promise<void> {
  const image = familiarImage(name);
  const split = /^(.+?)(?::([\w.-]+)|@(sha256:[0-9a-f]{64}))$/.exec(image);
  const { body } = await context.client.call('POST', '/images/create', {
    signal: context.signal,
    headers: credentialHeaders(context, image),
    query: {
      fromImage: split?.[1] ?? image,
      tag: allTags ? undefined : (split?.[2] ?? split?.[3]),
      platform,
    },
  });
  await showMessages(body, out);
}

/** `ubuntu:latest` → `docker.io/library/ubuntu:latest`. */
function canonicalImage(image: string): string {
  const first = image.split('/')[0] ?? '';
  const hasRegistry = image.includes('/') && (/[.:]/.test(first) || first === 'localhost');
  if (hasRegistry) return image;
  return `docker.io/${image.includes('/') ? '' : 'library/'}${image}`;
}

const load = command(
  'load [OPTIONS]',
  'Load an image from a tar archive or STDIN',
  `
  -i, --input string  Read from tar archive file, instead of STDIN
  --platform string   Load only the given platform variant
  -q, --quiet         Suppress the load output
  `,
  async (context, flags) => {
    const input = flags.text('input');
    if (!input && (context.stdin as NodeJS.ReadStream).isTTY) {
      throw new CommandError('requested load from stdin, but stdin is empty');
    }
    const { body, headers } = await context.client.call('POST', '/images/load', {
      query: { quiet: flags.on('quiet') ? true : '0', platform: flags.text('platform') },
      stream: input ? await openFile(input) : context.stdin,
    });
    if (/json/.test(String(headers['content-type'] ?? ''))) await showMessages(body, context.out);
    else for await (const chunk of body) context.out.write(chunk);
  },
);

async function openFile(path: string) {
  try {
    await stat(path);
  } catch (error) {
    throw new CommandError(`open ${path}: no such file or directory`, 1, { cause: error });
  }
  return createReadStream(path);
}

const importImage = command(
  'import [OPTIONS] file|URL|- [REPOSITORY[:TAG]]',
  'Import the contents from a tarball to create a filesystem image',
  `
  -c, --change list     Apply Dockerfile instruction to the created image
  -m, --message string  Set commit message for imported image
  --platform string     Set platform if server is multi-platform capable
  `,
  async (context, flags, [source = '', reference = '']) => {
    const isUrl = /^https?:\/\//.test(source);
    const stream = isUrl ? undefined : source === '-' ? context.stdin : await openFile(source);
    const { body } = await context.client.call('POST', '/images/create', {
      query: {
        fromSrc: isUrl ? source : '-',
        repo: reference,
        message: flags.text('message'),
        changes: flags.list('change'),
        platform: flags.text('platform'),
      },
      ...(stream && { stream }),
    });
    await showMessages(body, context.out);
  },
);

const save = command(
  'save [OPTIONS] IMAGE [IMAGE...]',
  'Save one or more images to a tar archive (streamed to STDOUT by default)',
  '-o, --output string  Write to a file, instead of STDOUT',
  async (context, flags, names) => {
    if (!flags.text('output') && (context.out as NodeJS.WriteStream).isTTY) {
      throw new CommandError('cowardly refusing to save to a terminal. Use the -o flag or redirect');
    }
    const { body } = await context.client.call('GET', '/images/get', { query: { names } });
    if (flags.text('output')) await pipeline(body, createWriteStream(flags.text('output')));
    else for await (const chunk of body) context.out.write(chunk);
  },
);

const inspect = command(
  'inspect [OPTIONS] IMAGE [IMAGE...]',
  'Display detailed information on one or more images',
  inspectFlag,
  (context, flags, names) =>
    inspectAll(context, names, flags.text('format'), (name) => context.client.text('GET', `${imagePath(name)}/json`)),
);

const tag = command(
  'tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]',
  'Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE',
  '',
  async (context, _flags, [source = '', target = '']) => {
    const match = /^(.+?)(?::([\w][\w.-]*))?$/.exec(target);
    await context.client.text('POST', `${imagePath(source)}/tag`, {
      query: { repo: match?.[1] ?? target, tag: match?.[2] ?? 'latest' },
    });
  },
);

const remove = command(
  'rm [OPTIONS] IMAGE [IMAGE...]',
  'Remove one or more images',
  `
  -f, --force  Force removal of the image
  --no-prune   Do not delete untagged parents
  `,
  async (context, flags, names) => {
    const failures: string[] = [];
    for (const name of names) {
      try {
        const query = { force: flags.on('force'), noprune: flags.on('no-prune') };
        for (const item of asList(await context.client.json('DELETE', imagePath(name), { query }))) {
          const { Deleted, Untagged } = asTexts(item);
          context.out.write(Deleted ? `Deleted: ${Deleted}\n` : `Untagged: ${Untagged}\n`);
        }
      } catch (error) {
        if (!(error instanceof CommandError)) throw error;
        failures.push(error.message);
      }
    }
    if (failures.length > 0) throw new CommandError(failures.join('\n'));
  },
  { aliases: ['remove'] },
);

const historyLimit = 45;
const historyListing: Listing<{ readonly layer: JsonObject; readonly full: boolean; readonly human: boolean }> = {
  goType: '*image.historyContext',
  table: ['ID', 'CreatedSince', 'CreatedBy', 'Size', 'Comment'],
  quiet: 'ID',
  columns: {
    ID: { header: 'IMAGE', value: ({ layer, full }) => (full ? asText(layer.Id) : shortId(asText(layer.Id))) },
    CreatedAt: { header: 'CREATED AT', value: ({ layer }) => isoOf(asNumber(layer.Created)).replace(/\.\d+Z$/, 'Z') },
    CreatedSince: {
      header: 'CREATED',
      value: ({ layer, human }) =>
        human ? ago(isoOf(asNumber(layer.Created))) : isoOf(asNumber(layer.Created)).replace(/\.\d+Z$/, 'Z'),
    },
    CreatedBy: {
      header: 'CREATED BY',
      value: ({ layer, full }) => {
        const text = asText(layer.CreatedBy).replaceAll('\t', ' ');
        return full ? text : ellipsis(text, historyLimit);
      },
    },
    Size: {
      header: 'SIZE',
      value: ({ layer, human }) => (human ? humanSize(asNumber(layer.Size), 3) : String(asNumber(layer.Size))),
    },
    Comment: { header: 'COMMENT', value: ({ layer }) => asText(layer.Comment) },
  },
};

const history = command(
  'history [OPTIONS] IMAGE',
  'Show the history of an image',
  `
  ${formatFlag}
  -H, --human bool=true  Print sizes and dates in human readable format
  --no-trunc             Don't truncate output
  -q, --quiet            Only show image IDs
  `,
  async (context, flags, [name = '']) => {
    const layers = asList(await context.client.json('GET', `${imagePath(name)}/history`)).map(asObject);
    const rows = layers.map((layer) => ({ layer, full: flags.on('no-trunc'), human: flags.on('human') }));
    printList(context.out, historyListing, rows, { format: flags.text('format'), quiet: flags.on('quiet') });
  },
);

const prune = pruneCommand({
  summary: 'Remove unused images',
  all: 'Remove all unused images, not just dangling ones',
  filter: 'until=<timestamp>',
  what: (all) => `all ${all ? 'images without at least one container associated to them' : 'dangling images'}`,
  remove: pruneImages,
});

/** Says what has gone. @returns the bytes that are free again. */
export async function pruneImages(context: Context, filters: readonly string[], all: boolean): Promise<number> {
  const query = { filters: filterQuery(filters, { dangling: [String(!all)] }) };
  const pruned = await context.client.json('POST', '/images/prune', { query });
  const lines = asList(at(pruned, 'ImagesDeleted')).map((item) => {
    const { Deleted, Untagged } = asTexts(item);
    return Deleted ? `deleted: ${Deleted}` : `untagged: ${Untagged}`;
  });
  tellDeleted(context, 'Images', lines);
  return asNumber(at(pruned, 'SpaceReclaimed'));
}

/** `skein image …`. */
export const imageCommands = [history, importImage, inspect, list, load, prune, pull, remove, save, tag];
