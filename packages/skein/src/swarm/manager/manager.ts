import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { clone, create } from '@bufbuild/protobuf';
import { type Logger, systemClock } from '../../common/index.ts';
import { NodeSchema } from '../gen/objects_pb.js';
import type { ClusterSpec, NodeSpec_Availability } from '../gen/specs_pb.js';
import { ManagerStatus_Reachability, ManagerStatusSchema, type RootCA, RootCASchema } from '../gen/types_pb.js';
import { type CertificateAuthority, generateJoinToken, type NodeIdentity, rootDigest } from '../identity/index.ts';
import { openStore, type Store } from '../store/index.ts';
import { Quarantine } from './allocator/index.ts';
import { createControl } from './control/index.ts';
import { type LocalRoute, startManagerLoops } from './loops.ts';
import { createClusterObjects } from './predefined.ts';
import { type ManagerServer, startManagerServer } from './server/index.ts';
import type { ClusterLogs, Control, HostWitness } from './types.ts';

/** What a new cluster begins with; the rest follows from the first manager's identity. */
export interface NewClusterOptions {
  readonly clusterId: string;
  readonly authority: CertificateAuthority;
  readonly availability: NodeSpec_Availability;
  readonly defaultAddressPool: readonly string[];
  readonly subnetSize: number;
  readonly dataPathPort: number;
  readonly spec: ClusterSpec | undefined;
}

export interface ManagerOptions {
  /** Where the store lies. */
  readonly directory: string;
  readonly identity: NodeIdentity;
  readonly listen: { readonly host: string; readonly port: number };
  /** `host:port` that other nodes reach this manager at. */
  readonly advertise: string;
  readonly logger: Logger;
  /** The routes of this host, which networks must not overlap. */
  readonly localRoutes?: (() => readonly LocalRoute[]) | undefined;
  /** What this host knows of the hosts of the nodes. */
  readonly witness?: HostWitness | undefined;
  /** Given once, by init. */
  readonly newCluster?: NewClusterOptions;
}

/** A running manager: the store, the loops that work on it, and the port that serves the nodes. */
export class Manager implements AsyncDisposable {
  readonly control: Control;
  readonly logs: ClusterLogs;
  readonly #parts: AsyncDisposableStack;

  private constructor(control: Control, server: ManagerServer, parts: AsyncDisposableStack) {
    this.control = control;
    this.logs = server.logs;
    this.#parts = parts;
  }

  /** @throws Error when the store cannot be opened or the port cannot be bound; nothing is left running then. */
  static async start(options: ManagerOptions): Promise<Manager> {
    const { identity, logger, localRoutes, witness } = options;
    await using parts = new AsyncDisposableStack();
    mkdirSync(options.directory, { recursive: true, mode: 0o700 });
    const store = parts.use(openStore({ path: join(options.directory, 'store.db'), logger }));
    if (options.newCluster) createCluster(store, options, options.newCluster);
    announceManager(store, identity.nodeId, options.advertise);
    // Before the first node can say that a task has ended.
    const quarantine = parts.use(new Quarantine(store, systemClock));
    const server = parts.use(
      await startManagerServer({
        listen: options.listen,
        store,
        identity,
        clusterId: identity.credentials.organization,
        clock: systemClock,
        logger,
        witness,
      }),
    );
    parts.use(startManagerLoops({ store, clock: systemClock, logger, localRoutes, quarantine }));
    const control = createControl({ store, logger, localRoutes, quarantine });
    return new Manager(control, server, parts.move());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#parts.disposeAsync();
  }
}

function createCluster(store: Store, { identity, localRoutes }: ManagerOptions, cluster: NewClusterOptions): void {
  createClusterObjects(store, {
    ...cluster,
    rootCa: rootCaObject(cluster.authority),
    node: {
      id: identity.nodeId,
      availability: cluster.availability,
      certificate: Buffer.from(identity.credentials.certificate, 'latin1'),
    },
    allocation: { localRoutes },
  });
}

function rootCaObject(authority: CertificateAuthority): RootCA {
  return create(RootCASchema, {
    caKey: Buffer.from(authority.key, 'latin1'),
    caCert: Buffer.from(authority.certificate, 'latin1'),
    caCertHash: `sha256:${rootDigest(authority.certificate)}`,
    joinTokens: { worker: generateJoinToken(authority.certificate), manager: generateJoinToken(authority.certificate) },
  });
}

/** This node leads, at this address: what `node ls` shows and the other nodes are told. */
function announceManager(store: Store, nodeId: string, address: string): void {
  store.update((transaction) => {
    const stored = transaction.get('node', nodeId);
    if (!stored) throw new Error(`the store does not know this manager's node ${nodeId}`);
    const node = clone(NodeSchema, stored);
    node.managerStatus = create(ManagerStatusSchema, {
      addr: address,
      leader: true,
      reachability: ManagerStatus_Reachability.REACHABLE,
    });
    transaction.update('node', node);
  });
}
