/** What all of netfilter's netlink messages share (linux/netfilter/nfnetlink.h). */
import type { Family } from '../ip.ts';
import { AF_UNSPEC } from '../kernel/constants.ts';
import type { NetworkNamespace } from '../namespace.ts';
import { NETLINK_NETFILTER, NetlinkConnection } from '../route/connection.ts';
import { familyNumber } from '../route/names.ts';
import { struct } from '../wire/struct.ts';

/** struct nfgenmsg, which stands before the attributes */
export const nfgenmsg = struct({ family: 'u8', version: 'u8', resourceId: 'be16' });
/** NFNL_SUBSYS_* */
const subsystems = { conntrack: 1, nftables: 10 } as const;
const SUBSYSTEM_SHIFT = 8;

/** @returns the message type: the subsystem in the upper byte. */
export function messageType(subsystem: keyof typeof subsystems, message: number): number {
  return (subsystems[subsystem] << SUBSYSTEM_SHIFT) | message;
}

/** @returns header and attributes of a request; without a family it is about all. */
export function nfnetlinkPayload(family: Family | undefined, attributes: Uint8Array = new Uint8Array(0)): Uint8Array {
  const header = nfgenmsg.encode({ family: family === undefined ? AF_UNSPEC : familyNumber(family) });
  return Buffer.concat([header, attributes]);
}

/** Opens a NETLINK_NETFILTER connection in `namespace`, by default the calling thread's own. */
export function openNetfilter(namespace?: NetworkNamespace): NetlinkConnection {
  return NetlinkConnection.open(namespace, NETLINK_NETFILTER);
}
