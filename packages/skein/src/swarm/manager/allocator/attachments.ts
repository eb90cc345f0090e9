import { clone, create } from '@bufbuild/protobuf';
import { RpcError } from '../../../common/index.ts';
import {
  EndpointSchema,
  type Network,
  type NetworkAttachment,
  NetworkAttachmentSchema,
  type Node,
  type Task,
  TaskSchema,
} from '../../gen/objects_pb.js';
import { type NetworkAttachmentConfig, TaskState } from '../../gen/types_pb.js';
import type { ReadTransaction, WriteTransaction } from '../../store/index.ts';
import { isAlive, isWanted, setStatus, stateOf } from '../tasks.ts';
import type { AddressBook } from './addresses.ts';
import { findIngress, isOverlay, networkName } from './networks.ts';
import { isIngressPort } from './ports.ts';
import { attachmentConfigs, isServiceAllocated } from './services.ts';

/** Message of a task that has its addresses and waits for a node (swarmkit manager/allocator). */
const allocatedMessage = 'pending task scheduling';

/**
 * Gives a new task its endpoint and its addresses and makes it PENDING. @throws RpcError with the reason when it cannot
 * have them now; nothing of the task is changed then.
 */
export function allocateTask(tx: WriteTransaction, stored: Task, now: number, book: () => AddressBook): void {
  const task = clone(TaskSchema, stored);
  const service = task.serviceId === '' ? undefined : tx.get('service', task.serviceId);
  if (service) {
    if (!isServiceAllocated(service)) throw new RpcError('Unavailable', 'the service has no endpoint yet');
    task.endpoint = clone(EndpointSchema, service.endpoint);
  }
  const configs = task.spec?.networks.length ? task.spec.networks : attachmentConfigs(service?.spec);
  const wanted: { network: Network; config?: NetworkAttachmentConfig }[] = [];
  if (task.endpoint?.ports.some(isIngressPort)) {
    const ingress = findIngress(tx);
    if (!ingress)
      throw new RpcError('FailedPrecondition', 'service needs ingress network, but no ingress network is present');
    wanted.push({ network: ingress });
  }
  for (const config of configs) {
    const network = tx.get('network', config.target);
    if (!network) throw new RpcError('NotFound', `network ${config.target} not found`);
    wanted.push({ network, config });
  }
  const overlays = book();
  task.networks = overlays.allOrNothing(() =>
    wanted.map(({ network, config }) => attachmentOf(tx, network, config, overlays)),
  );
  setStatus(task, now, TaskState.PENDING, allocatedMessage);
  tx.update('task', task);
}

function attachmentOf(
  tx: ReadTransaction,
  network: Network,
  config: NetworkAttachmentConfig | undefined,
  book: AddressBook,
): NetworkAttachment {
  return create(NetworkAttachmentSchema, {
    network,
    aliases: config?.aliases ?? [],
    driverAttachmentOpts: config?.driverAttachmentOpts ?? {},
    addresses: isOverlay(network) ? [...chooseAddresses(tx, network, config?.addresses ?? [], book)] : [],
  });
}

/** Without any node on the network, one address is left for the load balancer of the node that the task will go to. */
function chooseAddresses(
  tx: ReadTransaction,
  network: Network,
  wanted: readonly string[],
  book: AddressBook,
): readonly string[] {
  if (wanted.length > 0) {
    const exact = book.take(network, 'task', { wanted });
    if (exact) return exact;
    const what = wanted.length === 1 ? `address ${wanted[0]}` : `an address of ${wanted.join(', ')}`;
    throw new RpcError(
      'FailedPrecondition',
      `${what} of network ${networkName(network)} is in use or outside its subnet`,
    );
  }
  const hasNode = tx.list('node').some((node) => attachedNetworks(node).has(network.id));
  const addresses = book.take(network, 'task', { spare: hasNode ? 0 : 1 });
  if (!addresses) throw new RpcError('ResourceExhausted', book.describeFull(network));
  return addresses;
}

/** @returns the networks of tasks that are on their way to a node; of those that wait for want of something, none. */
export function awaitedNetworks(tx: ReadTransaction): Set<string> {
  const onTheWay = tx
    .list('task')
    .filter((task) => isWanted(task) && stateOf(task) < TaskState.ASSIGNED && task.status?.err === '');
  return new Set(
    onTheWay.flatMap(({ serviceId, spec }) =>
      (spec?.networks.length ? spec.networks : attachmentConfigs(tx.get('service', serviceId)?.spec)).map(
        ({ target }) => target,
      ),
    ),
  );
}

/** By node: the store puts another object in the place of one that changes. */
const networksOf = new WeakMap<Node, ReadonlyMap<string, Network>>();

/** @returns the networks that a node of the store is on, by their IDs, as it was told of them. */
export function attachedNetworks(node: Node): ReadonlyMap<string, Network> {
  const known = networksOf.get(node);
  if (known) return known;
  const networks = new Map(
    node.attachments.flatMap(({ network }) => (network ? [[network.id, network] as const] : [])),
  );
  networksOf.set(node, networks);
  return networks;
}

/** @returns a task's overlay networks. */
export function overlayNetworks(task: Task): Network[] {
  return task.networks.flatMap(({ network }) => (network && isOverlay(network) ? [network] : []));
}

/**
 * Gives a node one load-balancer address, of IPv4, on the ingress network and on each overlay network of its tasks, and takes
 * back those of networks that none of its tasks is on any more, unless a task may come soon (`isAwaited`): a service
 * whose only task restarts does not make its node leave the network and join it again.
 * @returns the first network that has no address left.
 */
export function allocateNode(
  tx: WriteTransaction,
  node: Node,
  isAwaited: (networkId: string) => boolean,
  book: () => AddressBook,
): Network | undefined {
  const wanted = new Set<string>();
  const ingress = findIngress(tx);
  if (ingress) wanted.add(ingress.id);
  for (const task of tx.tasksByNode(node.id)) {
    if (!isAlive(task) || stateOf(task) < TaskState.ASSIGNED) continue;
    for (const { network } of task.networks) if (network && isOverlay(network)) wanted.add(network.id);
  }
  const kept = node.attachments.filter(({ network }) => network && (wanted.has(network.id) || isAwaited(network.id)));
  return attach(tx, node, kept, wanted, book);
}

/**
 * Gives a node its load-balancer addresses on the overlay networks of a task that is to run there, beside those that it
 * has; the scheduler has seen that there are any.
 */
export function allocateNodeFor(tx: WriteTransaction, node: Node, task: Task, book: () => AddressBook): void {
  attach(tx, node, node.attachments, new Set(overlayNetworks(task).map(({ id }) => id)), book);
}

/**
 * Of its attachments the node has those that are `kept`, and one on each of the networks.
 * @returns the first network that has no address left.
 */
function attach(
  tx: WriteTransaction,
  node: Node,
  kept: readonly NetworkAttachment[],
  networkIds: ReadonlySet<string>,
  book: () => AddressBook,
): Network | undefined {
  const added: NetworkAttachment[] = [];
  let full: Network | undefined;
  for (const id of networkIds.difference(attachedNetworks(node))) {
    const network = tx.get('network', id);
    if (!network) continue;
    const address = book().takeIpv4(network, "node's load balancer");
    if (address) added.push(create(NetworkAttachmentSchema, { network, addresses: [address] }));
    else full ??= network;
  }
  // The store copies what it is given: what does not change need not be copied before.
  if (added.length > 0 || kept.length < node.attachments.length)
    tx.update('node', { ...node, attachments: [...kept, ...added] });
  return full;
}
