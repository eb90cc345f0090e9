import { clone } from '@bufbuild/protobuf';
import { RpcError } from '../../../common/index.ts';
import type { Service } from '../../gen/objects_pb.js';
import {
  type PortConfig,
  type PortConfig_Protocol,
  PortConfig_PublishMode,
  PortConfigSchema,
} from '../../gen/types_pb.js';
import type { ReadTransaction } from '../../store/index.ts';

/** Ports that are published when the user names none (swarmkit manager/allocator/portallocator.go). */
const firstDynamicPort = 30_000;
const lastDynamicPort = 32_767;

export function isIngressPort(port: PortConfig): boolean {
  return port.publishMode === PortConfig_PublishMode.INGRESS;
}

/** @returns whether a service takes part in the routing mesh. */
export function publishesThroughIngress(service: Service): boolean {
  return (service.spec?.endpoint?.ports ?? []).some(isIngressPort);
}

/**
 * @returns the service's ports with a published port in each ingress-mode one: the given one, the one it had before, or
 * the lowest free one from 30000 on. Host-mode ports stay as given; their node chooses. @throws RpcError
 */
export function allocatePorts(tx: ReadTransaction, service: Service): PortConfig[] {
  const wanted = (service.spec?.endpoint?.ports ?? []).map((port) => clone(PortConfigSchema, port));
  const taken = new Set<string>();
  for (const other of tx.list('service'))
    if (other.id !== service.id)
      for (const port of other.endpoint?.ports ?? []) if (isIngressPort(port)) taken.add(portKey(port));
  for (const port of wanted) if (isIngressPort(port) && port.publishedPort !== 0) taken.add(portKey(port));
  const before = (service.endpoint?.ports ?? []).filter((port) => !taken.has(portKey(port)));
  for (const port of wanted) {
    if (!isIngressPort(port) || port.publishedPort !== 0) continue;
    const kept = before.findIndex((old) => isIngressPort(old) && samePurpose(old, port));
    port.publishedPort = before.splice(kept, kept < 0 ? 0 : 1)[0]?.publishedPort ?? freePort(port.protocol, taken);
    taken.add(portKey(port));
  }
  return wanted;
}

function portKey({ protocol, publishedPort }: { protocol: PortConfig_Protocol; publishedPort: number }): string {
  return `${protocol}/${publishedPort}`;
}

function samePurpose(a: PortConfig, b: PortConfig): boolean {
  return a.name === b.name && a.protocol === b.protocol && a.targetPort === b.targetPort;
}

function freePort(protocol: PortConfig_Protocol, taken: ReadonlySet<string>): number {
  for (let publishedPort = firstDynamicPort; publishedPort <= lastDynamicPort; publishedPort++)
    if (!taken.has(portKey({ protocol, publishedPort }))) return publishedPort;
  throw new RpcError(
    'ResourceExhausted',
    `no port left to publish: ${firstDynamicPort} to ${lastDynamicPort} are all in use; name a port outside them`,
  );
}
