/** What the manager offers to the engine: swarmkit's Control service as one interface, in swarmkit's messages. */
import type { Cluster, Config, Network, Node, Secret, Service, Task } from '../gen/objects_pb.js';
import type { ClusterSpec, ConfigSpec, NetworkSpec, NodeSpec, SecretSpec, ServiceSpec } from '../gen/specs_pb.js';
import type { IPAMConfig } from '../gen/types_pb.js';
import type { Store } from '../store/types.ts';

/** What the manager's own host knows of the hosts of other nodes. */
export interface HostWitness {
  /** IP addresses of hosts that the cluster's gossip holds for dead. */
  lost(): readonly string[];
  /** Whether a host answers, be it only to refuse a connection. Never rejects. */
  answers(address: string): Promise<boolean>;
}

/** Lookups by ID, exact name or unique ID prefix (`find…`) follow Docker: @throws RpcError/SkeinError NotFound `service X not found`, InvalidArgument `service X is ambiguous (N matches found)`. */
export interface Control {
  /** For lists and progress: the store's read side. */
  readonly store: Pick<Store, 'view' | 'watch'>;

  cluster(): Cluster;
  updateCluster(
    version: bigint,
    spec: ClusterSpec,
    rotation: { workerToken: boolean; managerToken: boolean; unlockKey: boolean },
  ): Cluster;

  findNode(reference: string): Node;
  updateNode(id: string, version: bigint, spec: NodeSpec): Node;
  removeNode(id: string, force: boolean): void;

  createNetwork(spec: NetworkSpec): Network;
  findNetwork(reference: string): Network;
  /** Adds subnets behind those that the network has; an empty `subnet` has a free one chosen. @throws RpcError */
  growNetwork(id: string, subnets: readonly IPAMConfig[]): Network;
  /** @throws RpcError FailedPrecondition `network X is in use by service Y` / `… by task Z`. */
  removeNetwork(id: string): void;

  createService(spec: ServiceSpec): Service;
  findService(reference: string): Service;
  updateService(id: string, version: bigint, spec: ServiceSpec, options: { rollback: 'none' | 'previous' }): Service;
  removeService(id: string): void;

  findTask(reference: string): Task;
  removeTask(id: string): void;

  createSecret(spec: SecretSpec): Secret;
  findSecret(reference: string): Secret;
  updateSecret(id: string, version: bigint, spec: SecretSpec): Secret;
  removeSecret(id: string): void;

  createConfig(spec: ConfigSpec): Config;
  findConfig(reference: string): Config;
  updateConfig(id: string, version: bigint, spec: ConfigSpec): Config;
  removeConfig(id: string): void;
}

/** One line of `service logs`, as the workers published it. */
export interface ClusterLogMessage {
  readonly nodeId: string;
  readonly serviceId: string;
  readonly taskId: string;
  readonly stream: 'stdout' | 'stderr';
  /** RFC 3339 with nanoseconds, '' if unknown. */
  readonly timestamp: string;
  readonly data: Uint8Array;
  readonly attributes: Readonly<Record<string, string>>;
}

export interface ClusterLogRequest {
  readonly serviceIds: readonly string[];
  readonly taskIds: readonly string[];
  readonly follow: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tail?: number;
  readonly since?: bigint;
  readonly signal: AbortSignal;
}

/** The log broker's manager side. */
export interface ClusterLogs {
  subscribe(request: ClusterLogRequest): AsyncIterable<ClusterLogMessage>;
}
