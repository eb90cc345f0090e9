/** What a container's sandbox should be, and what it looks like from outside. Pure. */
import { newHexId } from '../common/index.ts';
import { containerInterfaceName, macOfAddress, vethName } from './names.ts';
import type { StoredEndpoint, StoredSandbox } from './state.ts';
import type { EndpointSpec, EndpointState, OverlayNetwork, SandboxSpec, SandboxState } from './types.ts';

/**
 * @returns the sandbox as it should be: endpoints that it has already and that still fit keep their IDs.
 * @param gateway gives it an endpoint on the gateway network, when it wants one: what it has, as it should be.
 */
export function planSandbox(
  spec: SandboxSpec,
  existing: StoredSandbox | undefined,
  gateway: (existing: StoredEndpoint | undefined) => StoredEndpoint,
): StoredSandbox {
  const endpoints = spec.endpoints.map((wanted) => {
    const known = existing && endpointOn(existing, wanted.network.id);
    return known !== undefined && isAsWanted(known, wanted) ? known : newEndpoint(wanted);
  });
  return {
    spec,
    sandboxId: existing?.sandboxId ?? newHexId(),
    endpoints,
    gateway: spec.gateway ? gateway(existing?.gateway) : undefined,
  };
}

/** Its addresses (CIDR), and its MAC unless that is Docker's for the IPv4 address. */
type EndpointAddresses = Pick<EndpointSpec, 'address' | 'ipv6Address' | 'mac'>;

/** @returns an endpoint that never was: with a new ID. */
export function newEndpoint(wanted: EndpointAddresses): StoredEndpoint {
  const id = newHexId();
  const { address, ipv6Address } = wanted;
  return { id, address, ipv6Address, mac: macOf(wanted), portName: vethName(id) };
}

function isAsWanted(known: StoredEndpoint, wanted: EndpointAddresses): boolean {
  const { address, ipv6Address, mac } = known;
  return address === wanted.address && ipv6Address === wanted.ipv6Address && mac === macOf(wanted);
}

function macOf({ address, mac }: EndpointAddresses): string {
  return (mac ?? macOfAddress(address)).toLowerCase();
}

function endpointOn(stored: StoredSandbox, networkId: string): StoredEndpoint | undefined {
  return stored.endpoints[stored.spec.endpoints.findIndex(({ network }) => network.id === networkId)];
}

/**
 * @returns the endpoint or sandbox under new IDs. They are the keys of gossip records, and those of an earlier daemon
 * are still its own in the eyes of others.
 */
export const renewEndpoint = (endpoint: StoredEndpoint): StoredEndpoint => ({ ...endpoint, id: newHexId() });
export const renewSandbox = (stored: StoredSandbox): StoredSandbox => ({
  ...stored,
  endpoints: stored.endpoints.map(renewEndpoint),
  gateway: stored.gateway && renewEndpoint(stored.gateway),
});

/** @returns the sandbox with each network as `current` says it is now. */
export function withNetworks(spec: SandboxSpec, current: (network: OverlayNetwork) => OverlayNetwork): SandboxSpec {
  const endpoints = spec.endpoints.map((endpoint) => ({ ...endpoint, network: current(endpoint.network) }));
  return { ...spec, endpoints };
}

/** A sandbox's endpoints with their networks and places. */
export interface PlacedEndpoint {
  readonly network: OverlayNetwork;
  readonly position: number;
  readonly stored: StoredEndpoint;
  readonly state: EndpointState;
}

export function placedEndpoints({ spec, endpoints }: StoredSandbox): PlacedEndpoint[] {
  return spec.endpoints.flatMap(({ network, aliases, position: wanted }, place) => {
    const stored = endpoints[place];
    if (stored === undefined) return [];
    const position = wanted ?? place;
    const { id, address, ipv6Address, mac } = stored;
    const state = { id, network, address, ipv6Address, mac, interfaceName: containerInterfaceName(position), aliases };
    return [{ network, position, stored, state }];
  });
}

/** @returns the number of the interface on docker_gwbridge. */
export function gatewayPosition({ spec, endpoints }: StoredSandbox): number {
  return spec.gatewayPosition ?? endpoints.length;
}

/** @returns the sandbox as the room's callers see it. */
export function sandboxState(stored: StoredSandbox, networkNamespace: string): SandboxState {
  const { spec, sandboxId, gateway } = stored;
  return {
    containerId: spec.containerId,
    containerName: spec.containerName,
    sandboxId,
    networkNamespace,
    endpoints: placedEndpoints(stored).map(({ state }) => state),
    gateway: gateway && {
      id: gateway.id,
      address: gateway.address,
      ipv6Address: gateway.ipv6Address,
      mac: gateway.mac,
      interfaceName: containerInterfaceName(gatewayPosition(stored)),
    },
  };
}
