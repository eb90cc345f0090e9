/** The ports of mode `host` that a task asks for. */
import type { ContainerConfig, HostConfig } from '../container/types.ts';
import type { Task } from '../swarm/gen/objects_pb.js';
import { type PortConfig, PortConfig_Protocol, PortConfig_PublishMode } from '../swarm/gen/types_pb.js';

export const protocolName = {
  [PortConfig_Protocol.TCP]: 'tcp',
  [PortConfig_Protocol.UDP]: 'udp',
  [PortConfig_Protocol.SCTP]: 'sctp',
} as const;

/** @returns the task's ports of mode `host`. */
export function hostPortsOf(task: Task): PortConfig[] {
  return (task.endpoint?.ports ?? []).filter((port) => port.publishMode === PortConfig_PublishMode.HOST);
}

/** @returns them as Docker's Config has them. */
export function exposedPorts(task: Task): Pick<ContainerConfig, 'ExposedPorts'> {
  const ports = hostPortsOf(task);
  return ports.length === 0 ? {} : { ExposedPorts: Object.fromEntries(ports.map((port) => [keyOf(port), {}])) };
}

/** @returns them as Docker's HostConfig has them; a published port that the host chooses is ''. */
export function portBindings(task: Task): Pick<HostConfig, 'PortBindings'> {
  const bindings: Record<string, { HostIp: string; HostPort: string }[]> = {};
  for (const port of hostPortsOf(task)) {
    const HostPort = port.publishedPort === 0 ? '' : String(port.publishedPort);
    bindings[keyOf(port)] = [...(bindings[keyOf(port)] ?? []), { HostIp: '', HostPort }];
  }
  return Object.keys(bindings).length === 0 ? {} : { PortBindings: bindings };
}

function keyOf({ targetPort, protocol }: PortConfig): string {
  return `${targetPort}/${protocolName[protocol]}`;
}
