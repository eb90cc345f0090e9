/**
 * Who is where on one network: the peer records that gossip brings, and the rows that the kernel should hold because
 * of them. Pure; `peer-rows.ts` makes the kernel equal to it.
 */
import { isIP, isIPv4, isIPv6 } from 'node:net';
import { normalizeAddress } from '@skein/netlink';
import type { PeerRecord } from './gen/overlay_pb.js';
import { plainAddress } from './names.ts';

/** An endpoint on another host. */
export interface Peer {
  /** Plain address of the endpoint. */
  readonly address: string;
  readonly ipv6Address?: string | undefined;
  readonly mac: string;
  /** Plain address of its host's VTEP. */
  readonly vtep: string;
  /** Its host takes tunnel packets that are larger than their lengths can say. */
  readonly takesLargeSegments?: true;
}

/** What is true of this host: its records need no rows, and its endpoints win over what others say of them. */
export interface LocalView {
  readonly vtep: string;
  readonly addresses: ReadonlySet<string>;
  readonly macs: ReadonlySet<string>;
}

/** The rows that a network's VXLAN devices should have. */
export interface PeerRows {
  /** Endpoint address → MAC (neighbour table: answers ARP and neighbour discovery). */
  readonly neighbours: ReadonlyMap<string, string>;
  /** MAC → VTEP (forwarding database: where the frame goes). */
  readonly forwarding: ReadonlyMap<string, string>;
}

/** @returns the peer that a record describes, or undefined if it is malformed (other nodes write it). */
export function peerOfRecord(
  record: Pick<PeerRecord, 'endpointIp' | 'endpointMac' | 'tunnelEndpointIp'> &
    Partial<Pick<PeerRecord, 'endpointIpv6' | 'takesLargeSegments'>>,
): Peer | undefined {
  const address = plainAddress(record.endpointIp);
  const mac = record.endpointMac.toLowerCase();
  const vtep = canonical(record.tunnelEndpointIp);
  if (!isIPv4(address) || !isUnicastMac(mac) || vtep === undefined) return undefined;
  const ipv6 = plainAddress(record.endpointIpv6 ?? '');
  const ipv6Address = isIPv6(ipv6) ? canonical(ipv6) : undefined;
  const { takesLargeSegments } = record;
  return {
    address,
    ...(ipv6Address && { ipv6Address }),
    mac,
    vtep,
    ...(takesLargeSegments && { takesLargeSegments }),
  };
}

/** @returns undefined for what is no address. One with a zone means nothing here. */
function canonical(text: string): string | undefined {
  return isIP(text) !== 0 && !text.includes('%') ? normalizeAddress(text) : undefined;
}

const addressesOf = ({ address, ipv6Address }: Peer): string[] =>
  ipv6Address === undefined ? [address] : [address, ipv6Address];

function isSamePeer(left: Peer | undefined, right: Peer): boolean {
  const textOf = (peer: Peer): string =>
    [peer.mac, peer.vtep, peer.takesLargeSegments === true, ...addressesOf(peer)].join(' ');
  return left !== undefined && textOf(left) === textOf(right);
}

/** What only one peer can have. */
const claimsOf = (peer: Peer): string[] => [...addressesOf(peer), peer.mac];

function isUnicastMac(mac: string): boolean {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(mac)) return false;
  return (Number.parseInt(mac.slice(0, 2), 16) & 1) === 0 && mac !== '00:00:00:00:00:00';
}

interface KnownPeer {
  readonly peer: Peer;
  /** Grows with each record: the newest has the greatest. */
  readonly order: number;
  /** Clock time, in ms, at which the record is forgotten; only of one whose host is gone. */
  readonly expires: number | undefined;
}

/** Rows of some addresses and MACs: a key that has none here has none any more. */
export interface ChangedRows {
  readonly keys: ReadonlySet<string>;
  readonly rows: PeerRows;
}

/** The peer records of one network by endpoint ID. */
export class PeerTable {
  /** BOUNDED by the endpoints of the cluster on this network. */
  readonly #records = new Map<string, KnownPeer>();
  /** Address or MAC → endpoint IDs of the records that claim it. BOUNDED by the records. */
  readonly #claims = new Map<string, Set<string>>();
  /** Endpoint IDs of the records that expire: few, unless a host was lost. */
  readonly #expiring = new Set<string>();
  /** Addresses and MACs whose rows may be others now. BOUNDED by what changes between two calls of `takeChanges`. */
  readonly #touched = new Set<string>();
  /** VTEPs of the hosts that take large segments, by their newest records. BOUNDED by the hosts of the cluster. */
  readonly #takers = new Set<string>();
  #nextOrder = 0;

