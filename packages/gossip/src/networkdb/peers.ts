import { type Counters, getOrCreate } from '../runtime/index.ts';
import { type Address, formatAddress } from '../wire/index.ts';
import type { NetworkEntry, NetworkEvent, NodeEvent } from './codec.ts';

/** `failed`: memberlist lost it, it may come back. `left`: it said good-bye, or another node is at its address. */
export type PeerState = 'alive' | 'failed' | 'left';

/** A node's being on a network. */
export interface Attachment {
  lTime: number;
  leaving: boolean;
  /** Clock time, in ms, of the last event. */
  since: number;
}

/** Another node of the cluster. */
export interface Peer {
  readonly name: string;
  address: Address;
  state: PeerState;
  /** Lamport time of its last node event. */
  lTime: number;
  /** Clock time, in ms, of the last change of `state`. */
  since: number;
  /** Clock time, in ms, of its last bulk sync by network. BOUNDED by the networks that this node is on. */
  readonly syncedAt: Map<string, number>;
  /** NO_NETWORKS until it is on one: most of a large cluster never is. */
  networks: Map<string, Attachment>;
}

export interface PeerEvents {
  /** The peer failed or came back; `peer.state` tells which. */
  reachability(peer: Peer): void;
  /** The peer left the cluster for good. */
  gone(peer: Peer): void;
  attached(peer: Peer, networkId: string): void;
  detached(peer: Peer, networkId: string): void;
}

export interface PeerTableOptions {
  readonly self: string;
  readonly now: () => number;
  readonly drops: Counters;
  readonly events: PeerEvents;
  /** (node, network) pairs that are remembered. */
  readonly maxAttachments: number;
}

const NOBODY: readonly Peer[] = [];
const NO_NETWORKS = new Map<string, Attachment>();

/** The other nodes and the networks that they are on. BOUNDED by memberlist's members, and by `maxAttachments`. */
export class PeerTable {
  readonly #options: PeerTableOptions;
  readonly #peers = new Map<string, Peer>();
  readonly #byNetwork = new Map<string, Set<Peer>>();
  /** Living peers per network; made anew after a change. */
  readonly #activeOn = new Map<string, readonly Peer[]>();
  /** The name at each address that was heard last, of a living peer if there is one. */
  readonly #byAddress = new Map<string, string>();
  /** Peers that are or were on a network. */
  readonly #attached = new Set<Peer>();
  readonly #failed = new Set<Peer>();
  #attachments = 0;
  #alive = 0;

  constructor(options: PeerTableOptions) {
    this.#options = options;
  }

  get(name: string): Peer | undefined {
    return this.#peers.get(name);
  }

  all(): Peer[] {
    return [...this.#peers.values()];
  }

  /** Peers that failed and have not come back. */
  failed(): Peer[] {
    return [...this.#failed];
  }

  /** Hosts of peers that failed and at which no other has taken the place. */
  failedHosts(): string[] {
    if (this.#failed.size === 0) return [];
    const alive = new Set(this.all().flatMap((peer) => (peer.state === 'alive' ? peer.address.host : [])));
    return [...new Set(this.failed().map(({ address }) => address.host))].filter((host) => !alive.has(host));
  }

  isReachable(name: string): boolean {
    return name === this.#options.self || this.#peers.get(name)?.state === 'alive';
  }

  get aliveCount(): number {
    return this.#alive;
  }

  /** Whether a living peer is at `host:port`. */
  isAliveAt(address: string): boolean {
    const name = this.#byAddress.get(address);
    return name !== undefined && this.#peers.get(name)?.state === 'alive';
  }

  isOn(name: string, networkId: string): boolean {
    const attachment = this.#peers.get(name)?.networks.get(networkId);
    return attachment !== undefined && !attachment.leaving;
  }

  /** Every known (node, network) pair, for a push/pull. */
  *attachments(): Generator<NetworkEntry> {
    for (const { name, networks } of this.#attached) {
      for (const [networkId, { lTime, leaving }] of networks) yield { networkId, lTime, nodeName: name, leaving };
    }
  }

  /** Living peers on a network. */
  activeOn(networkId: string): readonly Peer[] {
    let active = this.#activeOn.get(networkId);
    if (!active) {
      const peers = this.#byNetwork.get(networkId);
      active = peers ? [...peers].filter((peer) => peer.state === 'alive') : NOBODY;
      if (peers) this.#activeOn.set(networkId, active);
    }
    return active;
  }

  /**
   * memberlist says that a node is there.
   * @returns who was held to be at its address: a former life of the same daemon, or a later one that was heard of sooner.
   */
  memberJoined(name: string, address: Address): Peer | undefined {
    const place = formatAddress(address);
    const tenant = this.#byAddress.get(place);
    this.#byAddress.set(place, name);
    const peer = this.#peers.get(name);
    if (peer) {
      peer.address = address;
      this.#setState(peer, 'alive');
    } else {
      const since = this.#options.now();
      this.#peers.set(name, {
        name,
        address,
        state: 'alive',
        lTime: 0,
        since,
        syncedAt: new Map(),
        networks: NO_NETWORKS,
      });
      this.#alive++;
    }
    return tenant === undefined || tenant === name ? undefined : this.#peers.get(tenant);
  }

  /**
   * memberlist lost a node. With a living one at its address it will not come back.
   * @returns that one.
   */
  memberFailed(name: string): Peer | undefined {
    const peer = this.#peers.get(name);
    if (peer?.state !== 'alive') return undefined;
    const successor = this.#otherAt(peer);
    this.#setState(peer, successor ? 'left' : 'failed');
    return successor;
  }

  /** Another living peer at a peer's address. */
  #otherAt({ name, address }: Peer): Peer | undefined {
    const { host, port } = address;
    for (const other of this.#peers.values()) {
      const isThere = other.address.host === host && other.address.port === port;
      if (isThere && other.name !== name && other.state === 'alive') return other;
    }
    return undefined;
  }

