/** Socket addresses (bits/socket.h, netinet/in.h, linux/netlink.h, linux/if_packet.h) as the calls take them. */
import { familyOf, parseAddress } from '../ip.ts';
import { struct } from '../wire/struct.ts';
import { AF_INET, AF_INET6, AF_NETLINK, AF_PACKET } from './constants.ts';

/** struct sockaddr_in: the address follows the port, then 8 bytes of zeros */
const sockaddrIn = struct({ family: 'u16', port: 'be16' });
const SIN_ZERO = new Uint8Array(8);
/** struct sockaddr_in6: flow information, address, scope */
const sockaddrIn6 = struct({ family: 'u16', port: 'be16', flowInfo: 'u32' });
const scopeId = struct({ scope: 'u32' });
const sockaddrNl = struct({ family: 'u16', pad: 'u16', port: 'u32', groups: 'u32' });
const sockaddrLl = struct({
  family: 'u16',
  protocol: 'be16',
  index: 's32',
  hardwareType: 'u16',
  packetType: 'u8',
  addressLength: 'u8',
  address: 'u64',
});
export const SOCKADDR_LL_SIZE = sockaddrLl.size;

/** sockaddr_in or sockaddr_in6 for an address in text. `scope`: the link of a link-local IPv6 address. */
export function inetAddress(address: string, port: number, scope = 0): Uint8Array {
  const bytes = parseAddress(address);
  if (familyOf(address) === 'ipv4') {
    return Buffer.concat([sockaddrIn.encode({ family: AF_INET, port }), bytes, SIN_ZERO]);
  }
  return Buffer.concat([sockaddrIn6.encode({ family: AF_INET6, port }), bytes, scopeId.encode({ scope })]);
}

/** sockaddr_nl of a socket that listens to the multicast groups in the mask. */
export function netlinkAddress(groups: number): Uint8Array {
  return sockaddrNl.encode({ family: AF_NETLINK, groups });
}

/** sockaddr_ll that binds a packet socket to a link; index 0 is all links. */
export function packetAddress(index: number, protocol: number): Uint8Array {
  return sockaddrLl.encode({ family: AF_PACKET, protocol, index });
}

export function decodePacketAddress(bytes: Uint8Array): { index: number; packetType: number; protocol: number } {
  return sockaddrLl.decode(bytes);
}
