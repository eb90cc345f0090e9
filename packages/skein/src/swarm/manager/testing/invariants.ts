/** What holds for a cluster whatever happened to it, written down apart from the code that keeps it. For tests. */
import assert from 'node:assert/strict';
import type { Network, Node, Service, Task } from '../../gen/objects_pb.js';
import { NodeSpec_Availability } from '../../gen/specs_pb.js';
import { NodeStatus_State, PortConfig_PublishMode, TaskState, UpdateStatus_UpdateState } from '../../gen/types_pb.js';
import type { ReadTransaction } from '../../store/index.ts';
import { contains, isOverlay, overlaps, parseAddress, parseSubnet, vxlanIdsOption } from '../allocator/index.ts';
import { isAlive, isWanted, stateOf } from '../tasks.ts';
import type { TestCluster } from './cluster.ts';

/** Objects as one transaction sees them. */
interface Snapshot {
  readonly networks: readonly Network[];
  readonly services: readonly Service[];
  readonly tasks: readonly Task[];
  readonly nodes: readonly Node[];
}

function snapshot(tx: ReadTransaction): Snapshot {
  return { networks: tx.list('network'), services: tx.list('service'), tasks: tx.list('task'), nodes: tx.list('node') };
}

/** Checks after each commit what must never be otherwise, not even for a moment. */
export function watchSafety(cluster: TestCluster): void {
  const failures = cluster.failures;
  cluster.store.watch((events) => {
    try {
      const all = cluster.store.view(snapshot);
      addressesAreUnique(all);
      networksAreApart(all);
      portsAreUnique(all);
      nodesAreNotOverfull(all);
      for (const { object, previous } of events)
        if (isTask(object) && isOnNode(object) && !(previous && isOnNode(previous as Task))) isWithinLimit(all, object);
    } catch (error) {
      // The store keeps its listeners' errors to itself.
      failures.push(error);
    }
  });
}

function addressesAreUnique({ networks, services, tasks, nodes }: Snapshot): void {
  const owners = new Map<string, string>();
  const hold = (network: Network | undefined, text: string | undefined, owner: string): void => {
    if (!network || !text) return;
    const [address = ''] = text.split('/');
    const key = `${network.id} ${address}`;
    assert.ok(!owners.has(key), `${address} of network ${network.id} is ${owners.get(key)}'s and ${owner}'s`);
    owners.set(key, owner);
    const inside = (network.ipam?.configs ?? []).some(({ subnet }) => {
      const [prefix, value] = [parseSubnet(subnet), parseAddress(address)];
      return prefix !== undefined && value !== undefined && contains(prefix, value);
    });
    assert.ok(inside, `${address} is outside network ${network.id}`);
  };
  for (const network of networks)
    for (const config of network.ipam?.configs ?? []) hold(network, config.gateway, 'the gateway');
  const byId = new Map(networks.map((network) => [network.id, network]));
  for (const service of services)
    for (const { networkId, addr } of service.endpoint?.virtualIps ?? [])
      hold(byId.get(networkId), addr, `service ${service.id}`);
  for (const task of tasks.filter(isAlive))
    for (const { network, addresses } of task.networks)
      for (const address of addresses) hold(network, address, `task ${task.id}`);
  for (const node of nodes)
    for (const { network, addresses } of node.attachments) hold(network, addresses[0], `node ${node.id}`);
}

/** Subnets and VXLAN IDs: also those of removed networks that some task is still on. */
function networksAreApart({ networks, tasks, nodes }: Snapshot): void {
  const present = new Map<string, Network>();
  for (const task of tasks.filter(isAlive))
    for (const { network } of task.networks) if (network) present.set(network.id, network);
  for (const node of nodes) for (const { network } of node.attachments) if (network) present.set(network.id, network);
  for (const network of networks) present.set(network.id, network);
  const overlays = [...present.values()].filter(isOverlay);
  const vxlanIds = overlays.flatMap((network) => network.driverState?.options[vxlanIdsOption]?.split(',') ?? []);
  assert.equal(new Set(vxlanIds).size, vxlanIds.length, `a VXLAN ID is given twice: ${vxlanIds}`);
  const subnets = overlays.flatMap(({ ipam }) =>
    (ipam?.configs ?? []).flatMap(({ subnet }) => parseSubnet(subnet) ?? []),
  );
  subnets.forEach((subnet, index) => {
    assert.ok(!subnets.slice(0, index).some((other) => overlaps(subnet, other)), 'two subnets overlap');
  });
}

