/** /volumes. */
import type { Filters, Volume } from '../../container/types.ts';
import { booleanFilter, matches, matchesLabels, nameMatches, parseFilters } from '../filters.ts';
import { flagParameter, pathParameter } from '../parameters.ts';
import { isPrunable, pruneFilters } from '../prune.ts';
import { empty, get, json, post, remove } from '../reply.ts';
import { decodeBody, goMap, goString, goStruct } from '../schema.ts';
import type { Call, Engine, Reply, Route } from '../types.ts';

const createBody = goStruct({
  Name: goString,
  Driver: goString,
  DriverOpts: goMap.nullish().transform((options) => options ?? {}),
  Labels: goMap.nullish().transform((labels) => labels ?? {}),
});

const volumeFilters = ['dangling', 'driver', 'label', 'name'];
const anonymousLabel = 'com.docker.volume.anonymous';

export function volumeRoutes(engine: Engine): Route[] {
  const { volumes } = engine.runtime;
  return [
    get('/volumes', async (call) => {
      const filters = parseFilters(call.query.get('filters'), volumeFilters);
      const shown = (await volumes.list()).filter((volume) => volumeMatches(engine, volume, filters));
      return json({ Volumes: shown, Warnings: null });
    }),
    post('/volumes/create', async (call) => {
      const { Name, Driver, DriverOpts, Labels } = decodeBody(createBody, await call.json(), 'VolumeCreateBody');
      return json(await volumes.create({ name: Name, driver: Driver, options: DriverOpts, labels: Labels }), 201);
    }),
    post('/volumes/prune', (call) => prune(engine, call)),
    get('/volumes/:name', async (call) => json(await volumes.inspect(pathParameter(call, 'name')))),
    remove('/volumes/:name', async (call) => {
      await volumes.remove(pathParameter(call, 'name'), { force: flagParameter(call, 'force') });
      return empty(204);
    }),
  ];
}

function volumeMatches({ runtime }: Engine, volume: Volume, filters: Filters): boolean {
  const dangling = booleanFilter(filters, 'dangling');
  return (
    matches(filters, 'name', (value) => nameMatches(volume.Name, value)) &&
    matches(filters, 'driver', (value) => volume.Driver === value) &&
    matchesLabels(filters, volume.Labels ?? {}) &&
    (dangling === undefined || dangling === (runtime.volumes.users(volume.Name).length === 0))
  );
}

/** Since API 1.42 only those without a name of their own go, unless `all` is asked for. */
async function prune({ runtime }: Engine, call: Call): Promise<Reply> {
  const { volumes } = runtime;
  const filters = parseFilters(call.query.get('filters'), [...pruneFilters, 'all']);
  const all = call.apiVersion < 42 || booleanFilter(filters, 'all') === true;
  const deleted: string[] = [];
  let space = 0;
  for (const { Name, Labels } of await volumes.list()) {
    const labels = Labels ?? {};
    if (volumes.users(Name).length > 0 || !(all || anonymousLabel in labels)) continue;
    if (!isPrunable(filters, labels, 0, undefined)) continue;
    const size = await volumes.size(Name);
    await volumes.remove(Name, { force: true });
    space += size;
    deleted.push(Name);
  }
  return json({ VolumesDeleted: deleted.length > 0 ? deleted : null, SpaceReclaimed: space });
}
