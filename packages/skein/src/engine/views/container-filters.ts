/** Which containers GET /containers/json shows. */
import { SkeinError } from '../../common/index.ts';
import type { ContainerInspect, Filters } from '../../container/types.ts';
import { invalid } from '../errors.ts';
import { booleanFilter, matches, matchesLabels, nameMatches } from '../filters.ts';
import type { Engine } from '../types.ts';
import { isOnNetwork, portList } from './container.ts';

export const containerFilters = [
  'ancestor',
  'before',
  'exited',
  'health',
  'id',
  'is-task',
  'isolation',
  'label',
  'name',
  'network',
  'since',
  'status',
  'volume',
  'publish',
  'expose',
];
const statuses = ['created', 'running', 'paused', 'restarting', 'removing', 'exited', 'dead'];
const healths = ['none', 'starting', 'healthy', 'unhealthy'];
const largestPort = 65_535;
/** The label that every container of a task has. */
const taskLabel = 'com.docker.swarm.task.id';

export interface ListOptions {
  readonly filters: Filters;
  readonly all: boolean;
  /** At most so many of the newest, running or not. */
  readonly limit: number | undefined;
}

/** @returns the containers to show, newest first. @throws SkeinError InvalidArgument for values that cannot be. */
export async function selectContainers(
  engine: Engine,
  { filters, all, limit }: ListOptions,
): Promise<ContainerInspect[]> {
  checkValues(filters);
  const ports = { publish: portRanges(filters, 'publish'), expose: portRanges(filters, 'expose') };
  const containers = (await engine.runtime.list()).sort((a, b) => Date.parse(b.Created) - Date.parse(a.Created));
  const created = (reference: string): number => {
    const id = engine.runtime.find(reference);
    return Date.parse(containers.find((container) => container.Id === id)?.Created ?? '');
  };
  const [before] = (filters.before ?? []).map(created);
  const [since] = (filters.since ?? []).map(created);
  // Asking for a state or an exit code shows stopped containers as well (moby daemon/list.go).
  const stoppedToo = all || limit !== undefined || filters.status !== undefined || filters.exited !== undefined;
  const images = await imageIds(engine, filters.ancestor ?? []);
  const shown = containers.filter(
    (container) =>
      (stoppedToo || container.State.Running) &&
      (before === undefined || Date.parse(container.Created) < before) &&
      (since === undefined || Date.parse(container.Created) > since) &&
      portsMatch(engine, container, ports) &&
      containerMatches(engine, container, filters, images),
  );
  return limit === undefined ? shown : shown.slice(0, limit);
}

function checkValues(filters: Filters): void {
  for (const [name, accepted] of [
    ['status', statuses],
    ['health', healths],
  ] as const) {
    const wrong = filters[name]?.find((value) => !accepted.includes(value));
    if (wrong !== undefined) throw invalid(`invalid filter '${name}=${wrong}'`);
  }
  const wrongExit = filters.exited?.find((value) => !/^-?\d+$/.test(value));
  if (wrongExit !== undefined) throw invalid(`strconv.Atoi: parsing "${wrongExit}": invalid syntax`);
}

interface PortRange {
  readonly first: number;
  readonly last: number;
  readonly protocol: string;
}

/** @returns what `80`, `53/udp` or `8000-8010/tcp` mean. @throws SkeinError InvalidArgument (moby daemon/list.go: portOp). */
function portRanges(filters: Filters, name: 'publish' | 'expose'): PortRange[] {
  return (filters[name] ?? []).map((value) => {
    if (value.includes(':')) throw invalid(`filter for '${name}' should not contain ':': ${value}`);
    const [, start, end = start, protocol = 'tcp'] = /^(\d+)(?:-(\d+))?(?:\/(\w+))?$/.exec(value) ?? [];
    const [first, last] = [Number(start), Number(end)];
    if (start === undefined || last < first || last > largestPort)
      throw invalid(
        `error while looking up for ${name} ${value}: use a port or a range, as 80, 53/udp or 8000-8010/tcp`,
      );
    return { first, last, protocol };
  });
}

/** As in Docker a container is shown that fulfils either of the two. */
function portsMatch(
  engine: Engine,
  container: ContainerInspect,
  { publish, expose }: Readonly<Record<'publish' | 'expose', readonly PortRange[]>>,
): boolean {
  if (publish.length === 0 && expose.length === 0) return true;
  const isAmong = (ranges: readonly PortRange[], port: number | undefined, type: string): boolean =>
    port !== undefined &&
    ranges.some(({ first, last, protocol }) => protocol === type && port >= first && port <= last);
  return portList(engine, container).some(
    ({ PrivatePort, PublicPort, Type }) => isAmong(publish, PublicPort, Type) || isAmong(expose, PrivatePort, Type),
  );
}

/** An image that is not here is nobody's ancestor. */
async function imageIds(engine: Engine, references: readonly string[]): Promise<ReadonlySet<string>> {
  const ids = await Promise.all(
    references.map(async (reference) => {
      try {
        return [(await engine.runtime.images.inspect(reference)).Id];
      } catch (error) {
        if (error instanceof SkeinError && error.code === 'NotFound') return [];
        throw error;
      }
    }),
  );
  return new Set(ids.flat());
}

function containerMatches(
  engine: Engine,
  container: ContainerInspect,
  filters: Filters,
  images: ReadonlySet<string>,
): boolean {
  const { State, Config, Name } = container;
  const isTask = booleanFilter(filters, 'is-task');
  return (
    matches(filters, 'id', (value) => container.Id.startsWith(value)) &&
    matches(filters, 'name', (value) => nameMatches(Name, value) || nameMatches(Name.slice(1), value)) &&
    matches(filters, 'status', (value) => State.Status === value) &&
    matches(filters, 'exited', (value) => !State.Running && State.ExitCode === Number(value)) &&
    matches(filters, 'health', (value) => (State.Health?.Status ?? 'none') === value) &&
    matches(filters, 'isolation', (value) => value === 'default' || value === '') &&
    matches(filters, 'ancestor', () => images.has(container.Image)) &&
    matches(filters, 'network', (value) => isOnNetwork(engine, container, value)) &&
    matches(filters, 'volume', (value) =>
      container.Mounts.some((mount) => mount.Name === value || mount.Destination === value || mount.Source === value),
    ) &&
    matchesLabels(filters, Config.Labels) &&
    (isTask === undefined || isTask === taskLabel in Config.Labels)
  );
}
