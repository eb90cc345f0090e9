/** What the fast path has to know of a network, from what the rest of the room knows. Pure. */
import { isIPv4 } from 'node:net';
import { plainAddress } from '../names.ts';
import type { PeerRows, PeerTable } from '../peers.ts';
import { subnetOf } from '../subnets.ts';
import type { EndpointState, OverlayNetwork } from '../types.ts';
import type { RemoteEndpoint } from './records.ts';
import type { PlannedEndpoint } from './types.ts';

type PeerHosts = Pick<PeerTable, 'takesLargeSegments'>;

/**
 * @returns this host's endpoints with a port.
 * @param ports endpoint ID → the bridge's end of its veth pair.
 */
export function planEndpoints(
  network: OverlayNetwork,
  endpoints: readonly EndpointState[],
  ports: ReadonlyMap<string, string>,
): PlannedEndpoint[] {
  return endpoints.flatMap(({ id, address, mac }) => {
    const [portName, vni] = [ports.get(id), vniOf(network, address)];
    const isPlaced = portName !== undefined && vni !== undefined;
    return isPlaced ? [{ address: plainAddress(address), mac, vni, portName }] : [];
  });
}

/** @returns the peers of these forwarding and neighbour rows. IPv6 is left out, inside of a tunnel and outside. */
export function planPeers(
  network: OverlayNetwork,
  { neighbours, forwarding }: PeerRows,
  hosts: PeerHosts,
): RemoteEndpoint[] {
  return [...neighbours].flatMap(([address, mac]) => {
    const [vtep = '', vni] = [forwarding.get(mac), vniOf(network, address)];
    const takesLargeSegments = hosts.takesLargeSegments(vtep);
    return isIPv4(address) && isIPv4(vtep) && vni !== undefined
      ? [{ address, mac, vni, vtep, takesLargeSegments }]
      : [];
  });
}

function vniOf(network: OverlayNetwork, address: string): number | undefined {
  return network.subnets[subnetOf(network, address)]?.vni;
}
