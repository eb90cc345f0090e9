/** /containers: list, inspect, create, and the life of what runs. */
import { SkeinError } from '../../common/index.ts';
import type { WaitCondition } from '../../container/types.ts';
import { containerCreateBody, plainContainer } from '../convert/container-create.ts';
import { refuseUnbuiltOptions } from '../convert/unbuilt-options.ts';
import { parseDetachKeys } from '../detach-keys.ts';
import { invalid, notBuilt } from '../errors.ts';
import { parseFilters } from '../filters.ts';
import { isObject, stringify } from '../json.ts';
import { flagParameter, numberParameter, pathParameter } from '../parameters.ts';
import { isPrunable, pruneFilters, untilOf } from '../prune.ts';
import { empty, get, json, post, remove, stream } from '../reply.ts';
import { decodeBody, goInt, goString, goStruct } from '../schema.ts';
import { outputType } from '../streams.ts';
import type { Call, Engine, Reply, Route } from '../types.ts';
import { containerDetails, containerSummary } from '../views/container.ts';
import { containerFilters, selectContainers } from '../views/container-filters.ts';
import { joinOutput, joinSession } from './session.ts';

/** `ps` as docker top runs it without arguments. */
const defaultPsArguments = '-ef';
const waitConditions: readonly string[] = ['not-running', 'next-exit', 'removed'] satisfies WaitCondition[];

export function containerRoutes(engine: Engine): Route[] {
  const { runtime, local } = engine;
  /** A plain container's life is the local room's. */
  const ownerOf = (id: string) => (local.isPlain(id) ? local : runtime);
  const idOf = (call: Call): string => runtime.find(pathParameter(call, 'id'));
  /** An action on one container that answers 204. */
  const act = (path: string, action: (id: string, call: Call) => Promise<void>): Route =>
    post(`/containers/:id/${path}`, async (call) => {
      await action(idOf(call), call);
      return empty(204);
    });
  return [
    get('/containers/json', async (call) => {
      const size = flagParameter(call, 'size');
      const limit = numberParameter(call, 'limit');
      const shown = await selectContainers(engine, {
        filters: parseFilters(call.query.get('filters'), containerFilters),
        all: flagParameter(call, 'all'),
        limit: limit !== undefined && limit > 0 ? limit : undefined,
      });
      const sized = size ? await Promise.all(shown.map(({ Id }) => runtime.inspect(Id, { size }))) : shown;
      return json(sized.map((container) => containerSummary(engine, container, { size })));
    }),
    post('/containers/create', (call) => createContainer(engine, call)),
    get('/containers/:id/json', async (call) =>
      json(
        containerDetails(
          engine,
          await runtime.inspect(idOf(call), { size: flagParameter(call, 'size') }),
          call.apiVersion,
        ),
      ),
    ),
    get('/containers/:id/top', async (call) =>
      json(await runtime.top(idOf(call), call.query.get('ps_args') || defaultPsArguments)),
    ),
    act('start', (id) => startContainer(engine, id)),
    act('stop', (id, call) => ownerOf(id).stop(id, { ...timeoutOf(call), ...signalOf(call) })),
    act('restart', (id, call) => {
      if (!local.isPlain(id)) throw ofTask(id, '--force');
      return local.restart(id, { ...timeoutOf(call), ...signalOf(call) });
    }),
    act('kill', (id, call) => ownerOf(id).kill(id, call.query.get('signal') || 'SIGKILL')),
    act('pause', (id) => runtime.pause(id)),
    act('unpause', (id) => runtime.unpause(id)),
    act('rename', (id, call) => {
      const name = call.query.get('name') ?? '';
      if (name === '') throw invalid('Neither old nor new names may be empty');
      return ownerOf(id).rename(id, name);
    }),
    post('/containers/prune', (call) => prune(engine, call)),
    post('/containers/:id/update', (call) => update(engine, idOf(call), call)),
    post('/containers/:id/resize', async (call) => {
      await runtime.resize(idOf(call), terminalSize(call));
      return empty(200);
    }),
    post('/containers/:id/wait', (call) => wait(engine, idOf(call), call)),
    post('/containers/:id/attach', (call) => attach(engine, idOf(call), call)),
    remove('/containers/:id', async (call) => {
      const id = idOf(call);
      const options = { force: flagParameter(call, 'force'), volumes: flagParameter(call, 'v') };
      await (local.isPlain(id) ? local.remove(id, options) : runtime.remove(id, { force: options.force }));
      return empty(204);
    }),
  ];
}

async function createContainer({ local }: Engine, call: Call): Promise<Reply> {
  const body = await call.json();
  const outside = ['hostconfig', 'networkingconfig'];
  if (!isObject(body) || Object.keys(body).every((name) => outside.includes(name.toLowerCase()))) {
    throw invalid('Config cannot be empty in order to create a container');
  }
  refuseUnbuiltOptions(body);
  const request = plainContainer(
    call.query.get('name') ?? '',
    decodeBody(containerCreateBody, body, 'ContainerCreate'),
    call.apiVersion,
  );
  return json({ Id: await local.create(request), Warnings: [] }, 201);
}

