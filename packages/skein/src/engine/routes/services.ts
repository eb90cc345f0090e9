/** /services, without their logs. */
import { madeUpName, SkeinError } from '../../common/index.ts';
import type { Filters } from '../../container/types.ts';
import type { Service } from '../../swarm/gen/objects_pb.js';
import type { ServiceSpec } from '../../swarm/gen/specs_pb.js';
import type { Control } from '../../swarm/manager/types.ts';
import { startIntervalSince } from '../convert/container-create.ts';
import { service, serviceSpec } from '../convert/service.ts';
import { invalid } from '../errors.ts';
import { matches, matchesLabels, parseFilters } from '../filters.ts';
import type { JsonObject } from '../json.ts';
import { flagParameter, pathParameter, versionParameter } from '../parameters.ts';
import { empty, get, json, post, remove } from '../reply.ts';
import type { Call, Engine, Reply, Route } from '../types.ts';
import { withDefaults } from '../views/service-defaults.ts';
import { serviceStatus } from '../views/service-status.ts';

const serviceFilters = ['id', 'name', 'label', 'mode', 'runtime'];

/** Docker's words for the modes, by swarmkit's. */
const modeWords = {
  replicated: 'replicated',
  global: 'global',
  replicatedJob: 'replicated-job',
  globalJob: 'global-job',
} as const;

export function serviceRoutes(engine: Engine): Route[] {
  return [
    get('/services', (call) => listServices(engine, call)),
    post('/services/create', async (call) => {
      const body = await call.json();
      const control = engine.swarm.control();
      const spec = serviceSpec.decode(body, 'ServiceSpec');
      prepare(engine, control, spec, call, registryAuth(call));
      nameIt(control, spec);
      return json({ ID: control.createService(spec).id, Warnings: null }, 201);
    }),
    get('/services/:id', (call) => {
      const control = engine.swarm.control();
      const found = control.findService(pathParameter(call, 'id'));
      return json(service.encode(flagParameter(call, 'insertDefaults') ? withDefaults(found) : found));
    }),
    post('/services/:id/update', (call) => updateService(engine, call)),
    remove('/services/:id', (call) => {
      const control = engine.swarm.control();
      control.removeService(control.findService(pathParameter(call, 'id')).id);
      return empty(200);
    }),
  ];
}

function listServices({ swarm }: Engine, call: Call): Reply {
  const filters = parseFilters(call.query.get('filters'), serviceFilters);
  const withStatus = flagParameter(call, 'status');
  const list = swarm.control().store.view((transaction) =>
    transaction
      .list('service')
      .filter((each) => serviceMatches(each, filters))
      .map((each) => {
        const shown = service.encode(each) as JsonObject;
        return withStatus
          ? { ...shown, ServiceStatus: serviceStatus(each, transaction.tasksByService(each.id)) }
          : shown;
      }),
  );
  return json(list);
}

function serviceMatches({ id, spec }: Service, filters: Filters): boolean {
  const mode = spec?.mode.case;
  const runtime = spec?.task?.runtime.case === 'generic' ? spec.task.runtime.value.kind : 'container';
  return (
    matches(filters, 'id', (value) => id.startsWith(value)) &&
    matches(filters, 'name', (value) => (spec?.annotations?.name ?? '').startsWith(value)) &&
    matches(filters, 'mode', (value) => mode !== undefined && modeWords[mode] === value) &&
    matches(filters, 'runtime', (value) => runtime === value) &&
    matchesLabels(filters, spec?.annotations?.labels ?? {})
  );
}

async function updateService({ swarm, ...engine }: Engine, call: Call): Promise<Reply> {
  const body = await call.json();
  const version = versionParameter(call);
  const control = swarm.control();
  const current = control.findService(pathParameter(call, 'id'));
  const rollback = call.query.get('rollback') ?? '';
  if (rollback !== '' && rollback !== 'previous') {
    throw invalid(`unrecognized rollback option ${rollback}`);
  }
  const spec = serviceSpec.decode(body, 'ServiceSpec');
  prepare({ swarm, ...engine }, control, spec, call, registryAuth(call) || inheritedAuth(call, current));
  control.updateService(current.id, version, spec, { rollback: rollback === 'previous' ? 'previous' : 'none' });
  return json({ Warnings: null });
}

const registryAuth = (call: Call): string => {
  const header = call.headers['x-registry-auth'];
  return typeof header === 'string' ? header : '';
};

/** Without the header the credentials stay what they were, in the spec that `registryAuthFrom` names. */
function inheritedAuth(call: Call, current: Service): string {
  const source = call.query.get('registryAuthFrom') ?? '';
  if (source !== '' && source !== 'spec' && source !== 'previous-spec') {
    throw invalid(`unsupported registryAuthFrom ${source}`);
  }
  const spec = source === 'previous-spec' ? current.previousSpec : current.spec;
  if (source === 'previous-spec' && spec === undefined) throw invalid('there is no previous spec');
  const runtime = spec?.task?.runtime;
  return runtime?.case === 'container' ? (runtime.value.pullOptions?.registryAuth ?? '') : '';
}

/** As with dockerd, a service that was given no name has one made up. */
function nameIt({ store }: Control, { annotations }: ServiceSpec): void {
  if (annotations === undefined || annotations.name !== '') return;
  const services = store.view((transaction) => transaction.list('service'));
  annotations.name = madeUpName((name) => services.some(({ spec }) => spec?.annotations?.name === name));
}

/** Network names become IDs; registry credentials go into the container spec; what the client's version lacks goes. */
function prepare(engine: Engine, control: Control, spec: ServiceSpec, call: Call, auth: string): void {
  for (const network of spec.task?.networks ?? []) network.target = resolveNetwork(engine, control, network.target);
  const runtime = spec.task?.runtime;
  if (runtime?.case !== 'container') return;
  const { healthcheck } = runtime.value;
  if (healthcheck !== undefined && call.apiVersion < startIntervalSince) delete healthcheck.startInterval;
  if (auth !== '') {
    runtime.value.pullOptions = { $typeName: 'docker.swarmkit.v1.ContainerSpec.PullOptions', registryAuth: auth };
  }
}

/** @throws SkeinError in dockerd's words: an unknown network is its plain error, hence 500. */
function resolveNetwork({ networking }: Engine, control: Control, target: string): string {
  try {
    return control.findNetwork(target).id;
  } catch (error) {
    if (!(error instanceof SkeinError) || error.code !== 'NotFound') throw error;
    const gateway = networking.gatewayNetwork();
    if (gateway !== undefined && (target === gateway.name || target === gateway.id)) {
      throw invalid(
        `The network ${target} cannot be used with services. Only networks scoped to the swarm can be used, such as those created with the overlay driver.`,
      );
    }
    throw new SkeinError('Unknown', `network ${target} not found`, { cause: error });
  }
}
