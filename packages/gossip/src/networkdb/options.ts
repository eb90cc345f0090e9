import type { Channel, MemberlistConfig } from '../memberlist/index.ts';
import type { Clock, Logger, Random } from '../runtime/index.ts';
import type { SocketFactory, Transport } from '../transport/index.ts';
import type { GossipCodec } from './codec.ts';
import type { NetworkDBConfig } from './config.ts';

/** What a NetworkDB needs to know; everything has a default but the address that the others use. */
export interface NetworkDBOptions {
  /** Name in the cluster, 12 random hex characters by default. Never re-use one: it is new at every start. */
  readonly nodeName?: string;
  /** IP to bind; 0.0.0.0 by default, which stands for all addresses of both families, as `::` does. */
  readonly bindAddress?: string;
  /** IP at which the others reach this node; the bind address by default. */
  readonly advertiseAddress?: string;
  /** UDP and TCP port, 7946 by default; 0 takes a free one. Peers without a port in their address are sought at it too. */
  readonly port?: number;
  /** The gossip keys, 16 bytes each; none means that nothing is encrypted. */
  readonly keys?: readonly Uint8Array[];
  /** The key that encrypts; the first by default. Of a swarm's three, the second-oldest. */
  readonly primary?: Uint8Array;
  /** Opens the sockets, for example in another network namespace. */
  readonly sockets?: SocketFactory;
  /** In place of sockets. Closed with the NetworkDB. */
  readonly transport?: Transport;
  /** In place of a transport, without bytes: for simulations. */
  readonly channel?: Channel;
  readonly codec?: GossipCodec;
  readonly clock?: Clock;
  readonly random?: Random;
  readonly logger?: Logger;
  readonly config?: Partial<NetworkDBConfig>;
  readonly memberlist?: Partial<MemberlistConfig>;
}

/** Another node, for diagnosis. */
export interface PeerInfo {
  readonly name: string;
  readonly address: string;
  readonly state: 'alive' | 'suspect' | 'failed' | 'left';
  readonly networks: readonly string[];
}

/** Counters since the start. */
export interface NetworkDBStats {
  /** Table events that arrived, per network, those refused among them. */
  readonly tableEventsReceived: Readonly<Record<string, number>>;
  /** Input that was refused, by cause. */
  readonly drops: Readonly<Record<string, number>>;
  /** Lifeguard's score of this node: 0 is well. */
  readonly localHealth: number;
  /** Living nodes, this one among them. */
  readonly members: number;
  /** How often a peer was lost. */
  readonly failures: number;
  readonly entries: Readonly<Record<string, number>>;
}

/** A call that does not fit the database's state. */
export class NetworkDBError extends Error {
  override readonly name = 'NetworkDBError';
  readonly code: 'not-attached' | 'exists' | 'not-found' | 'full' | 'not-running';

  constructor(code: NetworkDBError['code'], message: string) {
    super(message);
    this.code = code;
  }
}
