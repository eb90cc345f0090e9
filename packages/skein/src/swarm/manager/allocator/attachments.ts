import { clone, create } from '@bufbuild/protobuf';
import { RpcError } from '../../../common/index.ts';
import {
  EndpointSchema,
  type Network,
  type NetworkAttachment,
  NetworkAttachmentSchema,
  type Node,
  NodeSchema,
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
    wanted.map(({ network, config }) => attach(tx, network, config, overlays)),
  );
  setStatus(task, now, TaskState.PENDING, allocatedMessage);
  tx.update('task', task);
}

function attach(
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
  const hasNode = tx.list('node').some((node) => isAttached(node, network.id));
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

export function isAttached(node: Node, networkId: string): boolean {
  return node.attachments.some(({ network }) => network?.id === networkId);
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
  const ingress = findIngress(tx);
  const wanted = new Map<string, Network>();
  if (ingress) wanted.set(ingress.id, ingress);
  for (const task of tx.tasksByNode(node.id))
    if (isAlive(task) && stateOf(task) >= TaskState.ASSIGNED)
      for (const network of overlayNetworks(task)) wanted.set(network.id, tx.get('network', network.id) ?? network);

  const kept = node.attachments.filter(({ network }) => network && (wanted.has(network.id) || isAwaited(network.id)));
  const added: NetworkAttachment[] = [];
  let full: Network | undefined;
  for (const network of wanted.values()) {
    if (isAttached(node, network.id)) continue;
    const address = book().takeIpv4(network, "node's load balancer");
    if (address) added.push(create(NetworkAttachmentSchema, { network, addresses: [address] }));
    else full ??= network;
  }
  if (added.length > 0 || kept.length < node.attachments.length) {
    const changed = clone(NodeSchema, node);
    changed.attachments = [...kept, ...added];
    tx.update('node', changed);
  }
  return full;
}
