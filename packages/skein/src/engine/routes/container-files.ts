/** `docker cp`, `docker diff` and `docker stats`. */
import { setTimeout as sleep } from 'node:timers/promises';
import { invalid } from '../errors.ts';
import { stringify } from '../json.ts';
import { flagParameter, pathParameter } from '../parameters.ts';
import { empty, get, head, json, put, stream } from '../reply.ts';
import { copyOutput, write } from '../streams.ts';
import type { Call, Engine, Reply, Route } from '../types.ts';
import { statsJson } from '../views/stats.ts';

const statHeader = 'X-Docker-Container-Path-Stat';
/** Between two samples, as dockerd takes them. */
const statsPeriodMs = 1000;

export function containerFileRoutes(engine: Engine): Route[] {
  const { runtime } = engine;
  const idOf = (call: Call): string => runtime.find(pathParameter(call, 'id'));
  const statOf = async (call: Call): Promise<Record<string, string>> => {
    const stat = await runtime.files.stat(idOf(call), pathOf(call));
    return { [statHeader]: Buffer.from(stringify(stat)).toString('base64') };
  };
  return [
    head('/containers/:id/archive', async (call) => ({ kind: 'empty', status: 200, headers: await statOf(call) })),
    get('/containers/:id/archive', async (call) => ({
      kind: 'stream',
      contentType: 'application/x-tar',
      headers: await statOf(call),
      write: (response, signal) =>
        runtime.files.read(idOf(call), pathOf(call), (archive) => copyOutput(archive, response, 'tty', signal), signal),
    })),
    put('/containers/:id/archive', async (call) => {
      const keepKinds = flagParameter(call, 'noOverwriteDirNonDir');
      await runtime.files.write(idOf(call), pathOf(call), call.body(), { keepKinds });
      return empty(200);
    }),
    get('/containers/:id/changes', async (call) => {
      const changes = await runtime.files.changes(idOf(call));
      return json(changes.length > 0 ? changes : null);
    }),
    get('/containers/:id/stats', (call) => stats(engine, idOf(call), call)),
  ];
}

function pathOf(call: Call): string {
  const path = call.query.get('path') ?? '';
  if (path === '') throw invalid('bad parameter: path cannot be empty');
  return path;
}

/** Without `stream` one sample, which needs two looks unless `one-shot` is asked for. */
async function stats({ runtime }: Engine, id: string, call: Call): Promise<Reply> {
  const follows = flagParameter(call, 'stream', true);
  const look = async () => ({ container: await runtime.inspect(id), stats: await runtime.stats(id) });
  if (!follows) {
    const first = await look();
    if (flagParameter(call, 'one-shot') || first.stats === undefined)
      return json(statsJson(first.container, first.stats));
    await sleep(statsPeriodMs, undefined, { signal: call.signal });
    const second = await look();
    return json(statsJson(second.container, second.stats, first.stats));
  }
  return stream('application/json', async (response, signal) => {
    let before: Awaited<ReturnType<typeof look>>['stats'];
    while (!signal.aborted) {
      const { container, stats: now } = await look();
      if (!(await write(response, `${stringify(statsJson(container, now, before))}\n`, signal))) return;
      before = now;
      await sleep(statsPeriodMs, undefined, { signal }).catch(() => undefined);
    }
  });
}