function portsAreUnique({ services, tasks }: Snapshot): void {
  const published = services.flatMap(({ endpoint }) =>
    (endpoint?.ports ?? []).filter(isIngress).map(({ protocol, publishedPort }) => `${protocol}/${publishedPort}`),
  );
  assert.equal(new Set(published).size, published.length, `a port is published twice: ${published}`);
  const onNodes = tasks
    .filter(isOnNode)
    .flatMap(({ nodeId, endpoint }) =>
      (endpoint?.ports ?? [])
        .filter((port) => !isIngress(port))
        .map(({ publishedPort }) => `${nodeId}/${publishedPort}`),
    );
  assert.equal(new Set(onNodes).size, onNodes.length, `a port of a node is given twice: ${onNodes}`);
}

const isIngress = ({ publishMode }: { publishMode: PortConfig_PublishMode }): boolean =>
  publishMode === PortConfig_PublishMode.INGRESS;

/** @returns whether a task uses what a node has. */
function isOnNode(task: Task): boolean {
  return isAlive(task) && stateOf(task) >= TaskState.ASSIGNED;
}

const cpusOf = (task: Task): bigint => task.spec?.resources?.reservations?.nanoCpus ?? 0n;

function nodesAreNotOverfull({ tasks, nodes }: Snapshot): void {
  for (const { id, description } of nodes) {
    const reserved = tasks
      .filter((task) => task.nodeId === id && isOnNode(task))
      .reduce((sum, task) => sum + cpusOf(task), 0n);
    assert.ok(
      reserved <= (description?.resources?.nanoCpus ?? 0n),
      `node ${id} has promised ${reserved} of its processors`,
    );
  }
}

/** What a cluster at rest has: what was asked for, or for each thing that it has not a reason that is true. */
export function checkAtRest(cluster: TestCluster): void {
  const all = cluster.store.view(snapshot);
  for (const service of all.services) {
    slotsAreAsWished(all, service);
    for (const task of all.tasks.filter((each) => each.serviceId === service.id && isWanted(each))) {
      if (stateOf(task) === TaskState.RUNNING) isWherePermitted(all, service, task);
      else if (isAlive(task)) waitsForAReason(all, service, task);
    }
    versionsAreNew(all, service);
  }
  for (const { id, serviceId } of all.tasks)
    assert.ok(
      serviceId === '' || all.services.some((service) => service.id === serviceId) || isHeldByDownNode(all, id),
      `task ${id} of no service`,
    );
  for (const node of all.nodes) nodeIsOnNetworksOfItsTasks(all, node);
}

function isHeldByDownNode({ tasks, nodes }: Snapshot, id: string): boolean {
  const task = tasks.find((each) => each.id === id);
  return nodes.some((node) => node.id === task?.nodeId && node.status?.state !== NodeStatus_State.READY);
}

function slotsAreAsWished(all: Snapshot, service: Service): void {
  const mode = service.spec?.mode;
  const wanted = all.tasks.filter((task) => task.serviceId === service.id && isWanted(task));
  const name = service.spec?.annotations?.name;
  // An update that starts new tasks first keeps the old ones while a new one finds no place.
  const waits = wanted.some((task) => stateOf(task) < TaskState.RUNNING);
  if (mode?.case === 'replicated') {
    const slots = new Set(wanted.map(({ slot }) => slot));
    assert.equal(BigInt(slots.size), mode.value.replicas, `${name} has ${slots.size} slots`);
    assert.ok(waits || wanted.length === slots.size, `${name} has two wanted tasks in one slot`);
  }
  if (mode?.case === 'global') {
    const hosts = all.nodes.filter((node) => isUsable(node) && meets(node, service)).map(({ id }) => id);
    const have = wanted.map(({ nodeId }) => nodeId);
    assert.ok(waits || new Set(have).size === have.length, `${name} has two tasks on one node`);
    for (const id of have) assert.ok(hosts.includes(id), `${name} has a task on ${id}`);
    const paused = (id: string): boolean =>
      all.nodes.some((node) => node.id === id && node.spec?.availability === NodeSpec_Availability.PAUSE);
    for (const id of hosts) assert.ok(have.includes(id) || paused(id), `${name} has no task on ${id}`);
  }
}

