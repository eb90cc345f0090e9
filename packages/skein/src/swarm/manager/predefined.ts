import { clone, create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import { newObjectId } from '../../common/index.ts';
import { type Cluster, ClusterSchema, NetworkSchema, NodeSchema } from '../gen/objects_pb.js';
import {
  type ClusterSpec,
  ClusterSpecSchema,
  type NodeSpec_Availability,
  NodeSpec_Membership,
} from '../gen/specs_pb.js';
import {
  AnnotationsSchema,
  CAConfigSchema,
  DispatcherConfigSchema,
  EncryptionConfigSchema,
  IssuanceStatus_State,
  NodeRole,
  OrchestrationConfigSchema,
  type RaftConfig,
  RaftConfigSchema,
  type RootCA,
  TaskDefaultsSchema,
} from '../gen/types_pb.js';
import type { Store, WriteTransaction } from '../store/index.ts';
import {
  allocateNetwork,
  checkAddressPools,
  type NetworkAllocationOptions,
  predefinedLabel,
} from './allocator/index.ts';
import { createBootstrapKeys } from './keymanager.ts';

/** The name of every swarm's cluster object. */
export const clusterName = 'default';
/** swarmkit api/defaults: the spec of a new cluster. */
const heartbeatPeriodMs = 5_000;
const nodeCertificateExpiryMs = 90 * 24 * 3_600_000;
const taskHistoryRetentionLimit = 5n;
const raftDefaults = {
  snapshotInterval: 10_000n,
  keepOldSnapshots: 0n,
  logEntriesForSlowFollowers: 500n,
  heartbeatTick: 1,
  electionTick: 10,
};
/** Networks that every node has of its own. */
const predefinedNetworks = ['bridge', 'host'] as const;

export interface NewCluster {
  readonly clusterId: string;
  readonly rootCa: RootCA;
  /** CIDRs that subnets are taken from; empty for 10.0.0.0/8. */
  readonly defaultAddressPool: readonly string[];
  /** Prefix length of those subnets; 0 for 24. */
  readonly subnetSize: number;
  /** UDP port of the VXLAN data path; 0 for 4789. */
  readonly dataPathPort: number;
  /** What the user gave with `swarm init`; parts left out get their defaults. */
  readonly spec: ClusterSpec | undefined;
  /** The first manager. */
  readonly node: {
    readonly id: string;
    readonly availability: NodeSpec_Availability;
    /** Its certificate in PEM, with the intermediates. */
    readonly certificate: Uint8Array;
  };
  readonly allocation?: NetworkAllocationOptions;
}

/** Makes the objects that a new cluster starts with: the cluster, its first manager, the ingress network, `bridge` and `host`. Once: a store that has a cluster is left as it is. */
export function createClusterObjects(store: Store, options: NewCluster): Cluster {
  checkAddressPools(options.defaultAddressPool, options.subnetSize);
  return store.update((tx) => {
    const existing = tx.findByName('cluster', clusterName);
    if (existing) return existing;
    const cluster = create(ClusterSchema, {
      id: options.clusterId,
      spec: clusterSpec(options.spec),
      rootCa: options.rootCa,
      defaultAddressPool: [...options.defaultAddressPool],
      subnetSize: options.subnetSize,
      vxlanUdpPort: options.dataPathPort,
    });
    createBootstrapKeys(cluster);
    tx.create('cluster', cluster);
    createFirstManager(tx, options);
    createIngress(tx, options.allocation);
    for (const name of predefinedNetworks) createPredefined(tx, name);
    return cluster;
  });
}

/** @returns the raft settings, those left at 0 by their defaults. Kept for their readers: Skein runs no raft. */
function raftConfig(given: RaftConfig | undefined): RaftConfig {
  const raft = create(RaftConfigSchema, raftDefaults);
  if (given?.snapshotInterval) raft.snapshotInterval = given.snapshotInterval;
  if (given?.keepOldSnapshots) raft.keepOldSnapshots = given.keepOldSnapshots;
  if (given?.logEntriesForSlowFollowers) raft.logEntriesForSlowFollowers = given.logEntriesForSlowFollowers;
  if (given?.heartbeatTick) raft.heartbeatTick = given.heartbeatTick;
  if (given?.electionTick) raft.electionTick = given.electionTick;
  return raft;
}

/** @returns a cluster's spec with swarmkit's defaults where the given one says nothing. */
function clusterSpec(given: ClusterSpec | undefined): ClusterSpec {
  const spec = given ? clone(ClusterSpecSchema, given) : create(ClusterSpecSchema);
  spec.annotations ??= create(AnnotationsSchema);
  spec.annotations.name = clusterName;
  spec.orchestration ??= create(OrchestrationConfigSchema, { taskHistoryRetentionLimit });
  spec.raft = raftConfig(spec.raft);
  spec.dispatcher ??= create(DispatcherConfigSchema);
  spec.dispatcher.heartbeatPeriod ??= durationFromMs(heartbeatPeriodMs);
  spec.caConfig ??= create(CAConfigSchema);
  spec.caConfig.nodeCertExpiry ??= durationFromMs(nodeCertificateExpiryMs);
  spec.taskDefaults ??= create(TaskDefaultsSchema);
  spec.encryptionConfig ??= create(EncryptionConfigSchema);
  return spec;
}

function createFirstManager(tx: WriteTransaction, { node, dataPathPort }: NewCluster): void {
  const { id, availability, certificate } = node;
  const manager = create(NodeSchema, {
    id,
    vxlanUdpPort: dataPathPort,
    spec: { desiredRole: NodeRole.MANAGER, membership: NodeSpec_Membership.ACCEPTED, availability },
    role: NodeRole.MANAGER,
    certificate: { role: NodeRole.MANAGER, cn: id, certificate, status: { state: IssuanceStatus_State.ISSUED } },
  });
  tx.create('node', manager);
}

function createIngress(tx: WriteTransaction, allocation: NetworkAllocationOptions | undefined): void {
  const ingress = create(NetworkSchema, {
    id: newObjectId(),
    spec: { annotations: { name: 'ingress' }, driverConfig: {}, ipam: { driver: {} }, ingress: true },
  });
  allocateNetwork(tx, ingress, allocation);
  tx.create('network', ingress);
}

function createPredefined(tx: WriteTransaction, name: string): void {
  const network = create(NetworkSchema, {
    id: newObjectId(),
    spec: { annotations: { name, labels: { [predefinedLabel]: 'true' } }, driverConfig: { name } },
  });
  allocateNetwork(tx, network);
  tx.create('network', network);
}
