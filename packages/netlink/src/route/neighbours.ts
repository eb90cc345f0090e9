import type { Family } from '../ip.ts';
import { familyOf } from '../ip.ts';
import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from '../wire/message.ts';
import type { NetlinkConnection } from './connection.ts';
import { ignoring } from './links.ts';
import { familyName, familyNumber } from './names.ts';
import {
  decodeNeighbourMessage,
  encodeNeighbourMessage,
  type NeighbourMessage,
  type NeighbourState,
  NTF_EXT_LEARNED,
  NTF_PROXY,
  NTF_ROUTER,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
  stateName,
  stateNumber,
} from './neighbour-codec.ts';

/** An entry of the ARP (IPv4) or neighbour discovery (IPv6) table. */
export interface Neighbour {
  readonly index: number;
  readonly ip: string;
  readonly family: Family;
  /** Undefined while it is not resolved. */
  readonly mac: string | undefined;
  readonly state: NeighbourState;
  readonly router: boolean;
  /** Answered for on behalf of another (`ip neigh add proxy`). */
  readonly proxy: boolean;
  readonly externallyLearned: boolean;
}

export interface NeighbourSpec {
  readonly index: number;
  readonly ip: string;
  readonly mac: string;
  /** Default 'permanent'. */
  readonly state?: NeighbourState | undefined;
  readonly router?: boolean | undefined;
  readonly externallyLearned?: boolean | undefined;
}

/** The neighbour tables of one namespace. */
export class Neighbours {
  readonly #connection: NetlinkConnection;

  constructor(connection: NetlinkConnection) {
    this.#connection = connection;
  }

  /**
   * All entries, or those of one link or family, in every state. Equivalent to `ip neigh show nud all`.
   * With `proxy`, the other table: addresses answered for on behalf of others.
   */
  list(filter: { index?: number; family?: Family; proxy?: boolean } = {}): Neighbour[] {
    const flags = filter.proxy ? NTF_PROXY : 0;
    const families: Family[] = filter.family ? [filter.family] : ['ipv4', 'ipv6'];
    return families.flatMap((family) => {
      const payload = encodeNeighbourMessage({ family: familyNumber(family), flags }, { filterIndex: filter.index });
      const request = { type: RTM_GETNEIGH, payload, operation: `RTM_GETNEIGH ${family}` };
      return this.#connection.dump(request).map((message) => toNeighbour(decodeNeighbourMessage(message.payload)));
    });
  }

  /** Adds an entry; EEXIST when the address has one. Equivalent to `ip neigh add`. */
  add(neighbour: NeighbourSpec): void {
    this.#put(NLM_F_CREATE | NLM_F_EXCL, neighbour);
  }

  /** Adds an entry, or overwrites the one of this address. Equivalent to `ip neigh replace`. */
  replace(neighbour: NeighbourSpec): void {
    this.#put(NLM_F_CREATE | NLM_F_REPLACE, neighbour);
  }

  /** Removes the entry of an address; no error when there is none. Equivalent to `ip neigh delete`. */
  delete(neighbour: Pick<NeighbourSpec, 'index' | 'ip'>): void {
    const { index, ip } = neighbour;
    const payload = encodeNeighbourMessage({ family: familyNumber(familyOf(ip)), index }, { destination: ip });
    const request = { type: RTM_DELNEIGH, payload, operation: `RTM_DELNEIGH ${ip} on ${index}` };
    ignoring(['ENOENT', 'ENODEV'], () => this.#connection.request(request));
  }

  #put(flags: number, { index, ip, mac, state = 'permanent', router, externallyLearned }: NeighbourSpec): void {
    const header = {
      family: familyNumber(familyOf(ip)),
      index,
      state: stateNumber(state),
      flags: (router ? NTF_ROUTER : 0) | (externallyLearned ? NTF_EXT_LEARNED : 0),
    };
    const payload = encodeNeighbourMessage(header, { destination: ip, mac });
    this.#connection.request({ type: RTM_NEWNEIGH, flags, payload, operation: `RTM_NEWNEIGH ${ip} on ${index}` });
  }
}

export function toNeighbour({ header, values }: NeighbourMessage): Neighbour {
  return {
    index: header.index,
    ip: values.destination ?? '',
    family: familyName(header.family),
    mac: values.mac,
    state: stateName(header.state),
    router: (header.flags & NTF_ROUTER) !== 0,
    proxy: (header.flags & NTF_PROXY) !== 0,
    externallyLearned: (header.flags & NTF_EXT_LEARNED) !== 0,
  };
}