function isUsable({ status, spec }: Node): boolean {
  return status?.state !== NodeStatus_State.DOWN && spec?.availability !== NodeSpec_Availability.DRAIN;
}

/** The histories' only constraint. */
function meets(node: Node, of: Task | Service): boolean {
  const spec = isTask(of) ? of.spec : of.spec?.task;
  const [constraint] = spec?.placement?.constraints ?? [];
  return constraint === undefined || constraint === `node.labels.zone==${node.spec?.annotations?.labels.zone}`;
}

const isTask = (object: { $typeName: string }): object is Task => object.$typeName === 'docker.swarmkit.v1.Task';

/** A limit that is lowered moves no task, here as in Docker; it holds for each task that comes to a node. */
function isWithinLimit(all: Snapshot, task: Task): void {
  const limit = task.spec?.placement?.maxReplicas ?? 0n;
  const beside = siblingsOn(all, task, task.nodeId).filter(({ spec }) => spec?.placement?.maxReplicas === limit).length;
  assert.ok(
    limit === 0n || BigInt(beside) <= limit,
    `${beside} tasks like ${task.id} on one node, the limit is ${limit}`,
  );
}

function isWherePermitted(all: Snapshot, service: Service, task: Task): void {
  const node = all.nodes.find(({ id }) => id === task.nodeId);
  const text = `task ${task.id} of ${service.spec?.annotations?.name} on ${task.nodeId}`;
  assert.ok(node && isUsable(node) && meets(node, task), `${text} may not be there`);
}

function siblingsOn({ tasks }: Snapshot, task: Task, nodeId: string): Task[] {
  return tasks.filter(
    (other) => other.serviceId === task.serviceId && other.nodeId === nodeId && isWanted(other) && isOnNode(other),
  );
}

/** A task that does not run is one that no node could take or that no network has an address for, and says so. */
function waitsForAReason(all: Snapshot, service: Service, task: Task): void {
  const state = stateOf(task);
  const text = `task ${task.id} of ${service.spec?.annotations?.name} (${TaskState[state]}, ${TaskState[task.desiredState]}): ${task.status?.err}`;
  assert.ok(task.status?.err, `${text} waits and does not say why`);
  assert.ok(state <= TaskState.PENDING, `${text} is on a node and not running`);
  const fullNetwork = networksOf(all, task).some((network) => freeOf(all, network) <= 1);
  if (state === TaskState.NEW) {
    assert.ok(fullNetwork, `${text} has no addresses, and there are some`);
    return;
  }
  const candidates = task.nodeId === '' ? all.nodes : all.nodes.filter(({ id }) => id === task.nodeId);
  const able = candidates.filter((node) => {
    const reserved = all.tasks
      .filter((each) => each.nodeId === node.id && isOnNode(each))
      .reduce((sum, each) => sum + cpusOf(each), 0n);
    const limit = task.spec?.placement?.maxReplicas ?? 0n;
    const hostPort = task.endpoint?.ports.find((port) => !isIngress(port))?.publishedPort;
    const portTaken = all.tasks.some(
      (each) =>
        each.nodeId === node.id &&
        isOnNode(each) &&
        each.endpoint?.ports.some((port) => !isIngress(port) && port.publishedPort === hostPort),
    );
    return (
      node.status?.state === NodeStatus_State.READY &&
      node.spec?.availability === NodeSpec_Availability.ACTIVE &&
      meets(node, task) &&
      reserved + cpusOf(task) <= (node.description?.resources?.nanoCpus ?? 0n) &&
      (limit === 0n || BigInt(siblingsOn(all, task, node.id).length) < limit) &&
      !(hostPort !== undefined && portTaken) &&
      !fullNetwork
    );
  });
  assert.deepEqual(
    able.map(({ id }) => id),
    [],
    `${text} could run`,
  );
}

