/** What this host tells gossip of its endpoints, and what it hears of others: NetworkDB's `overlay_peer_table`. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { GOSSIP_PORT, type NetworkDB, NetworkDBError, parseAddress, type TableChange } from '@skein/gossip';
import { familyOf } from '@skein/netlink';
import { errorText, type Logger } from '../common/index.ts';
import { PeerRecordSchema } from './gen/overlay_pb.js';
import { type Peer, peerOfRecord } from './peers.ts';
import type { StoredEndpoint } from './state.ts';

const peerTable = 'overlay_peer_table';
/** A lost host's containers may run on: 24 h, as long as gossip itself waits for a failed node. */
const keepUnreachableMs = 24 * 60 * 60 * 1000;
/** A node that left, or whose daemon was started anew under another name: so long it may take to tell again. */
const keepLeftMs = 60_000;

/** News of an endpoint elsewhere. */
export type PeerChange =
  | { readonly type: 'present'; readonly endpointId: string; readonly peer: Peer }
  | { readonly type: 'gone'; readonly endpointId: string }
  /** Its host is lost; what was known of it stays for so many milliseconds. */
  | { readonly type: 'lost'; readonly endpointId: string; readonly keepMs: number };

/** What is told of an endpoint: its addresses are CIDR. */
export type PublishedPeer = Pick<StoredEndpoint, 'id' | 'address' | 'ipv6Address' | 'mac'>;

/** What is told of this host with each endpoint. */
export interface OwnHost {
  readonly vtep: string;
  readonly takesLargeSegments: boolean;
}

export class PeerExchange {
  readonly #gossip: NetworkDB;
  readonly #own: OwnHost;
  readonly #logger: Logger;
  readonly #onChange: (networkId: string, change: PeerChange) => void;
  /** Network ID → IDs of the endpoints that are published there. BOUNDED by this host's endpoints. */
  readonly #published = new Map<string, Set<string>>();
  /** VTEPs of the other family, of which has been told. BOUNDED by the cluster's hosts. */
  readonly #outOfReach = new Set<string>();
  readonly #unwatch: () => void;

  constructor(
    gossip: NetworkDB,
    own: OwnHost,
    logger: Logger,
    onChange: (networkId: string, change: PeerChange) => void,
  ) {
    this.#gossip = gossip;
    this.#own = own;
    this.#logger = logger;
    this.#onChange = onChange;
    this.#unwatch = gossip.watch(peerTable, undefined, (change) => this.#take(change));
  }

  /** Takes part in the network's gossip. Does not wait for what the others have to say. */
  join(networkId: string): void {
    if (this.#published.has(networkId)) return;
    this.#published.set(networkId, new Set());
    this.#gossip.joinNetwork(networkId).catch((error) => {
      this.#logger.warn({ networkId, error: errorText(error) }, 'the first synchronization of a network failed');
    });
  }

  leave(networkId: string): void {
    if (!this.#published.delete(networkId)) return;
    this.#gossip.leaveNetwork(networkId);
  }

  /** Tells that the endpoint is behind this host's VTEP. Idempotent. */
  publish(networkId: string, { id, address, ipv6Address = '', mac }: PublishedPeer): void {
    const records = this.#published.get(networkId);
    if (records === undefined || records.has(id)) return;
    const record = create(PeerRecordSchema, {
      endpointIp: address,
      endpointMac: mac,
      tunnelEndpointIp: this.#own.vtep,
      endpointIpv6: ipv6Address,
      takesLargeSegments: this.#own.takesLargeSegments,
    });
    const value = toBinary(PeerRecordSchema, record);
    this.#gossip.createEntry(peerTable, networkId, id, value);
    records.add(id);
  }

  withdraw(networkId: string, endpointId: string): void {
    if (!this.#published.get(networkId)?.delete(endpointId)) return;
    try {
      this.#gossip.deleteEntry(peerTable, networkId, endpointId);
    } catch (error) {
      // Gone already, as wished.
      const isGone = error instanceof NetworkDBError && (error.code === 'not-found' || error.code === 'not-attached');
      if (!isGone) throw error;
    }
  }

  /** @returns the nodes on the network, this one first. */
  nodes(networkId: string): { name: string; address: string }[] {
    const addresses = new Map(
      this.#gossip.peers().map(({ name, address }) => [name, parseAddress(address, GOSSIP_PORT).host]),
    );
    const others = this.#gossip.networkPeers(networkId).map((name) => ({ name, address: addresses.get(name) ?? '' }));
    return [{ name: this.#gossip.nodeName, address: this.#gossip.address.host }, ...others];
  }

  /** Stops listening. What was published stays. */
  close(): void {
    this.#unwatch();
  }

  #take({ type, networkId, key: endpointId, value, owner, reason }: TableChange): void {
    if (owner === this.#gossip.nodeName) return;
    if (type === 'delete') {
      if (reason === 'unreachable') this.#onChange(networkId, { type: 'lost', endpointId, keepMs: keepUnreachableMs });
      else if (reason === 'left') this.#onChange(networkId, { type: 'lost', endpointId, keepMs: keepLeftMs });
      else this.#onChange(networkId, { type: 'gone', endpointId });
      return;
    }
    const peer = this.#read(value);
    if (peer === undefined) this.#logger.warn({ networkId, endpointId }, 'unreadable peer record');
    else if (this.#isOutOfReach(peer)) {
      this.#onChange(networkId, { type: 'gone', endpointId });
      return;
    }
    this.#onChange(
      networkId,
      peer === undefined ? { type: 'gone', endpointId } : { type: 'present', endpointId, peer },
    );
  }

  /** One tunnel has one family of IP, that of its own address. */
  #isOutOfReach({ vtep }: Peer): boolean {
    const [own, other] = [familyOf(this.#own.vtep), familyOf(vtep)];
    if (own === other) return false;
    if (!this.#outOfReach.has(vtep)) {
      this.#outOfReach.add(vtep);
      this.#logger.error(
        { vtep, ownVtep: this.#own.vtep },
        `no tunnel to the containers behind ${vtep}: it is of ${other}, and the data path of this node, ${this.#own.vtep}, of ${own}; ` +
          'let all nodes of the swarm join with a --data-path-addr of one family',
      );
    }
    return true;
  }

  #read(value: Uint8Array): Peer | undefined {
    try {
      return peerOfRecord(fromBinary(PeerRecordSchema, value));
    } catch {
      // Not protobuf: the same as a record that says nothing.
      return undefined;
    }
  }
}
