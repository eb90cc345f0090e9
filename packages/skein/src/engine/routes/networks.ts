/** /networks. */
import { isIPv4, isIPv6 } from 'node:net';
import * as z from 'zod';
import { errorText, SkeinError } from '../../common/index.ts';
import type { Filters } from '../../container/types.ts';
import type { BridgeSubnet } from '../../local/types.ts';
import { endpointRequest, endpointSettings } from '../convert/container-create.ts';
import { networkCreateToSpec } from '../convert/network.ts';
import { invalid, notBuilt } from '../errors.ts';
import { booleanFilter, matches, matchesLabels, nameMatches, parseFilters } from '../filters.ts';
import { flagParameter, pathParameter } from '../parameters.ts';
import { isPrunable, pruneFilters, untilOf } from '../prune.ts';
import { empty, get, json, post, remove } from '../reply.ts';
import { decodeBody, goBool, goMap, goString, goStruct } from '../schema.ts';
import type { Call, Engine, Reply, Route } from '../types.ts';
import { type NetworkView, networkViews, predefinedId, swarmHostNetwork } from '../views/network.ts';
import { networkServices } from '../views/network-services.ts';

const createBody = goStruct({
  Name: goString,
  Driver: goString,
  Scope: goString,
  EnableIPv4: z.boolean().nullish(),
  EnableIPv6: goBool,
  Internal: goBool,
  Attachable: goBool,
  Ingress: goBool,
  ConfigOnly: goBool,
  ConfigFrom: goStruct({ Network: goString }).optional(),
  IPAM: goStruct({
    Driver: goString,
    Options: goMap,
    Config: z
      .array(goStruct({ Subnet: goString, IPRange: goString, Gateway: goString, AuxiliaryAddresses: goMap }))
      .default(() => []),
  }).optional(),
  Options: goMap,
  Labels: goMap,
});

const networkFilters = ['dangling', 'driver', 'id', 'label', 'name', 'scope', 'type'];
/** The names that Docker keeps for itself on Linux. */
const predefinedNames = ['bridge', 'host', 'none', 'default'];
/** What Docker says to a worker (libnetwork: ManagerRedirectError on a worker). */
const workerCreates =
  'Cannot create a multi-host network from a worker node. Please create the network from a manager node.';

export function networkRoutes(engine: Engine): Route[] {
  const list = (call: Call): Reply => {
    const filters = parseFilters(call.query.get('filters'), networkFilters);
    return json(
      networkViews(engine)
        .filter((view) => networkMatches(view, filters))
        .map((view) => view.summary()),
    );
  };
  return [
    get('/networks', list),
    get('/networks/', list),
    get('/networks/:id', (call) => inspect(engine, call)),
    post('/networks/create', (call) => createNetwork(engine, call)),
    remove('/networks/:id', (call) => removeNetwork(engine, pathParameter(call, 'id'))),
    post('/networks/:id/connect', (call) => connect(engine, call)),
    post('/networks/:id/disconnect', (call) => disconnect(engine, call)),
    post('/networks/prune', (call) => prune(engine, call)),
  ];
}

const connectBody = goStruct({ Container: goString, EndpointConfig: endpointSettings.optional(), Force: goBool });

/** A network that is not known here may be the swarm's: a manager knows it. */
function networkTarget(engine: Engine, term: string): string {
  try {
    return findNetwork(engine, term).id;
  } catch (error) {
    if (error instanceof SkeinError && error.code === 'NotFound') return term;
    throw error;
  }
}

/** @throws SkeinError PermissionDenied for a container that belongs to a task. */
function plainContainerOf({ runtime, local }: Engine, reference: string): string {
  const id = runtime.find(reference);
  if (local.isPlain(id)) return id;
  throw new SkeinError(
    'PermissionDenied',
    `container ${id} belongs to a task: use docker service update --network-add and --network-rm`,
  );
}

async function connect(engine: Engine, call: Call): Promise<Reply> {
  const { Container, EndpointConfig } = decodeBody(connectBody, await call.json(), 'NetworkConnect');
  const id = plainContainerOf(engine, Container);
  const term = pathParameter(call, 'id');
  const network = networkTarget(engine, term);
  if ([predefinedId(engine, 'host'), predefinedId(engine, 'none')].includes(network)) {
    throw new SkeinError('PermissionDenied', `container cannot be connected to ${term} network`);
  }
  await engine.local.connect(id, network, endpointRequest(EndpointConfig ?? null));
  return empty(200);
}