  /** A node is gone for good. */
  left(name: string): void {
    const peer = this.#peers.get(name);
    if (peer && peer.state !== 'left') this.#setState(peer, 'left');
  }

  #setState(peer: Peer, state: PeerState): void {
    if (peer.state === state) return;
    const before = peer.state;
    if (peer.state === 'alive') this.#alive--;
    if (state === 'alive') this.#alive++;
    peer.state = state;
    peer.since = this.#options.now();
    if (state === 'failed') this.#failed.add(peer);
    else this.#failed.delete(peer);
    for (const networkId of peer.networks.keys()) this.#activeOn.delete(networkId);
    if (state === 'left') {
      const successor = this.#otherAt(peer);
      if (successor) this.#byAddress.set(formatAddress(peer.address), successor.name);
      this.#forgetAttachments(peer);
      this.#options.events.gone(peer);
    } else if (before !== 'left') this.#options.events.reachability(peer);
  }

  #forgetAttachments(peer: Peer): void {
    for (const networkId of peer.networks.keys()) this.#unlink(peer, networkId);
    this.#attachments -= peer.networks.size;
    peer.networks = NO_NETWORKS;
    this.#attached.delete(peer);
  }

  /** Applies a node event; true when it is news. */
  nodeEvent({ type, lTime, nodeName }: NodeEvent): boolean {
    const peer = this.#peers.get(nodeName);
    if (!peer || lTime <= peer.lTime) return false;
    peer.lTime = lTime;
    // Only memberlist brings the failed and the gone back: it alone would notice if they were lost again.
    if (peer.state !== 'alive' || type !== 'leave') return false;
    this.#setState(peer, 'left');
    return true;
  }

  /** Applies a network event; true when it is news. */
  networkEvent({ type, lTime, nodeName, networkId }: NetworkEvent): boolean {
    const peer = this.#peers.get(nodeName);
    const known = peer?.networks.get(networkId);
    if (!peer || (!known && (type === 'leave' || peer.state === 'left'))) return false;
    if (!known && this.#attachments >= this.#options.maxAttachments) {
      this.#options.drops.add('too-many-attachments');
      return false;
    }
    if (known && lTime <= known.lTime) return false;
    const attachment = { lTime, leaving: type === 'leave', since: this.#options.now() };
    if (peer.networks === NO_NETWORKS) {
      peer.networks = new Map();
      this.#attached.add(peer);
    }
    peer.networks.set(networkId, attachment);
    if (!known) this.#attachments++;
    const wasOn = known !== undefined && !known.leaving;
    if (attachment.leaving && wasOn) {
      this.#unlink(peer, networkId);
      this.#options.events.detached(peer, networkId);
    } else if (!attachment.leaving && !wasOn) {
      this.#link(peer, networkId);
      this.#options.events.attached(peer, networkId);
    }
    return true;
  }

  #link(peer: Peer, networkId: string): void {
    getOrCreate(this.#byNetwork, networkId, () => new Set<Peer>()).add(peer);
    this.#activeOn.delete(networkId);
  }

  #unlink(peer: Peer, networkId: string): void {
    const peers = this.#byNetwork.get(networkId);
    peers?.delete(peer);
    if (peers?.size === 0) this.#byNetwork.delete(networkId);
    this.#activeOn.delete(networkId);
  }

  /** Forgets networks left before `networksBefore`, and peers lost or gone before `peersBefore` (clock times in ms). */
  reap(networksBefore: number, peersBefore: number): void {
    for (const peer of this.#peers.values()) {
      for (const [networkId, { leaving, since }] of peer.networks) {
        if (!leaving || since > networksBefore) continue;
        peer.networks.delete(networkId);
        this.#attachments--;
      }
      if (peer.state === 'alive' || peer.since > peersBefore) continue;
      this.left(peer.name);
      this.#peers.delete(peer.name);
      const place = formatAddress(peer.address);
      if (this.#byAddress.get(place) === peer.name) this.#byAddress.delete(place);
    }
  }
}
