import type { Family } from '../ip.ts';
import { familyOf } from '../ip.ts';
import { attributes, ip, string, structure, u32 } from '../wire/attributes.ts';
import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from '../wire/message.ts';
import { struct } from '../wire/struct.ts';
import type { NetlinkConnection } from './connection.ts';
import { ignoring } from './links.ts';
import { familyName, familyNumber, type Scope, scopes } from './names.ts';

export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
const RTM_GETADDR = 22;

/** struct ifaddrmsg, linux/if_addr.h */
const ifaddrmsg = struct({ family: 'u8', prefixLength: 'u8', flags: 'u8', scope: 'u8', index: 'u32' });
/** struct ifa_cacheinfo; lifetimes in seconds */
const cacheInfo = struct({ preferred: 'u32', valid: 'u32', created: 'u32', updated: 'u32' });
/** IFA_*: `address` is the prefix's or the peer's address, `local` the interface's own (absent in IPv6 without peer) */
const addressAttributes = attributes({
  address: [1, ip],
  local: [2, ip],
  label: [3, string],
  broadcast: [4, ip],
  cacheInfo: [6, structure(cacheInfo)],
  flags: [8, u32],
});
// IFA_F_*
const IFA_F_SECONDARY = 0x01;
const IFA_F_NODAD = 0x02;
const IFA_F_DADFAILED = 0x08;
const IFA_F_TENTATIVE = 0x40;
const IFA_F_PERMANENT = 0x80;
const IFA_F_NOPREFIXROUTE = 0x200;

export interface Address {
  readonly index: number;
  /** '10.0.1.3' */
  readonly address: string;
  readonly prefixLength: number;
  readonly family: Family;
  /** The other end, on a point-to-point link. */
  readonly peer: string | undefined;
  readonly broadcast: string | undefined;
  readonly label: string | undefined;
  readonly scope: Scope;
  readonly permanent: boolean;
  readonly secondary: boolean;
  /** IPv6: duplicate address detection has not finished; the address cannot be used yet. */
  readonly tentative: boolean;
  readonly duplicate: boolean;
}

export interface AddressSpec {
  readonly index: number;
  readonly address: string;
  readonly prefixLength: number;
  readonly peer?: string | undefined;
  readonly broadcast?: string | undefined;
  readonly label?: string | undefined;
  readonly scope?: Scope | undefined;
  /** IPv6: usable at once, without duplicate address detection. */
  readonly skipDuplicateDetection?: boolean | undefined;
  /** Do not add the route to the prefix. */
  readonly withoutPrefixRoute?: boolean | undefined;
}

/** The IPv4 and IPv6 addresses of one namespace. */
export class Addresses {
  readonly #connection: NetlinkConnection;

  constructor(connection: NetlinkConnection) {
    this.#connection = connection;
  }

  /** All addresses, or those of one link. Equivalent to `ip address show`. */
  list(filter: { index?: number; family?: Family } = {}): Address[] {
    const families: Family[] = filter.family ? [filter.family] : ['ipv4', 'ipv6'];
    return families.flatMap((family) => {
      const payload = ifaddrmsg.encode({ family: familyNumber(family), index: filter.index ?? 0 });
      const request = { type: RTM_GETADDR, payload, operation: `RTM_GETADDR ${filter.index ?? ''}` };
      return this.#connection.dump(request).map((message) => decodeAddress(message.payload));
    });
  }

  /** Adds an address; EEXIST when the link has it. Equivalent to `ip address add`. */
  add(address: AddressSpec): void {
    this.#change(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, address);
  }

  /** Adds an address, or updates the one that is there. Equivalent to `ip address replace`. */
  replace(address: AddressSpec): void {
    this.#change(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE, address);
  }

  /** Removes an address; no error when the link does not have it. Equivalent to `ip address delete`. */
  delete(address: AddressSpec): void {
    ignoring(['EADDRNOTAVAIL', 'ENODEV'], () => this.#change(RTM_DELADDR, 0, address));
  }

  #change(type: number, flags: number, address: AddressSpec): void {
    const verb = type === RTM_NEWADDR ? 'RTM_NEWADDR' : 'RTM_DELADDR';
    const operation = `${verb} ${address.address}/${address.prefixLength} on ${address.index}`;
    this.#connection.request({ type, flags, payload: encodeAddress(address), operation });
  }
}

export function encodeAddress(spec: AddressSpec): Uint8Array {
  const { index, prefixLength, broadcast, label } = spec;
  const family = familyNumber(familyOf(spec.address));
  const flags = (spec.skipDuplicateDetection ? IFA_F_NODAD : 0) | (spec.withoutPrefixRoute ? IFA_F_NOPREFIXROUTE : 0);
  const header = ifaddrmsg.encode({ family, prefixLength, index, scope: scopes.number(spec.scope ?? 'global') });
  const values = { address: spec.peer ?? spec.address, local: spec.address, broadcast, label };
  return Buffer.concat([header, addressAttributes.encode({ ...values, flags: flags || undefined })]);
}

/** Reads the body of RTM_NEWADDR or RTM_DELADDR. */
export function decodeAddress(payload: Uint8Array): Address {
  const header = ifaddrmsg.decode(payload);
  const values = addressAttributes.decode(payload.subarray(ifaddrmsg.size));
  const flags = values.flags ?? header.flags;
  const address = values.local ?? values.address ?? '';
  return {
    index: header.index,
    address,
    prefixLength: header.prefixLength,
    family: familyName(header.family),
    peer: values.address === address ? undefined : values.address,
    broadcast: values.broadcast,
    label: values.label,
    scope: scopes.name(header.scope),
    permanent: (flags & IFA_F_PERMANENT) !== 0,
    secondary: (flags & IFA_F_SECONDARY) !== 0,
    tentative: (flags & IFA_F_TENTATIVE) !== 0,
    duplicate: (flags & IFA_F_DADFAILED) !== 0,
  };
}
