import { randomBytes } from 'node:crypto';
import { type Logger as GossipLogger, NetworkDB, type NetworkDBStats, type PeerInfo } from '@skein/gossip';
import type { LoadBalancer } from '../balancer/types.ts';
import { errorText, type Logger, SkeinError } from '../common/index.ts';
import type { Discovery } from '../discovery/types.ts';
import type { OverlayDriver } from '../overlay/types.ts';
import type { EncryptionKey, WeightedPeer } from '../swarm/gen/types_pb.js';
import { plainAddress } from './overlay-network.ts';

/** Subsystem of the gossip keys (swarmkit manager/keymanager). */
const gossipSubsystem = 'networking:gossip';
/** Keys per subsystem: previous, current, next (libnetwork agent.go). */
const keysPerSubsystem = 3;
/** TCP and UDP port of the gossip on every node (libnetwork networkdb). */
export const gossipPort = 7946;
/** VXLAN's port when the cluster names none (RFC 7348). */
const defaultDataPathPort = 4789;

/** Where this host's gossip and VXLAN stand. */
export interface ClusterAddresses {
  /** Address that gossip binds. */
  readonly bind: string;
  /** Address that other nodes reach it at. */
  readonly advertise: string;
  /** VTEP address. */
  readonly dataPath: string;
}

/** A host's gossip as it stands. */
export interface GossipReport extends Pick<NetworkDBStats, 'drops' | 'localHealth' | 'entries'> {
  readonly nodeName: string;
  readonly peers: readonly PeerInfo[];
  /** IDs of the networks that this host is on. */
  readonly networks: readonly string[];
  /** Table events received since the start, by network. */
  readonly tableEvents: Readonly<Record<string, number>>;
}

/**
 * This host's membership in the cluster's gossip: begins when the manager has sent the first keys, follows their
 * rotation and the list of managers, and hands the gossip to the overlay driver and to discovery.
 */
export class ClusterNetwork implements AsyncDisposable {
  readonly #nodeId: string;
  readonly #addresses: ClusterAddresses;
  readonly #overlay: OverlayDriver;
  readonly #discovery: Discovery;
  readonly #balancer: LoadBalancer;
  readonly #logger: Logger;
  #gossip: NetworkDB | undefined;
  #keyTimes = '';
  #managers: string[] = [];
  #joined = Promise.withResolvers<void>();
  #dataPathPort = defaultDataPathPort;

  constructor(options: {
    nodeId: string;
    addresses: ClusterAddresses;
    overlay: OverlayDriver;
    discovery: Discovery;
    balancer: LoadBalancer;
    logger: Logger;
  }) {
    this.#nodeId = options.nodeId;
    this.#addresses = options.addresses;
    this.#overlay = options.overlay;
    this.#discovery = options.discovery;
    this.#balancer = options.balancer;
    this.#logger = options.logger;
  }

  /** What the gossip knows and has counted, for diagnosis; undefined before the first keys. */
  report(): GossipReport | undefined {
    const gossip = this.#gossip;
    if (!gossip) return undefined;
    const { tableEventsReceived: tableEvents, drops, localHealth, entries } = gossip.stats();
    return {
      nodeName: gossip.nodeName,
      peers: gossip.peers(),
      networks: gossip.networks(),
      tableEvents,
      drops,
      localHealth,
      entries,
    };
  }

  /** Hosts that the gossip holds for dead. */
  lost(): readonly string[] {
    return this.#gossip?.failedHosts() ?? [];
  }