  /** Adds or replaces a record; one that says something new counts as the newest. @returns whether anything changed. */
  set(endpointId: string, peer: Peer): boolean {
    const known = this.#records.get(endpointId);
    if (isSamePeer(known?.peer, peer) && known?.expires === undefined) return false;
    this.delete(endpointId);
    for (const id of claimsOf(peer).flatMap((key) => [...(this.#claims.get(key) ?? [])])) {
      if (this.#expiring.has(id)) this.delete(id);
    }
    this.#records.set(endpointId, { peer, order: this.#nextOrder++, expires: undefined });
    if (peer.takesLargeSegments) this.#takers.add(peer.vtep);
    else this.#takers.delete(peer.vtep);
    for (const key of claimsOf(peer)) {
      this.#claims.set(key, (this.#claims.get(key) ?? new Set()).add(endpointId));
      this.#touched.add(key);
    }
    return true;
  }

  /** @returns whether the host of the VTEP takes large segments. */
  takesLargeSegments(vtep: string): boolean {
    return this.#takers.has(vtep);
  }

  /** @returns whether there was such a record. */
  delete(endpointId: string): boolean {
    const known = this.#records.get(endpointId);
    if (known === undefined) return false;
    for (const key of claimsOf(known.peer)) {
      const claimants = this.#claims.get(key);
      claimants?.delete(endpointId);
      if (claimants?.size === 0) this.#claims.delete(key);
      this.#touched.add(key);
    }
    this.#expiring.delete(endpointId);
    return this.#records.delete(endpointId);
  }

  /**
   * The record's host is lost to gossip, but its containers may well be running: the record stays until `expires`
   * (clock time, ms), or until another one claims its address or MAC.
   */
  orphan(endpointId: string, expires: number): void {
    const known = this.#records.get(endpointId);
    if (known === undefined) return;
    this.#expiring.add(endpointId);
    this.#records.set(endpointId, { ...known, expires });
  }

  /** As `orphan`, for all records: their source is lost. */
  orphanAll(expires: number): void {
    for (const id of this.#records.keys()) this.orphan(id, expires);
  }

  /** Forgets the records whose time is over. */
  expire(now: number): void {
    for (const id of this.#expiring) {
      const expires = this.#records.get(id)?.expires;
      if (expires !== undefined && expires <= now) this.delete(id);
    }
  }

  get size(): number {
    return this.#records.size;
  }

  /**
   * @returns the rows that should be in the kernel. An address or MAC has one place: of two records that claim it, as
   * when a task was moved and the old record has not gone yet, the newest wins.
   */
  desiredRows(local: LocalView): PeerRows {
    this.#touched.clear();
    return rowsOf([...this.#records.values()], local);
  }

  /** The rows of these addresses and MACs may be others now: this host has them, or has them no more. */
  touch(keys: Iterable<string>): void {
    for (const key of keys) this.#touched.add(key);
  }

  /** @returns the rows of what has changed or was touched since the last call, and of all that competes with it. */
  takeChanges(local: LocalView): ChangedRows {
    const keys = new Set(this.#touched);
    this.#touched.clear();
    const competing = new Map<string, KnownPeer>();
    // A set that grows is walked to its new end.
    for (const key of keys) {
      for (const id of this.#claims.get(key) ?? []) {
        const known = this.#records.get(id);
        if (known === undefined || competing.has(id)) continue;
        competing.set(id, known);
        for (const each of claimsOf(known.peer)) keys.add(each);
      }
    }
    return { keys, rows: rowsOf([...competing.values()], local) };
  }
}

function rowsOf(records: readonly KnownPeer[], local: LocalView): PeerRows {
  const neighbours = new Map<string, string>();
  const forwarding = new Map<string, string>();
  const newestFirst = records.toSorted((left, right) => right.order - left.order);
  for (const { peer } of newestFirst) {
    const addresses = addressesOf(peer).filter((address) => !local.addresses.has(address) && !neighbours.has(address));
    if (peer.vtep === local.vtep || !addresses.includes(peer.address) || local.macs.has(peer.mac)) continue;
    const claimed = forwarding.get(peer.mac);
    if (claimed !== undefined && claimed !== peer.vtep) continue;
    for (const address of addresses) neighbours.set(address, peer.mac);
    forwarding.set(peer.mac, peer.vtep);
  }
  return { neighbours, forwarding };
}

/** Changes that make a set of rows equal to another. */
export interface RowChanges {
  /** Rows to write, over whatever has the key. */
  readonly replace: readonly (readonly [key: string, value: string])[];
  /** Keys of rows to take away. */
  readonly remove: readonly string[];
}

/** @returns what to do so that `actual` becomes `desired`; without `prune` rows are only added and corrected. */
export function diffRows(
  desired: ReadonlyMap<string, string>,
  actual: ReadonlyMap<string, string>,
  prune: boolean,
): RowChanges {
  return {
    replace: [...desired].filter(([key, value]) => actual.get(key) !== value),
    remove: prune ? [...actual.keys()].filter((key) => !desired.has(key)) : [],
  };
}