/** By the task's own spec: while an update is on, its service may ask for others. Only ports a new task gets as they are now. */
function networksOf({ networks, services }: Snapshot, task: Task): Network[] {
  const targets = (task.spec?.networks ?? []).map(({ target }) => target);
  const service = stateOf(task) === TaskState.NEW ? services.find(({ id }) => id === task.serviceId) : undefined;
  const usesIngress = ((service ? service.spec?.endpoint : task.endpoint?.spec)?.ports ?? []).some(isIngress);
  return networks.filter(({ id, spec }) => targets.includes(id) || (usesIngress && spec?.ingress));
}

function freeOf({ services, tasks, nodes }: Snapshot, network: Network): number {
  const size = (network.ipam?.configs ?? []).reduce(
    (sum, { subnet }) => sum + 2 ** (32 - Number(subnet.split('/')[1])) - 3,
    0,
  );
  const held =
    services.filter(({ endpoint }) => endpoint?.virtualIps.some(({ networkId }) => networkId === network.id)).length +
    [
      ...tasks.filter(isAlive).flatMap((task) => task.networks),
      ...nodes.flatMap(({ attachments }) => attachments),
    ].filter((attachment) => attachment.network?.id === network.id).length;
  return size - held;
}

/** An update is through, unless it was paused or something waits that no node can take. */
function versionsAreNew({ tasks }: Snapshot, service: Service): void {
  if (service.updateStatus?.state === UpdateStatus_UpdateState.PAUSED) return;
  const wanted = tasks.filter((task) => task.serviceId === service.id && isWanted(task));
  if (wanted.some((task) => isAlive(task) && stateOf(task) < TaskState.RUNNING)) return;
  const name = service.spec?.annotations?.name;
  for (const task of wanted.filter(isAlive))
    assert.equal(task.spec?.forceUpdate, service.spec?.task?.forceUpdate, `${name} has an old task`);
  assert.notEqual(service.updateStatus?.state, UpdateStatus_UpdateState.UPDATING, `${name} is still updating`);
}

/** A node has an address on each network of its tasks; on another one only while a task may come. */
function nodeIsOnNetworksOfItsTasks({ tasks, networks }: Snapshot, node: Node): void {
  const have = node.attachments.map(({ network }) => network?.id ?? '');
  const used = tasks
    .filter((task) => task.nodeId === node.id && isOnNode(task))
    .flatMap((task) => task.networks.map(({ network }) => network?.id ?? ''));
  for (const id of used)
    assert.ok(have.includes(id), `node ${node.id} has a task on network ${id} and no address there`);
  const ingress = networks.find(({ spec }) => spec?.ingress)?.id;
  const idle = have.filter((id) => id !== ingress && !used.includes(id));
  const awaited = tasks.some((task) => isWanted(task) && stateOf(task) < TaskState.ASSIGNED);
  assert.ok(idle.length === 0 || awaited, `node ${node.id} keeps an address on ${idle} for nobody`);
}

/** Everything has been taken away: what is left are the things that every cluster has. */
export function checkNothingLeft(cluster: TestCluster): void {
  const { networks, services, tasks, nodes } = cluster.store.view(snapshot);
  assert.deepEqual([tasks.map(({ id }) => id), services.map(({ id }) => id)], [[], []]);
  assert.deepEqual(networks.map(({ spec }) => spec?.annotations?.name).sort(), ['bridge', 'host', 'ingress']);
  for (const node of nodes)
    assert.deepEqual(
      node.attachments.map(({ network }) => network?.spec?.annotations?.name),
      ['ingress'],
      node.id,
    );
}
