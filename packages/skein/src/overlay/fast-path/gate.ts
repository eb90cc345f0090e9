/**
 * The gate of a network: a veth pair between its sandbox and the host's namespace. A redirection finds links of the
 * packet's own namespace only; through the gate it gets to the other one. No frame is ever sent on it.
 */
import { hasCode, type NetworkNamespace, RouteSocket, writeSysctl } from '@skein/netlink';
import { gateName, hostGateName, linkAlias } from '../names.ts';

/** The two ends' indices, each in its own namespace. */
export interface Gate {
  readonly inside: number;
  readonly outside: number;
}

/** Makes the pair, or what is missing of it. */
export function ensureGate(host: NetworkNamespace, sandbox: NetworkNamespace, networkId: string): Gate {
  using inside = RouteSocket.open(sandbox);
  using outside = RouteSocket.open(host);
  const name = hostGateName(networkId);
  const alias = linkAlias(networkId, 'gate');
  const near = inside.links.get(gateName);
  const far = outside.links.get(name);
  if (near?.up && far?.up && far.alias === alias && near.parentIndex === far.index) {
    return { inside: near.index, outside: far.index };
  }
  if (near !== undefined) inside.links.delete(near.index);
  // Its other end may be in a namespace that the kernel has not taken apart yet.
  const rest = outside.links.get(name);
  if (rest !== undefined) outside.links.delete(rest.index);
  const created = inside.links.create({ kind: 'veth', name: gateName, alias, peer: { name, namespace: host } });
  const index = outside.links.get(name)?.index;
  if (index === undefined) throw new Error(`${name} has gone`);
  disableIpv6(host, name);
  outside.links.set(index, { alias, up: true });
  inside.links.set(created.index, { up: true });
  return { inside: created.index, outside: index };
}

/** The host must not think that there is a network behind the link. */
function disableIpv6(host: NetworkNamespace, name: string): void {
  try {
    writeSysctl(host, `net.ipv6.conf.${name}.disable_ipv6`, 1);
  } catch (error) {
    // A kernel without IPv6 has no such switch.
    if (!hasCode(error, 'ENOENT')) throw error;
  }
}