  /** Whether a host answers, be it only with a refusal. Never rejects. */
  async answers(address: string): Promise<boolean> {
    return (await this.#gossip?.hostAnswers(address)) ?? false;
  }

  /** Resolves once overlay and discovery are connected to the gossip. @throws SkeinError Unavailable when `signal` aborts before. */
  async joined(signal: AbortSignal): Promise<void> {
    const aborted = Promise.withResolvers<never>();
    const abort = (): void =>
      aborted.reject(
        new SkeinError('Unavailable', "the node is not in the cluster's gossip: no network keys from a manager yet", {
          cause: signal.reason,
        }),
      );
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    try {
      await Promise.race([this.#joined.promise, aborted.promise]);
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  /** The cluster's VXLAN port, before the gossip begins; 0 = 4789. */
  setDataPathPort(port: number): void {
    this.#dataPathPort = port || defaultDataPathPort;
  }

  /** Bootstrap peers: the managers' hosts but this one. */
  async setManagers(managers: readonly WeightedPeer[]): Promise<void> {
    this.#managers = managers
      .filter((manager) => manager.peer && manager.peer.nodeId !== this.#nodeId && manager.peer.addr !== '')
      .map((manager) => hostOf(manager.peer?.addr ?? ''));
    await this.#bootstrap();
  }

  /** New key set. The first one starts the gossip. @throws Error when a subsystem has not three keys. */
  async setKeys(keys: readonly EncryptionKey[]): Promise<void> {
    const gossipKeys = keys
      .filter((key) => key.subsystem === gossipSubsystem)
      .sort((a, b) => (a.lamportTime < b.lamportTime ? -1 : 1));
    const [previous, current, next] = gossipKeys;
    if (gossipKeys.length !== keysPerSubsystem || !previous || !current || !next) {
      throw new Error(
        `incorrect number of keys for subsystem ${gossipSubsystem}: ${gossipKeys.length}, want ${keysPerSubsystem}`,
      );
    }
    const times = gossipKeys.map((key) => key.lamportTime).join();
    if (times === this.#keyTimes) return;
    const all = [current.key, previous.key, next.key];
    if (this.#gossip) this.#gossip.setKeys(all, current.key);
    else await this.#start(all, current.key);
    this.#keyTimes = times;
  }

  /** Leaves the gossip. `removeGateway`: the host leaves the swarm, its gateway network goes as well. */
  async leave(options: { removeGateway: boolean }): Promise<void> {
    await using gossip = this.#gossip;
    this.#gossip = undefined;
    this.#keyTimes = '';
    this.#joined = Promise.withResolvers<void>();
    this.#discovery.leaveCluster();
    this.#balancer.leaveCluster();
    try {
      await this.#overlay.leaveCluster(options);
    } finally {
      await gossip?.leave();
    }
  }

  /** Stops without leaving a trace in the kernel's state: containers' traffic goes on while the daemon is away. */
  async [Symbol.asyncDispose](): Promise<void> {
    const gossip = this.#gossip;
    this.#gossip = undefined;
    await gossip?.[Symbol.asyncDispose]();
  }

  async #start(keys: Uint8Array[], primary: Uint8Array): Promise<void> {
    const gossip = new NetworkDB({
      nodeName: randomBytes(6).toString('hex'),
      bindAddress: this.#addresses.bind,
      advertiseAddress: this.#addresses.advertise,
      port: gossipPort,
      keys,
      primary,
      logger: gossipLogger(this.#logger),
    });
    try {
      await gossip.start();
      this.#gossip = gossip;
      await this.#bootstrap();
      const vtep = plainAddress(this.#addresses.dataPath);
      await this.#overlay.joinCluster({ gossip, vtep, dataPathPort: this.#dataPathPort });
      this.#discovery.joinCluster(gossip);
      this.#balancer.joinCluster(gossip);
      this.#joined.resolve();
    } catch (error) {
      this.#gossip = undefined;
      await gossip[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #bootstrap(): Promise<void> {
    if (!this.#gossip || this.#managers.length === 0) return;
    try {
      await this.#gossip.bootstrap(this.#managers);
    } catch (error) {
      // The gossip itself keeps trying its bootstrap addresses; here the user only learns why nobody is there yet.
      this.#logger.warn({ err: error, managers: this.#managers }, 'gossip: no manager answered yet');
    }
  }
}

function hostOf(address: string): string {
  return address.replace(/:\d+$/, '').replace(/^\[|\]$/g, '');
}

/** pino takes the detail first, and errors as text. */
function gossipLogger(logger: Logger): GossipLogger {
  const log =
    (level: 'debug' | 'info' | 'warn') =>
    (message: string, detail: { readonly error?: unknown } = {}): void => {
      const { error, ...rest } = detail;
      logger[level](error === undefined ? rest : { ...rest, error: errorText(error) }, message);
    };
  return { debug: log('debug'), info: log('info'), warn: log('warn') };
}
