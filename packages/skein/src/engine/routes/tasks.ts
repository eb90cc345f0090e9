/** /tasks, without their logs. */
import { create, equals } from '@bufbuild/protobuf';
import type { Filters } from '../../container/types.ts';
import type { Service, Task } from '../../swarm/gen/objects_pb.js';
import { EndpointSpecSchema, TaskSpecSchema } from '../../swarm/gen/specs_pb.js';
import type { Control } from '../../swarm/manager/types.ts';
import { task, taskStates } from '../convert/task.ts';
import { invalid } from '../errors.ts';
import { booleanFilter, matches, matchesLabels, parseFilters } from '../filters.ts';
import { pathParameter } from '../parameters.ts';
import { get, json } from '../reply.ts';
import type { Engine, Route } from '../types.ts';

type ReadTransaction = Parameters<Parameters<Control['store']['view']>[0]>[0];

const taskFilters = ['name', 'id', 'label', 'service', 'node', 'desired-state', 'runtime', '_up-to-date'];

export function taskRoutes({ swarm }: Engine): Route[] {
  return [
    get('/tasks', (call) => {
      const control = swarm.control();
      const filters = resolveReferences(control, parseFilters(call.query.get('filters'), taskFilters));
      const tasks = control.store.view((transaction) =>
        transaction.list('task').filter((each) => taskMatches(transaction, each, filters)),
      );
      return json(tasks.map(task.encode));
    }),
    get('/tasks/:id', (call) => json(task.encode(swarm.control().findTask(pathParameter(call, 'id'))))),
  ];
}

/** Service and node names become IDs (moby daemon/cluster/filters.go: newListTasksFilters). */
function resolveReferences(control: Control, filters: Filters): Filters {
  const resolved: Record<string, readonly string[]> = { ...filters };
  if (filters.service !== undefined) resolved.service = filters.service.map((name) => control.findService(name).id);
  if (filters.node !== undefined) resolved.node = filters.node.map((name) => control.findNode(name).id);
  for (const state of filters['desired-state'] ?? []) {
    if (!(state in taskStates)) throw invalid(`invalid filter 'desired-state=[${state}]'`);
  }
  return resolved;
}

function taskMatches(transaction: ReadTransaction, each: Task, filters: Filters): boolean {
  const kind = each.spec?.runtime.case ?? 'container';
  const upToDate = booleanFilter(filters, '_up-to-date');
  return (
    // Attachments and plugins are shown only when asked for.
    (filters.runtime === undefined ? kind === 'container' : matches(filters, 'runtime', (value) => kind === value)) &&
    matches(filters, 'id', (value) => each.id.startsWith(value)) &&
    matches(filters, 'name', (value) => taskName(each).startsWith(value)) &&
    matches(filters, 'service', (value) => each.serviceId === value) &&
    matches(filters, 'node', (value) => each.nodeId === value) &&
    matches(filters, 'desired-state', (value) => taskStates[value] === each.desiredState) &&
    // A task has no labels of its own: its service's count.
    matchesLabels(filters, each.serviceAnnotations?.labels ?? {}) &&
    (upToDate !== true || isUpToDate(transaction.get('service', each.serviceId), each))
  );
}

/** `service.slot.id`, of a global service `service.node.id`. */
function taskName({ annotations, serviceAnnotations, slot, nodeId, id }: Task): string {
  if (annotations?.name) return annotations.name;
  return `${serviceAnnotations?.name ?? ''}.${slot > 0n ? slot : nodeId}.${id}`;
}

/** @returns whether the task is what the service's present spec asks for (swarmkit orchestrator: IsTaskDirty). */
function isUpToDate(service: Service | undefined, { spec, specVersion, endpoint }: Task): boolean {
  if (service === undefined) return false;
  if (specVersion !== undefined && specVersion.index === service.specVersion?.index) return true;
  const wanted = service.spec?.task;
  if (wanted === undefined || spec === undefined || !equals(TaskSpecSchema, wanted, spec)) return false;
  const wantedEndpoint = service.spec?.endpoint ?? create(EndpointSpecSchema);
  return (
    endpoint === undefined || equals(EndpointSpecSchema, wantedEndpoint, endpoint.spec ?? create(EndpointSpecSchema))
  );
}
