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
 * Reads the rows of the device and writes the difference: first what is missing or wrong, then, with `prune`, it
 * removes what should not be there. Without `prune` rows of an earlier daemon stay until gossip has had its say.
 */
export function reconcilePeerRows(
  sandbox: NetworkNamespace,
  position: number,
  desired: PeerRows,
  prune: boolean,
): RowCounts {
  using route = RouteSocket.open(sandbox);
  const link = route.links.get(vxlanName(position));
  if (link === undefined) throw new Error(`${vxlanName(position)} has gone`);
  const { index } = link;

  const neighbours = route.neighbours.list({ index });
  const permanent = neighbours.filter((entry) => entry.state === 'permanent');
  const neighbourChanges = diffRows(
    desired.neighbours,
    new Map(permanent.map((row) => [row.ip, row.mac ?? ''])),
    prune,
  );
  const forwarding = route.fdb.list({ index }).filter(isTunnelRow);
  const forwardingChanges = diffRows(
    desired.forwarding,
    new Map(forwarding.map((row) => [row.mac, row.destination ?? ''])),
    prune,
  );

  for (const [mac, destination] of forwardingChanges.replace) route.fdb.replace({ index, mac, destination });
  for (const [ip, mac] of neighbourChanges.replace) route.neighbours.replace({ index, ip, mac });
  for (const ip of neighbourChanges.remove) route.neighbours.delete({ index, ip });
  for (const mac of forwardingChanges.remove) route.fdb.delete({ index, mac });
  return {
    replaced: neighbourChanges.replace.length + forwardingChanges.replace.length,
    removed: neighbourChanges.remove.length + forwardingChanges.remove.length,
  };
}

function isTunnelRow(entry: FdbEntry): boolean {
  return entry.flags === 'self' && entry.destination !== undefined;
}
