import { clone, create, equals } from '@bufbuild/protobuf';
import { RpcError } from '../../../common/index.ts';
import {
  type Endpoint,
  type Endpoint_VirtualIP,
  Endpoint_VirtualIPSchema,
  EndpointSchema,
  type Network,
  type Service,
  ServiceSchema,
} from '../../gen/objects_pb.js';
import { EndpointSpec_ResolutionMode, EndpointSpecSchema, type ServiceSpec } from '../../gen/specs_pb.js';
import type { NetworkAttachmentConfig } from '../../gen/types_pb.js';
import type { ReadTransaction, WriteTransaction } from '../../store/index.ts';
import type { AddressBook } from './addresses.ts';
import { findIngress, isAddressOf, isOverlay, networkName } from './networks.ts';
import { allocatePorts, publishesThroughIngress } from './ports.ts';

/** Label of a service that wants certain virtual IPs, one per network and family, with commas; read when the virtual IP is given. */
export const virtualIpLabel = 'skein.virtual-ip';

/** @returns the addresses that a service's label asks for. */
export function wantedVirtualIps(spec: ServiceSpec | undefined): string[] {
  const label = spec?.annotations?.labels[virtualIpLabel] ?? '';
  return label.split(',').flatMap((text) => text.trim() || []);
}

/** @returns the networks that a service's tasks are attached to: the task spec's, or the ones of old clients. */
export function attachmentConfigs(spec: ServiceSpec | undefined): readonly NetworkAttachmentConfig[] {
  const ofTask = spec?.task?.networks ?? [];
  return ofTask.length > 0 ? ofTask : (spec?.networks ?? []);
}

/** @returns the overlay networks of a service, the ingress network first if its ports go through it. */
function overlaysOf(tx: ReadTransaction, service: Service): Network[] {
  const networks: Network[] = [];
  if (publishesThroughIngress(service)) {
    const ingress = findIngress(tx);
    if (!ingress)
      throw new RpcError('FailedPrecondition', 'service needs ingress network, but no ingress network is present');
    networks.push(ingress);
  }
  for (const { target } of attachmentConfigs(service.spec)) {
    const network = tx.get('network', target);
    if (!network) throw new RpcError('NotFound', `network ${target} not found`);
    if (isOverlay(network) && !networks.some(({ id }) => id === network.id)) networks.push(network);
  }
  return networks;
}

/**
 * Gives a service its endpoint: published ports and one virtual IP per overlay network and family, IPv4 first, keeping those it has.
 * @throws RpcError when a network is missing or full, or no port is left.
 */
export function allocateService(tx: WriteTransaction, service: Service, book: () => AddressBook): void {
  const endpoint = create(EndpointSchema, {
    spec: clone(EndpointSpecSchema, service.spec?.endpoint ?? create(EndpointSpecSchema)),
    ports: allocatePorts(tx, service),
    virtualIps: virtualIps(tx, service, book),
  });
  if (service.endpoint && equals(EndpointSchema, endpoint, service.endpoint)) return;
  const changed = clone(ServiceSchema, service);
  changed.endpoint = endpoint;
  tx.update('service', changed);
}

function virtualIps(tx: ReadTransaction, service: Service, book: () => AddressBook): Endpoint_VirtualIP[] {
  if (service.spec?.endpoint?.mode === EndpointSpec_ResolutionMode.DNSRR) return [];
  const had = service.endpoint?.virtualIps ?? [];
  const take = (network: Network): Endpoint_VirtualIP[] => {
    const kept = had.filter(({ networkId }) => networkId === network.id);
    if (kept.length > 0) return kept;
    const wanted = wantedVirtualIps(service.spec).filter((address) => isAddressOf(network, address));
    const addresses = book().take(network, 'virtual IP', { wanted });
    if (!addresses && wanted.length > 0)
      throw new RpcError(
        'FailedPrecondition',
        `virtual IP ${wanted.join(', ')} of network ${networkName(network)} is in use`,
      );
    if (!addresses) throw new RpcError('ResourceExhausted', book().describeFull(network));
    return addresses.map((addr) => create(Endpoint_VirtualIPSchema, { networkId: network.id, addr }));
  };
  const networks = overlaysOf(tx, service);
  if (networks.every(({ id }) => had.some(({ networkId }) => networkId === id))) return networks.flatMap(take);
  return book().allOrNothing(() => networks.flatMap(take));
}

/** @returns whether a service's endpoint is as its spec asks, so that its tasks can get theirs. */
export function isServiceAllocated(service: Service): service is Service & { endpoint: Endpoint } {
  const wanted = service.spec?.endpoint ?? create(EndpointSpecSchema);
  return service.endpoint?.spec !== undefined && equals(EndpointSpecSchema, wanted, service.endpoint.spec);
}
