/** Networks that a plain container is taken onto and off, while it runs or not. */
import { SkeinError } from '../common/index.ts';
import { type Bridges, defaultNetworkName } from './bridges.ts';
import type { ContainerNetworking } from './networking.ts';
import { freePosition, type NetworkMode, type NetworkRecord, type PlainRecord } from './record.ts';
import type { Register } from './register.ts';
import type { Starter } from './starter.ts';
import type { EndpointRequest, PlainContainerCreate } from './types.ts';

interface ConnectionParts {
  readonly register: Register;
  readonly networking: ContainerNetworking;
  readonly starter: Starter;
  readonly bridges: Bridges;
}

const anyEndpoint: EndpointRequest = { aliases: [], ipv4Address: '', mac: '' };

export class Connections {
  readonly #parts: ConnectionParts;

  constructor(parts: ConnectionParts) {
    this.#parts = parts;
  }

  connect(record: PlainRecord, target: string, request: EndpointRequest): Promise<void> {
    const { register, networking, starter, bridges } = this.#parts;
    const network = bridges.canonical(target);
    return register.inOrder(record.containerId, async () => {
      refuseSharedNamespace(record);
      if (record.networks.some((each) => isOn(each, network))) {
        throw new SkeinError(
          'PermissionDenied',
          `endpoint with name ${record.name} already exists in network ${network}`,
        );
      }
      const added = this.placeOf(record, network, request);
      record.networks.push(added);
      register.save(record);
      if (!record.up) return;
      try {
        await starter.networkUp(record);
      } catch (error) {
        await networking.drop(record, added);
        throw error;
      }
    });
  }

  disconnect(record: PlainRecord, target: string): Promise<void> {
    const { register, networking, starter, bridges } = this.#parts;
    const network = bridges.canonical(target);
    const id = record.containerId;
    return register.inOrder(id, async () => {
      const found = record.networks.find((each) => isOn(each, network));
      if (!found) throw new SkeinError('PermissionDenied', `container ${id} is not connected to network ${network}`);
      await networking.drop(record, found);
      if (record.up) await starter.networkUp(record);
    });
  }

  /** @returns the record of a network that the container shall be on; it has no address there yet. */
  placeOf(record: PlainRecord, wanted: string, request: EndpointRequest): NetworkRecord {
    const { bridges } = this.#parts;
    const target = bridges.canonical(wanted);
    const bridge = bridges.list().find(({ id, name }) => id === target || name === target);
    return {
      target,
      networkId: bridge?.id ?? '',
      networkName: bridge?.name ?? '',
      request,
      position: freePosition(record),
    };
  }
}

function isOn(network: NetworkRecord, target: string): boolean {
  return [network.target, network.networkId, network.networkName].includes(target);
}

function refuseSharedNamespace({ mode }: PlainRecord): void {
  if (mode.kind === 'none') {
    throw new SkeinError(
      'InvalidArgument',
      'container cannot be connected to multiple networks with one of the networks in private (none) mode',
    );
  }
  if (mode.kind === 'own') return;
  throw new SkeinError(
    'InvalidArgument',
    'container sharing network namespace with another container or host cannot be connected to any other network',
  );
}

/** @returns the networks that a container is to be created on, the first one first. */
export function networksOf(mode: NetworkMode, request: PlainContainerCreate): Map<string, EndpointRequest> {
  if (mode.kind !== 'own') return new Map();
  const named = request.hostConfig.NetworkMode ?? 'default';
  const first = named === 'default' || named === '' ? defaultNetworkName : named;
  const others = [...request.networks].filter(([target]) => target !== 'default' && target !== first);
  const wanted = request.networks.get(first) ?? request.networks.get('default') ?? anyEndpoint;
  return new Map([[first, wanted], ...others]);
}
