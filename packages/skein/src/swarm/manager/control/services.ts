import { clone, create, equals } from '@bufbuild/protobuf';
import { timestampFromMs } from '@bufbuild/protobuf/wkt';
import { newObjectId, RpcError, SkeinError } from '../../../common/index.ts';
import { type Service, ServiceSchema } from '../../gen/objects_pb.js';
import { EndpointSpecSchema, type ServiceSpec, ServiceSpecSchema } from '../../gen/specs_pb.js';
import {
  JobStatusSchema,
  type PortConfig,
  UpdateStatus_UpdateState,
  UpdateStatusSchema,
  VersionSchema,
} from '../../gen/types_pb.js';
import type { ReadTransaction } from '../../store/index.ts';
import {
  attachmentConfigs,
  findIngress,
  isAddressOf,
  isIngressPort,
  publishesThroughIngress,
  virtualIpLabel,
  wantedVirtualIps,
} from '../allocator/index.ts';
import { isJob } from '../tasks.ts';
import type { Control } from '../types.ts';
import { find, get, startFrom } from './lookup.ts';
import type { ControlOptions } from './options.ts';
import { checkServiceSpec } from './service-spec.ts';

type ServiceControl = Pick<Control, 'createService' | 'findService' | 'updateService' | 'removeService'>;

export function serviceControl({ store, now = Date.now }: ControlOptions): ServiceControl {
  return {
    createService: (spec) =>
      store.update((tx) => {
        const service = create(ServiceSchema, { id: newObjectId(), spec: accept(tx, spec), specVersion: {} });
        if (isJob(service)) beginIteration(service, 0n, now());
        checkAgainstOthers(tx, service);
        tx.create('service', service);
        return service;
      }),
    findService: (reference) => store.view((tx) => find(tx, 'service', reference)),
    updateService: (id, version, spec, { rollback }) =>
      store.update((tx) => {
        const service = clone(ServiceSchema, get(tx, 'service', id));
        startFrom(service, version);
        if (rollback === 'previous') rollBack(service, now());
        else replaceSpec(service, accept(tx, spec), version);
        if (isJob(service)) beginIteration(service, (service.jobStatus?.jobIteration?.index ?? 0n) + 1n, now());
        checkAgainstOthers(tx, service, tx.get('service', id));
        tx.update('service', service);
        return service;
      }),
    removeService: (id) =>
      store.update((tx) => {
        get(tx, 'service', id);
        tx.delete('service', id);
      }),
  };
}

/** @returns the spec as it is stored: checked, and with networks by their IDs. */
function accept(tx: ReadTransaction, given: ServiceSpec): ServiceSpec {
  checkServiceSpec(given);
  const spec = clone(ServiceSpecSchema, given);
  for (const config of [...(spec.task?.networks ?? []), ...spec.networks]) {
    const network = tx.get('network', config.target) ?? tx.findByName('network', config.target);
    // dockerd looks networks up itself, before it asks the manager, and answers 500.
    if (!network) throw new SkeinError('Unknown', `network ${config.target} not found`);
    if (network.spec?.ingress)
      throw new RpcError(
        'InvalidArgument',
        `Service cannot be explicitly attached to the ingress network "${network.spec.annotations?.name}"`,
      );
    config.target = network.id;
  }
  return spec;
}

/** The present spec becomes the previous one; a running update begins anew. */
function replaceSpec(service: Service, spec: ServiceSpec, version: bigint): void {
  if (service.spec?.mode.case !== spec.mode.case)
    throw new RpcError('Unimplemented', 'service mode change is not allowed');
  if (service.spec?.annotations?.name !== spec.annotations?.name)
    throw new RpcError('Unimplemented', 'renaming services is not supported');
  service.previousSpec = service.spec;
  service.previousSpecVersion = service.specVersion;
  service.spec = spec;
  service.specVersion = create(VersionSchema, { index: version });
  service.updateStatus = undefined;
}

