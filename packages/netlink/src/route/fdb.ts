import { AF_BRIDGE } from '../kernel/constants.ts';
import { NLM_F_APPEND, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from '../wire/message.ts';
import type { NetlinkConnection } from './connection.ts';
import { ignoring } from './links.ts';
import {
  decodeNeighbourMessage,
  encodeNeighbourMessage,
  type NeighbourMessage,
  type NeighbourState,
  NTF_EXT_LEARNED,
  NTF_MASTER,
  NTF_SELF,
  NTF_STICKY,
  RTM_DELNEIGH,
  RTM_GETNEIGH,
  RTM_NEWNEIGH,
  stateName,
  stateNumber,
} from './neighbour-codec.ts';

/** Whose table an entry is in: the device's own ('self', a VXLAN's MAC → VTEP) or its bridge's ('master'). */
export type FdbTable = 'self' | 'master';

/** An entry of a forwarding database: where frames for a MAC address go. */
export interface FdbEntry {
  /** The link: the VXLAN device, or the bridge's port. */
  readonly index: number;
  readonly mac: string;
  readonly flags: FdbTable;
  /** 'permanent' (written, or a port's own address), 'noarp' (static), 'reachable' and 'stale' (learned). */
  readonly state: NeighbourState;
  /** The VTEP to send to. */
  readonly destination: string | undefined;
  /** UDP port and VNI, where they differ from the device's own. */
  readonly port: number | undefined;
  readonly vni: number | undefined;
  /** The bridge whose table it is in. */
  readonly master: number | undefined;
  readonly externallyLearned: boolean;
  readonly sticky: boolean;
}

export interface FdbSpec {
  readonly index: number;
  readonly mac: string;
  /** Default 'self'. */
  readonly flags?: FdbTable | undefined;
  /** Default 'permanent'. */
  readonly state?: NeighbourState | undefined;
  readonly destination?: string | undefined;
  readonly port?: number | undefined;
  readonly vni?: number | undefined;
  readonly externallyLearned?: boolean | undefined;
  readonly sticky?: boolean | undefined;
}

/** The forwarding databases of the bridges and VXLAN devices of one namespace. */
export class Fdb {
  readonly #connection: NetlinkConnection;

  constructor(connection: NetlinkConnection) {
    this.#connection = connection;
  }

  /** All entries, or those of one link (its own and its bridge's about it). Equivalent to `bridge fdb show`. */
  list(filter: { index?: number } = {}): FdbEntry[] {
    const payload = encodeNeighbourMessage({ family: AF_BRIDGE }, { filterIndex: filter.index });
    const request = { type: RTM_GETNEIGH, payload, operation: 'RTM_GETNEIGH bridge' };
    const entries = this.#connection
      .dump(request)
      .map((message) => toFdbEntry(decodeNeighbourMessage(message.payload)));
    return filter.index === undefined ? entries : entries.filter(({ index }) => index === filter.index);
  }

  /** Adds an entry; EEXIST when the MAC has one, a learned one too. Equivalent to `bridge fdb add`. */
  add(entry: FdbSpec): void {
    this.#put(NLM_F_CREATE | NLM_F_EXCL, entry);
  }

  /** Adds an entry, or overwrites the one of this MAC (unicast only). Equivalent to `bridge fdb replace`. */
  replace(entry: FdbSpec): void {
    this.#put(NLM_F_CREATE | NLM_F_REPLACE, entry);
  }

  /**
   * Adds one more destination to a MAC: 00:00:00:00:00:00 is where a VXLAN device floods to.
   * Equivalent to `bridge fdb append`.
   */
  append(entry: FdbSpec): void {
    this.#put(NLM_F_CREATE | NLM_F_APPEND, entry);
  }

  /** Removes an entry, or one destination of it; no error when it is not there. Equivalent to `bridge fdb delete`. */
  delete(entry: FdbSpec): void {
    const request = { type: RTM_DELNEIGH, payload: encodeFdb(entry), operation: `RTM_DELNEIGH ${describe(entry)}` };
    ignoring(['ENOENT', 'ENODEV'], () => this.#connection.request(request));
  }

  #put(flags: number, entry: FdbSpec): void {
    const operation = `RTM_NEWNEIGH ${describe(entry)}`;
    this.#connection.request({ type: RTM_NEWNEIGH, flags, payload: encodeFdb(entry), operation });
  }
}

const describe = ({ mac, destination, index }: FdbSpec): string =>
  `${mac}${destination === undefined ? '' : ` to ${destination}`} on ${index}`;

function encodeFdb(spec: FdbSpec): Uint8Array {
  const { index, mac, destination, port, vni, state = 'permanent' } = spec;
  const table = spec.flags === 'master' ? NTF_MASTER : NTF_SELF;
  const flags = table | (spec.externallyLearned ? NTF_EXT_LEARNED : 0) | (spec.sticky ? NTF_STICKY : 0);
  const header = { family: AF_BRIDGE, index, state: stateNumber(state), flags };
  return encodeNeighbourMessage(header, { mac, destination, port, vni });
}

export function toFdbEntry({ header, values }: NeighbourMessage): FdbEntry {
  return {
    index: header.index,
    mac: values.mac ?? '',
    flags: (header.flags & NTF_SELF) !== 0 ? 'self' : 'master',
    state: stateName(header.state),
    destination: values.destination,
    port: values.port,
    vni: values.vni,
    master: values.master,
    externallyLearned: (header.flags & NTF_EXT_LEARNED) !== 0,
    sticky: (header.flags & NTF_STICKY) !== 0,
  };
}