async function disconnect(engine: Engine, call: Call): Promise<Reply> {
  const { Container } = decodeBody(connectBody, await call.json(), 'NetworkDisconnect');
  const id = plainContainerOf(engine, Container);
  await engine.local.disconnect(id, networkTarget(engine, pathParameter(call, 'id')));
  return empty(200);
}

/** Takes the networks that nothing uses: this host's, and on a manager the swarm's. */
async function prune(engine: Engine, call: Call): Promise<Reply> {
  const filters = parseFilters(call.query.get('filters'), pruneFilters);
  const until = untilOf(filters);
  const deleted: string[] = [];
  for (const view of networkViews(engine)) {
    const isOurs = !view.predefined && view.id !== engine.networking.gatewayNetwork()?.id;
    if (!isOurs || view.inUse || !isPrunable(filters, view.labels, Date.parse(view.created), until)) continue;
    if (view.summary().Ingress === true) continue;
    if (view.scope === 'swarm' && !engine.swarm.status().controlAvailable) continue;
    try {
      await removeNetwork(engine, view.id);
      deleted.push(view.name);
    } catch (error) {
      // Somebody has taken it into use meanwhile.
      engine.logger.debug({ network: view.name, error: errorText(error) }, 'a network was not pruned');
    }
  }
  return json({ NetworksDeleted: deleted.length > 0 ? deleted : null });
}

function networkMatches(view: NetworkView, filters: Filters): boolean {
  const dangling = booleanFilter(filters, 'dangling');
  return (
    matches(filters, 'driver', (value) => view.driver === value) &&
    matches(filters, 'id', (value) => nameMatches(view.id, value)) &&
    matches(filters, 'name', (value) => nameMatches(view.name, value)) &&
    matches(filters, 'scope', (value) => view.scope === value) &&
    matchesLabels(filters, view.labels) &&
    matches(filters, 'type', (value) => typeMatches(view, value)) &&
    (dangling === undefined || dangling === !(view.inUse || view.predefined))
  );
}

function typeMatches(view: NetworkView, type: string): boolean {
  if (type === 'builtin') return view.predefined;
  if (type === 'custom') return !view.predefined;
  throw invalid(`invalid filter: 'type'='${type}'`);
}

function inspect(engine: Engine, call: Call): Reply {
  const scope = call.query.get('scope') ?? '';
  const verbose = flagParameter(call, 'verbose');
  const term = pathParameter(call, 'id');
  // Clients ask so before they make a service.
  if (scope === 'swarm' && term === 'bridge')
    throw notBuilt('Skein runs no tasks on the network "bridge" of their hosts: use an overlay network, or "host".');
  const ofSwarm = scope === 'swarm' ? swarmHostNetwork(engine, term) : undefined;
  const view = ofSwarm ?? findNetwork(engine, term, scope);
  return json(
    verbose && view.scope === 'swarm' ? { ...view.details(), ...networkServices(engine, view.id) } : view.details(),
  );
}

/** By ID, then by name, then by prefix of the ID, as dockerd's getNetwork. */
function findNetwork(engine: Engine, term: string, scope = ''): NetworkView {
  const views = networkViews(engine).filter((view) => scope === '' || view.scope === scope);
  const byId = views.find((view) => view.id === term);
  if (byId !== undefined) return byId;
  const byName = views.filter((view) => view.name === term);
  if (byName.length > 1) throw invalid(`network ${term} is ambiguous (${byName.length} matches found on name)`);
  const byPrefix = byName.length === 1 ? byName : views.filter((view) => view.id.startsWith(term));
  if (byPrefix.length > 1)
    throw invalid(`network ${term} is ambiguous (${byPrefix.length} matches found on ID prefix)`);
  const found = byPrefix[0];
  if (found === undefined) throw new SkeinError('NotFound', `network ${term} not found`);
  return found;
}