/** Present and previous spec change places. */
function rollBack(service: Service, now: number): void {
  const { spec, specVersion, previousSpec, previousSpecVersion } = service;
  if (!previousSpec) throw new RpcError('FailedPrecondition', `service ${service.id} does not have a previous spec`);
  service.spec = previousSpec;
  service.specVersion = previousSpecVersion;
  service.previousSpec = spec;
  service.previousSpecVersion = specVersion;
  // A job has no roll-out whose state could ever change: its new iteration says how far it is.
  if (isJob(service)) return;
  service.updateStatus = create(UpdateStatusSchema, {
    state: UpdateStatus_UpdateState.ROLLBACK_STARTED,
    message: 'manually requested rollback',
    startedAt: timestampFromMs(now),
  });
}

/** Every update of a job, whatever it changes, runs it once more. */
function beginIteration(service: Service, index: bigint, now: number): void {
  service.jobStatus = create(JobStatusSchema, { jobIteration: { index }, lastExecution: timestampFromMs(now) });
}

function checkAgainstOthers(tx: ReadTransaction, service: Service, before?: Service): void {
  const noEndpoint = create(EndpointSpecSchema);
  const endpoint = service.spec?.endpoint ?? noEndpoint;
  if (!before || !equals(EndpointSpecSchema, endpoint, before.spec?.endpoint ?? noEndpoint)) checkPorts(tx, service);
  checkReferencedObjects(tx, service);
  checkNetworks(tx, service);
  if (publishesThroughIngress(service) && !findIngress(tx))
    throw new RpcError('FailedPrecondition', 'service needs ingress network, but no ingress network is present');
}

/** A rollback may bring back a network that is gone; a wanted virtual IP has to be of one of the networks. */
function checkNetworks(tx: ReadTransaction, { spec }: Service): void {
  const networks = attachmentConfigs(spec).map(({ target }) => {
    const network = tx.get('network', target);
    if (!network) throw new RpcError('FailedPrecondition', `network ${target} not found`);
    return network;
  });
  for (const address of wantedVirtualIps(spec))
    if (!networks.some((network) => isAddressOf(network, address)))
      throw new RpcError(
        'InvalidArgument',
        `label ${virtualIpLabel}: ${address} is no address of the service's networks`,
      );
}

/** An ingress port belongs to one service; host ports of several may be the same, their nodes decide. */
function checkPorts(tx: ReadTransaction, service: Service): void {
  const wanted = (service.spec?.endpoint?.ports ?? []).filter(({ publishedPort }) => publishedPort !== 0);
  const samePort = (a: PortConfig, b: PortConfig) => a.protocol === b.protocol && a.publishedPort === b.publishedPort;
  for (const other of tx.list('service')) {
    if (other.id === service.id) continue;
    for (const held of [...(other.spec?.endpoint?.ports ?? []), ...(other.endpoint?.ports ?? [])]) {
      const clash = wanted.find((port) => samePort(port, held) && (isIngressPort(port) || isIngressPort(held)));
      if (clash)
        throw new RpcError(
          'InvalidArgument',
          `port '${clash.publishedPort}' is already in use by service '${other.spec?.annotations?.name}' (${other.id}) as ${
            isIngressPort(held) ? 'an ingress port' : 'a host-published port'
          }`,
        );
    }
  }
}

function checkReferencedObjects(tx: ReadTransaction, service: Service): void {
  const runtime = service.spec?.task?.runtime;
  if (runtime?.case !== 'container') return;
  const { secrets, configs } = runtime.value;
  refuseMissing(
    'secret',
    secrets.flatMap(({ secretId, secretName }) =>
      tx.get('secret', secretId)?.spec?.annotations?.name === secretName ? [] : [secretName],
    ),
  );
  refuseMissing(
    'config',
    configs.flatMap(({ configId, configName }) =>
      tx.get('config', configId)?.spec?.annotations?.name === configName ? [] : [configName],
    ),
  );
}

function refuseMissing(kind: 'secret' | 'config', names: readonly string[]): void {
  if (names.length > 0)
    throw new RpcError('InvalidArgument', `${kind}${names.length > 1 ? 's' : ''} not found: ${names.join(', ')}`);
}
