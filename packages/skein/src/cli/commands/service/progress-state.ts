import { asNumber, asObject, asText, at, type JsonObject } from '../../client/json.ts';

/** A task's states on its way, in order (swarmkit TaskState); what is not here is over for good. */
export const taskStates = [
  'new',
  'allocated',
  'pending',
  'assigned',
  'accepted',
  'preparing',
  'ready',
  'starting',
  'running',
  'complete',
  'shutdown',
  'failed',
  'rejected',
] as const;

const firstTerminalState = taskStates.indexOf('complete');

/** @returns a state's place on the way from 1, 0 for an unknown one. */
export function stateNumber(state: string): number {
  return taskStates.indexOf(state as (typeof taskStates)[number]) + 1;
}

/** @returns whether a task in this state will not run again. */
export function isTerminal(state: string): boolean {
  return stateNumber(state) > firstTerminalState;
}

/** One line of progress: a slot or a node with its task's state. */
export interface TaskProgress {
  readonly label: string;
  readonly state: string;
  readonly error: string;
}

/** What a service's tasks have come to. */
export interface ServiceProgress {
  readonly kind: 'service' | 'job';
  /** Tasks that do as they should: running, or for a job complete. */
  readonly running: number;
  /** undefined while the manager has made no task yet. */
  readonly wanted: number | undefined;
  /** Of a replicated job: the tasks at work, and how many may be at a time. */
  readonly active?: { readonly tasks: number; readonly most: number };
  readonly tasks: readonly TaskProgress[];
}

/**
 * @param service as the engine describes it.
 * @param tasks those of the newest spec.
 * @param nodes host names of the nodes that are up, by ID; tasks on others do not count.
 */
export function readProgress(
  service: JsonObject,
  tasks: readonly JsonObject[],
  nodes: ReadonlyMap<string, string>,
): ServiceProgress {
  const spec = asObject(service.Spec);
  if (at(service, 'JobStatus')) return jobProgress(service, tasks);
  const replicas = at(spec, 'Mode', 'Replicated', 'Replicas');
  const chosen = newestBy(tasks, nodes, (task) =>
    replicas === undefined ? asText(task.NodeID) : String(asNumber(task.Slot)),
  );
  const running = [...chosen.values()].filter((task) => !isTerminal(desired(task)) && state(task) === 'running').length;
  if (replicas === undefined) {
    const wanted = tasks.length === 0 ? undefined : chosen.size;
    return { kind: 'service', running, wanted, tasks: lines(chosen, (key) => nodes.get(key) ?? key) };
  }
  const wanted = asNumber(replicas);
  const slots = [...chosen.keys()].sort((left, right) => Number(left) - Number(right));
  return {
    kind: 'service',
    running,
    wanted,
    tasks: lines(chosen, (key) => `${slots.indexOf(key) + 1}/${wanted}`),
  };
}

const desired = (task: JsonObject) => asText(task.DesiredState);
const state = (task: JsonObject) => asText(at(task, 'Status', 'State'));

/** Of several tasks of a slot or node, the one with the lowest desired state, then the lowest state, counts. */
function newestBy(
  tasks: readonly JsonObject[],
  nodes: ReadonlyMap<string, string>,
  keyOf: (task: JsonObject) => string,
): Map<string, JsonObject> {
  const chosen = new Map<string, JsonObject>();
  const rank = (task: JsonObject) => stateNumber(desired(task)) * taskStates.length + stateNumber(state(task));
  for (const task of tasks) {
    if (stateNumber(desired(task)) === 0 || stateNumber(state(task)) === 0) continue;
    const node = asText(task.NodeID);
    if (node !== '' && !nodes.has(node)) continue;
    const other = chosen.get(keyOf(task));
    if (!other || rank(task) < rank(other)) chosen.set(keyOf(task), task);
  }
  return chosen;
}

function lines(chosen: ReadonlyMap<string, JsonObject>, label: (key: string) => string): TaskProgress[] {
  const inOrder = [...chosen].sort(([left], [right]) => left.localeCompare(right, 'en', { numeric: true }));
  return inOrder.map(([key, task]) => ({
    label: label(key),
    state: state(task),
    error: asText(at(task, 'Status', 'Err')),
  }));
}

/** Of a job only the tasks of its present iteration count (docker/cli service/progress). */
function jobProgress(service: JsonObject, tasks: readonly JsonObject[]): ServiceProgress {
  const job = at(service, 'Spec', 'Mode', 'ReplicatedJob');
  const iteration = (of: JsonObject) => asNumber(at(of, 'JobIteration', 'Index'));
  const present = tasks.filter((task) => iteration(task) === iteration(asObject(service.JobStatus)));
  const chosen = new Map<string, JsonObject>();
  for (const task of present) {
    const key = job ? String(asNumber(task.Slot)) : asText(task.NodeID);
    const other = chosen.get(key);
    if (!other || stateNumber(state(task)) < stateNumber(state(other))) chosen.set(key, task);
  }
  const states = [...chosen.values()].map(state);
  const running = states.filter((each) => each === 'complete').length;
  if (!job) {
    const wanted = chosen.size === 0 ? undefined : chosen.size;
    return { kind: 'job', running, wanted, tasks: lines(chosen, (key) => key) };
  }
  const wanted = asNumber(at(job, 'TotalCompletions'));
  const active = {
    tasks: states.filter((each) => !isTerminal(each) && each !== 'complete').length,
    most: Math.min(wanted - running, asNumber(at(job, 'MaxConcurrent'))),
  };
  return { kind: 'job', running, wanted, active, tasks: lines(chosen, (key) => `${Number(key) + 1}/${wanted}`) };
}