async function createNetwork(engine: Engine, call: Call): Promise<Reply> {
  const body = decodeBody(createBody, await call.json(), 'NetworkCreateRequest');
  const driver = body.Driver || (body.Scope === 'swarm' ? 'overlay' : 'bridge');
  if (predefinedNames.includes(body.Name)) {
    throw new SkeinError('PermissionDenied', `${body.Name} is a pre-defined network and cannot be created`);
  }
  if (engine.swarm.status().controlAvailable && networkViews(engine).some((view) => view.name === body.Name)) {
    throw new SkeinError('Conflict', `network with name ${body.Name} already exists`);
  }
  if (body.ConfigOnly || (body.ConfigFrom?.Network ?? '') !== '') {
    throw notBuilt('Skein does not keep config-only networks: give each network its own options.');
  }
  if (body.EnableIPv4 === false) throw invalid('IPv4 cannot be disabled: leave --ipv4=false out');
  if (driver === 'bridge') return createBridge(engine, body);
  if (driver !== 'overlay') throw new SkeinError('NotFound', `plugin "${driver}" not found`);
  // dockerd's plain errors of libnetwork, hence 500.
  if (body.Name === '') throw new SkeinError('Unknown', 'invalid name: ');
  for (const { Subnet } of body.IPAM?.Config ?? []) {
    if (Subnet !== '' && !isCidr(Subnet)) {
      throw new SkeinError('Unknown', `Invalid subnet ${Subnet} : invalid CIDR address: ${Subnet}`);
    }
  }
  const status = engine.swarm.status();
  if (status.localNodeState === 'active' && !status.controlAvailable) {
    throw new SkeinError('PermissionDenied', workerCreates);
  }
  const network = managerOf(engine).createNetwork(networkCreateToSpec({ ...body, Driver: driver, IPAM: body.IPAM }));
  return json({ Id: network.id, Warning: '' }, 201);
}

async function createBridge(engine: Engine, body: z.infer<typeof createBody>): Promise<Reply> {
  if (body.Name === '') throw new SkeinError('Unknown', 'invalid name: ');
  if (engine.local.bridges().some(({ name }) => name === body.Name)) {
    throw new SkeinError('Conflict', `network with name ${body.Name} already exists`);
  }
  const configs = body.IPAM?.Config ?? [];
  for (const subnet of configs.flatMap(({ Subnet, IPRange }) => [Subnet, IPRange])) {
    if (subnet && !isCidr(subnet)) {
      throw new SkeinError('Unknown', `Invalid subnet ${subnet} : invalid CIDR address: ${subnet}`);
    }
  }
  const isIpv6 = ({ Subnet, Gateway }: (typeof configs)[number]): boolean => `${Subnet}${Gateway}`.includes(':');
  const [config, ...more] = configs.filter((each) => !isIpv6(each));
  const [ipv6, ...moreIpv6] = configs.filter(isIpv6);
  if (more.length + moreIpv6.length > 0) throw notBuilt('Skein gives a bridge network one subnet of each family.');
  if (ipv6 !== undefined && !body.EnableIPv6) {
    throw invalid(`network ${body.Name}: subnet ${ipv6.Subnet} is IPv6: enable it with --ipv6`);
  }
  const id = await engine.local.createBridge({
    name: body.Name,
    ...half(config),
    ...(body.EnableIPv6 && { ipv6: half(ipv6) }),
    internal: body.Internal,
    attachable: body.Attachable,
    labels: body.Labels,
    options: body.Options,
  });
  return json({ Id: id, Warning: '' }, 201);
}

/** What a bridge network is asked to have of one family. */
function half(config: { Subnet: string; Gateway: string; IPRange: string } | undefined): Partial<BridgeSubnet> {
  const { Subnet: subnet, Gateway: gateway, IPRange: ipRange } = config ?? {};
  return { ...(subnet && { subnet }), ...(gateway && { gateway }), ...(ipRange && { ipRange }) };
}

/** The control; where this node is no manager, dockerd refuses to create a network with 403. */
function managerOf({ swarm }: Engine): ReturnType<Engine['swarm']['control']> {
  try {
    return swarm.control();
  } catch (error) {
    if (error instanceof SkeinError && error.code === 'Unavailable') {
      throw new SkeinError('PermissionDenied', error.message, { cause: error });
    }
    throw error;
  }
}

async function removeNetwork(engine: Engine, term: string): Promise<Reply> {
  const view = findNetwork(engine, term);
  if (view.predefined) {
    throw new SkeinError('PermissionDenied', `${view.name} is a pre-defined network and cannot be removed`);
  }
  if (engine.local.bridges().some(({ id }) => id === view.id)) {
    await engine.local.removeBridge(view.id);
    return empty(204);
  }
  if (view.scope === 'local') {
    const text = view.inUse ? 'has active endpoints' : 'belongs to the swarm: it goes when this node leaves';
    throw new SkeinError(
      'PermissionDenied',
      `error while removing network: network ${view.name} id ${view.id} ${text}`,
    );
  }
  engine.swarm.control().removeNetwork(view.id);
  return empty(204);
}

function isCidr(text: string): boolean {
  const [address = '', prefix = '', more] = text.split('/');
  if (more !== undefined || !/^\d{1,3}$/.test(prefix)) return false;
  return (isIPv4(address) && Number(prefix) <= 32) || (isIPv6(address) && Number(prefix) <= 128);
}