/** Takes the plain containers that do not run; those of tasks are their services'. */
async function prune({ runtime, local }: Engine, call: Call): Promise<Reply> {
  const filters = parseFilters(call.query.get('filters'), pruneFilters);
  const until = untilOf(filters);
  const deleted: string[] = [];
  let space = 0;
  for (const { Id, State, Config, Created } of await runtime.list()) {
    const isIdle = !State.Running && !State.Restarting && State.Status !== 'removing';
    if (!local.isPlain(Id) || !isIdle || !isPrunable(filters, Config.Labels, Date.parse(Created), until)) continue;
    const { SizeRw = 0 } = await runtime.inspect(Id, { size: true });
    await local.remove(Id, { force: false, volumes: false });
    space += SizeRw;
    deleted.push(Id);
  }
  return json({ ContainersDeleted: deleted.length > 0 ? deleted : null, SpaceReclaimed: space });
}

/** What would take a task's container out of its service's hands. */
function ofTask(id: string, flags: string): SkeinError {
  return new SkeinError('PermissionDenied', `container ${id} belongs to a task: use docker service update ${flags}`);
}

const updateBody = goStruct({
  CpuShares: goInt.optional(),
  Memory: goInt.optional(),
  NanoCpus: goInt.optional(),
  CpuPeriod: goInt.optional(),
  CpuQuota: goInt.optional(),
  CpusetCpus: goString,
  CpusetMems: goString,
  MemoryReservation: goInt.optional(),
  MemorySwap: goInt.optional(),
  PidsLimit: goInt.nullish(),
  RestartPolicy: goStruct({ Name: goString, MaximumRetryCount: goInt.default(0) }),
});

/** What is zero or empty stays as it is (moby container/container_unix.go: UpdateContainer). */
async function update({ runtime, local }: Engine, id: string, call: Call): Promise<Reply> {
  if (!local.isPlain(id)) throw ofTask(id, '--limit-cpu and --limit-memory');
  const { RestartPolicy, ...limits } = decodeBody(updateBody, await call.json(), 'UpdateConfig');
  const given = Object.entries(limits).filter(
    ([, value]) => value !== undefined && value !== null && value !== 0 && value !== '',
  );
  if (given.length > 0) await runtime.update(id, Object.fromEntries(given));
  if (RestartPolicy.Name !== '') await local.setRestartPolicy(id, RestartPolicy);
  return json({ Warnings: null });
}

/** A stopped container starts again only in the network that it was made in. */
async function startContainer({ runtime, local, networking }: Engine, id: string): Promise<void> {
  if (local.isPlain(id)) return local.start(id);
  const { networkNamespace, State } = await runtime.inspect(id);
  if (State.Running) throw new SkeinError('NotModified', `container ${id} is running`);
  if (networkNamespace !== '' && networking.sandbox(id) === undefined) {
    throw new SkeinError('Conflict', `the network of container ${id} went with its task: its service starts a new one`);
  }
  await runtime.start(id);
}

/** `t` in seconds; -1 waits for ever. */
function timeoutOf(call: Call): { timeout?: number } {
  const timeout = numberParameter(call, 't');
  return timeout === undefined ? {} : { timeout };
}

function signalOf(call: Call): { signal?: string } {
  const signal = call.query.get('signal') ?? '';
  return signal === '' ? {} : { signal };
}

/** `h` and `w` in characters. */
export function terminalSize(call: Call): { rows: number; columns: number } {
  const rows = numberParameter(call, 'h');
  const columns = numberParameter(call, 'w');
  if (rows === undefined || columns === undefined) throw invalid('strconv.ParseUint: parsing "": invalid syntax');
  return { rows, columns };
}

/** The headers go out at once, so that the client knows that the wait has begun. */
function wait({ runtime }: Engine, id: string, call: Call): Reply {
  const condition = call.query.get('condition') || 'not-running';
  if (!isWaitCondition(condition)) throw invalid(`invalid condition: "${condition}"`);
  return stream('application/json', async (response, signal) => {
    const { exitCode, error } = await runtime.wait(id, condition, signal);
    if (signal.aborted) return;
    response.write(`${stringify({ StatusCode: exitCode, ...(error === '' ? {} : { Error: { Message: error } }) })}\n`);
  });
}

function isWaitCondition(word: string): word is WaitCondition {
  return waitConditions.includes(word);
}

async function attach({ runtime }: Engine, id: string, call: Call): Promise<Reply> {
  const { Config, State } = await runtime.inspect(id);
  if (State.Paused) throw new SkeinError('Conflict', `container ${id} is paused, unpause the container before attach`);
  if (flagParameter(call, 'logs') && !flagParameter(call, 'stream')) {
    throw notBuilt('Skein does not attach to past output: use docker logs.');
  }
  const stdin = flagParameter(call, 'stdin');
  const detachKeys = parseDetachKeys(call.query.get('detachKeys') ?? '');
  const wanted = { stdout: flagParameter(call, 'stdout'), stderr: flagParameter(call, 'stderr'), tty: Config.Tty };
  return {
    kind: 'hijack',
    contentType: outputType(Config.Tty, call.apiVersion),
    session: async (connection, signal) => {
      await joinSession(await runtime.attach(id, { stdin }), connection, { ...wanted, stdin, detachKeys }, signal);
    },
    write: async (response, signal) => joinOutput(await runtime.attach(id, { stdin: false }), response, wanted, signal),
  };
}
