/** Makes the kernel's neighbour and forwarding rows of one VXLAN device equal to what the peer records say. */
import { type FdbEntry, type NetworkNamespace, RouteSocket } from '@skein/netlink';
import { vxlanName } from './names.ts';
import { diffRows, type PeerRows } from './peers.ts';

/** How many rows a reconciliation wrote and took away. */
export interface RowCounts {
  replaced: number;
  removed: number;
}

/**
 * Writes the difference between the device's rows and those that it should have: first what is missing or wrong, then,
 * with `prune`, it removes what should not be there. Without `prune` rows of an earlier daemon stay until gossip has had
 * its say.
 * @param known the rows that the device has; undefined: they are read from the kernel.
 */
export function reconcilePeerRows(
  sandbox: NetworkNamespace,
  position: number,
  desired: PeerRows,
  prune: boolean,
  known?: PeerRows,
): RowCounts {
  using route = RouteSocket.open(sandbox);
  const link = route.links.get(vxlanName(position));
  if (link === undefined) throw new Error(`${vxlanName(position)} has gone`);
  const { index } = link;
  const actual = known ?? readPeerRows(route, index);
  const neighbourChanges = diffRows(desired.neighbours, actual.neighbours, prune);
  const forwardingChanges = diffRows(desired.forwarding, actual.forwarding, prune);

  for (const [mac, destination] of forwardingChanges.replace) route.fdb.replace({ index, mac, destination });
  for (const [ip, mac] of neighbourChanges.replace) route.neighbours.replace({ index, ip, mac });
  for (const ip of neighbourChanges.remove) route.neighbours.delete({ index, ip });
  for (const mac of forwardingChanges.remove) route.fdb.delete({ index, mac });
  return {
    replaced: neighbourChanges.replace.length + forwardingChanges.replace.length,
    removed: neighbourChanges.remove.length + forwardingChanges.remove.length,
  };
}

function readPeerRows(route: RouteSocket, index: number): PeerRows {
  const permanent = route.neighbours.list({ index }).filter((entry) => entry.state === 'permanent');
  const forwarding = route.fdb.list({ index }).filter(isTunnelRow);
  return {
    neighbours: new Map(permanent.map((row) => [row.ip, row.mac ?? ''])),
    forwarding: new Map(forwarding.map((row) => [row.mac, row.destination ?? ''])),
  };
}

function isTunnelRow(entry: FdbEntry): boolean {
  return entry.flags === 'self' && entry.destination !== undefined;
}
