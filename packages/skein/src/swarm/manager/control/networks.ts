import { clone, create } from '@bufbuild/protobuf';
import { newObjectId, RpcError, SkeinError } from '../../../common/index.ts';
import { type Network, NetworkSchema, type Task } from '../../gen/objects_pb.js';
import { type NetworkSpec, NetworkSpecSchema } from '../../gen/specs_pb.js';
import type { IPAMConfig } from '../../gen/types_pb.js';
import type { ReadTransaction } from '../../store/index.ts';
import {
  allocateNetwork,
  attachmentConfigs,
  contains,
  defaultIpamDriver,
  findIngress,
  growNetwork,
  networkName,
  parseAddress,
  parseSubnet,
  predefinedLabel,
  publishesThroughIngress,
} from '../allocator/index.ts';
import { isAlive, isWanted } from '../tasks.ts';
import type { Control } from '../types.ts';
import { find, get } from './lookup.ts';
import { checkName } from './names.ts';
import { checkNetworkOptions, checkReserved } from './network-options.ts';
import type { ControlOptions } from './options.ts';

/** Names that Docker keeps for the networks of each host (moby runconfig: IsPreDefinedNetwork). */
const reservedNames: ReadonlySet<string> = new Set(['bridge', 'host', 'none', 'default']);
/** Drivers that Docker has, but no swarm of ours gives out networks for. */
const knownDrivers: ReadonlySet<string> = new Set(['bridge', 'host', 'ipvlan', 'macvlan', 'null']);

export function networkControl({
  store,
  logger,
  localRoutes,
  quarantine,
}: ControlOptions): Pick<Control, 'createNetwork' | 'findNetwork' | 'growNetwork' | 'removeNetwork'> {
  const warn = (message: string) => logger.warn(message);
  return {
    createNetwork: (spec) =>
      store.update((tx) => {
        checkNetworkSpec(tx, spec);
        const network = create(NetworkSchema, { id: newObjectId(), spec: clone(NetworkSpecSchema, spec) });
        allocateNetwork(tx, network, { localRoutes, quarantine, warn });
        tx.create('network', network);
        return network;
      }),
    growNetwork: (id, subnets) =>
      store.update((tx) => {
        for (const config of subnets) {
          checkAddresses(config);
          checkReserved(config);
        }
        return growNetwork(tx, get(tx, 'network', id), subnets, { localRoutes, quarantine, warn });
      }),
    findNetwork: (reference) => store.view((tx) => find(tx, 'network', reference)),
    removeNetwork: (id) =>
      store.update((tx) => {
        checkRemoval(tx, get(tx, 'network', id));
        tx.delete('network', id);
      }),
  };
}

function checkNetworkSpec(tx: ReadTransaction, spec: NetworkSpec): void {
  if (spec.attachable && spec.ingress) throw new RpcError('InvalidArgument', 'ingress network cannot be attachable');
  const name = checkName(spec.annotations);
  if (reservedNames.has(name))
    throw new SkeinError('PermissionDenied', `${name} is a pre-defined network and cannot be created`);
  if (spec.annotations?.labels[predefinedLabel] !== undefined)
    throw new RpcError(
      'PermissionDenied',
      `label ${predefinedLabel} is for internally created predefined networks and cannot be applied by users`,
    );
  if (tx.findByName('network', name)) throw new SkeinError('AlreadyExists', `network with name ${name} already exists`);
  checkDriver(spec);
  checkNetworkOptions(spec);
  if (spec.ipv6Enabled && spec.ingress)
    throw new RpcError('Unimplemented', `network ${name}: the ingress network has IPv4 only; leave --ipv6 out`);
  const ipamDriver = spec.ipam?.driver?.name || defaultIpamDriver;
  if (ipamDriver !== defaultIpamDriver) throw new SkeinError('NotFound', `plugin "${ipamDriver}" not found`);
  for (const config of spec.ipam?.configs ?? []) {
    checkAddresses(config);
    checkReserved(config);
  }
  const ingress = spec.ingress ? findIngress(tx) : undefined;
  if (ingress) throw new RpcError('AlreadyExists', `ingress network (${ingress.id}) is already present`);
}

function checkDriver(spec: NetworkSpec): void {
  const driver = spec.driverConfig?.name || 'overlay';
  if (driver === 'overlay') return;
  if (knownDrivers.has(driver))
    throw new RpcError('Unimplemented', `the swarm gives out networks of the driver overlay only, not of ${driver}`);
  throw new SkeinError('NotFound', `plugin "${driver}" not found`);
}

function checkAddresses({ subnet, range, gateway }: IPAMConfig): void {
  if (subnet === '') return; // Chosen by the allocator.
  const parsed = parseSubnet(subnet);
  // The daemon's own words, before it asks the manager.
  if (!parsed) throw new SkeinError('Unknown', `Invalid subnet ${subnet} : invalid CIDR address: ${subnet}`);
  if (range !== '') {
    const parsedRange = parseSubnet(range);
    if (!parsedRange) throw new RpcError('InvalidArgument', `ipam configuration: invalid range ${range}`);
    if (!contains(parsed, parsedRange.base) || parsedRange.prefix < parsed.prefix)
      throw new RpcError('InvalidArgument', `ipam configuration: subnet ${subnet} does not contain range ${range}`);
  }
  if (gateway === '') return;
  const address = parseAddress(gateway);
  if (address === undefined) throw new RpcError('InvalidArgument', `ipam configuration: invalid gateway ${gateway}`);
  if (!contains(parsed, address))
    throw new RpcError('InvalidArgument', `ipam configuration: subnet ${subnet} does not contain gateway ${gateway}`);
}

/** A network goes only when no service and no wanted task is on it; tasks that are stopping keep its addresses taken. */
function checkRemoval(tx: ReadTransaction, network: Network): void {
  const { id } = network;
  if (network.spec?.annotations?.labels[predefinedLabel] === 'true')
    throw new RpcError(
      'FailedPrecondition',
      `network ${id} (${networkName(network)}) is a swarm predefined network and cannot be removed`,
    );
  for (const service of tx.list('service')) {
    if (network.spec?.ingress && publishesThroughIngress(service))
      throw new RpcError(
        'FailedPrecondition',
        `ingress network cannot be removed because service ${service.id} depends on it`,
      );
    if (attachmentConfigs(service.spec).some(({ target }) => target === id))
      throw new RpcError('FailedPrecondition', `network ${id} is in use by service ${service.id}`);
  }
  // Tasks of a service that was removed are about to go: clients remove its networks right after it.
  const isStaying = ({ serviceId }: Task): boolean => serviceId === '' || tx.get('service', serviceId) !== undefined;
  const task = tx
    .list('task')
    .filter((candidate) => isWanted(candidate) && isAlive(candidate) && isStaying(candidate))
    .find((candidate) => candidate.spec?.networks.some(({ target }) => target === id));
  if (task) throw new RpcError('FailedPrecondition', `network ${id} is in use by task ${task.id}`);
}
