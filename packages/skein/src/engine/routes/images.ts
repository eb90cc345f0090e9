/** /images and /distribution. */
import { errorText, SkeinError } from '../../common/index.ts';
import type { RegistryAuth } from '../../container/types.ts';
import { invalid, notBuilt } from '../errors.ts';
import { booleanFilter, parseFilters } from '../filters.ts';
import { isObject } from '../json.ts';
import { flagParameter, pathParameter } from '../parameters.ts';
import { isPrunable, pruneFilters, untilOf } from '../prune.ts';
import { empty, get, json, post, remove, stream } from '../reply.ts';
import { jsonLine, write } from '../streams.ts';
import type { Call, Engine, Reply, Route } from '../types.ts';

const imageFilters = ['before', 'dangling', 'label', 'reference', 'since', 'until'];

export function imageRoutes(engine: Engine): Route[] {
  const { images } = engine.runtime;
  return [
    get('/images/json', async (call) =>
      json(
        await images.list(parseFilters(call.query.get('filters'), imageFilters), {
          all: flagParameter(call, 'all'),
          digests: flagParameter(call, 'digests'),
        }),
      ),
    ),
    post('/images/create', (call) => (call.query.has('fromSrc') ? importImage(engine, call) : pullImage(engine, call))),
    post('/images/load', (call) => progress(images.load(call.body(), call.signal))),
    get('/images/*', (call) => readImage(engine, call)),
    post('/images/*', (call) => writeImage(engine, call)),
    remove('/images/*', async (call) =>
      json(
        await images.remove(pathParameter(call, '*'), {
          force: flagParameter(call, 'force'),
          noPrune: flagParameter(call, 'noprune'),
        }),
      ),
    ),
    get('/distribution/*', async (call) => {
      const [name, action] = splitAction(call);
      if (action !== 'json') throw new SkeinError('NotFound', 'page not found');
      const { descriptor, platforms } = await images.resolve(name, registryAuth(call));
      return json({ Descriptor: descriptor, Platforms: platforms });
    }),
  ];
}

/** Names have slashes: the last part of the path is the action. */
function splitAction(call: Call): [name: string, action: string] {
  const rest = pathParameter(call, '*');
  const at = rest.lastIndexOf('/');
  return at < 0 ? ['', rest] : [rest.slice(0, at), rest.slice(at + 1)];
}

async function readImage({ runtime }: Engine, call: Call): Promise<Reply> {
  const [name, action] = splitAction(call);
  switch (action) {
    case 'json':
      try {
        return json(await runtime.images.inspect(name));
      } catch (error) {
        if (!(error instanceof SkeinError) || error.code !== 'NotFound') throw error;
        throw new SkeinError('NotFound', `no such image: ${name}: ${error.message}`, { cause: error });
      }
    case 'history':
      return json(await runtime.images.history(name));
    case 'get':
      throw notBuilt('Skein does not save images: use docker image load on each node with the archive that you have.');
    case 'search':
      throw notBuilt('Skein does not search registries.');
    default:
      throw new SkeinError('NotFound', 'page not found');
  }
}

async function writeImage({ runtime }: Engine, call: Call): Promise<Reply> {
  const [name, action] = splitAction(call);
  switch (action) {
    case 'tag': {
      const repository = call.query.get('repo') ?? '';
      const tag = call.query.get('tag') ?? '';
      await runtime.images.tag(name, tag === '' ? repository : `${repository}:${tag}`);
      return empty(201);
    }
    case 'push':
      throw notBuilt('Skein does not push images: push them with the tool that built them.');
    case 'prune':
      return await pruneImages(runtime, call);
    default:
      throw new SkeinError('NotFound', 'page not found');
  }
}

/** Without a tag, or with `dangling=false` all that no container uses. */
async function pruneImages(runtime: Engine['runtime'], call: Call): Promise<Reply> {
  const filters = parseFilters(call.query.get('filters'), [...pruneFilters, 'dangling']);
  const until = untilOf(filters);
  const all = booleanFilter(filters, 'dangling') === false;
  const { images } = runtime;
  const used = new Set((await runtime.list()).map(({ Image }) => Image));
  const deleted: Awaited<ReturnType<typeof images.remove>> = [];
  let space = 0;
  for (const image of await images.list(all ? {} : { dangling: ['true'] }, { all: false, digests: false })) {
    const { Id, Size, Created } = image;
    const labels = isObject(image.Labels) ? (image.Labels as Record<string, string>) : {};
    if (used.has(Id) || !isPrunable(filters, labels, Number(Created) * 1000, until)) continue;
    deleted.push(...(await images.remove(Id, { force: true, noPrune: false })));
    space += Number(Size) || 0;
  }
  return json({ ImagesDeleted: deleted.length > 0 ? deleted : null, SpaceReclaimed: space });
}

function pullImage({ runtime }: Engine, call: Call): Promise<Reply> {
  const image = call.query.get('fromImage') ?? '';
  if (image === '') throw invalid('invalid reference format');
  const tag = call.query.get('tag') ?? '';
  const reference = tag === '' ? image : `${image}${tag.includes(':') ? '@' : ':'}${tag}`;
  const auth = registryAuth(call);
  return progress(runtime.images.pull(reference, { signal: call.signal, ...(auth === undefined ? {} : { auth }) }));
}

async function importImage({ runtime }: Engine, call: Call): Promise<Reply> {
  if (call.query.get('fromSrc') !== '-')
    throw notBuilt('Skein imports from a file: fetch the archive first, then docker import FILE.');
  const repository = call.query.get('repo') ?? '';
  const tag = call.query.get('tag') ?? '';
  const id = await runtime.images.import(call.body(), {
    changes: call.query.getAll('changes'),
    message: call.query.get('message') ?? '',
    ...(repository === '' ? {} : { reference: tag === '' ? repository : `${repository}:${tag}` }),
  });
  return stream('application/json', async (response) => {
    response.write(jsonLine({ status: id }));
  });
}

/** A stream of JSON lines. An error before the first line is an HTTP error, a later one a line. */
async function progress(source: AsyncIterable<unknown>): Promise<Reply> {
  const iterator = source[Symbol.asyncIterator]();
  const first = await iterator.next();
  return stream('application/json', async (response, signal) => {
    try {
      for (let step = first; step.done !== true; step = await iterator.next()) {
        if (!(await write(response, jsonLine(step.value), signal))) break;
      }
    } catch (error) {
      if (signal.aborted) return;
      const message = errorText(error);
      await write(response, jsonLine({ errorDetail: { message }, error: message }), signal);
    } finally {
      await iterator.return?.();
    }
  });
}

/** X-Registry-Auth: base64url of JSON. @throws SkeinError InvalidArgument. */
function registryAuth(call: Call): RegistryAuth | undefined {
  const header = call.headers['x-registry-auth'];
  if (typeof header !== 'string' || header === '') return undefined;
  try {
    const value: unknown = JSON.parse(Buffer.from(header, 'base64url').toString('utf8'));
    if (!isObject(value)) throw new Error('not an object');
    const texts = Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === 'string');
    return Object.fromEntries(texts);
  } catch (error) {
    throw invalid(`invalid X-Registry-Auth header: ${errorText(error)}`, error);
  }
}
