/** Docker's Swarm, ClusterInfo and Spec ↔ swarmkit's Cluster and ClusterSpec (moby daemon/cluster/convert/swarm.go). */
import 'reflect-metadata';
import { clone, create } from '@bufbuild/protobuf';
import { X509Certificate } from '@peculiar/x509';
import { type Cluster, ClusterSchema } from '../../swarm/gen/objects_pb.js';
import { type ClusterSpec, ClusterSpecSchema } from '../../swarm/gen/specs_pb.js';
import {
  type Annotations,
  AnnotationsSchema,
  type CAConfig,
  CAConfigSchema,
  ExternalCA_CAProtocol as CAProtocol,
  DispatcherConfigSchema,
  EncryptionConfigSchema,
  ExternalCASchema,
  OrchestrationConfigSchema,
  type RaftConfig,
  RaftConfigSchema,
  TaskDefaultsSchema,
} from '../../swarm/gen/types_pb.js';
import { isObject, type JsonObject, member } from '../json.ts';
import { always, type Field, field, optional, struct, table } from './codec.ts';
import { annotations, driver, meta } from './common.ts';
import { bytesAsText, duration, flag, int64, list, map, text, uint32, uint64, words } from './values.ts';

/** Port of VXLAN when the cluster does not say (IANA). */
const defaultDataPathPort = 4789;
/** Prefix length of a network's subnet when the cluster does not say. */
const defaultSubnetSize = 24;

const externalCa = table(ExternalCASchema, [
  always(
    'Protocol',
    'protocol',
    words({ cfssl: CAProtocol.CFSSL }, (word) => `invalid protocol: "${word}"`),
  ),
  always('URL', 'url', text),
  field('Options', 'options', map),
  always('CACert', 'caCert', bytesAsText),
]);

/** Taken, never sent: the key is secret, and a certificate without its key would undo itself at the next update. */
function takenOnly<M>(taken: Field<M>): Field<M> {
  return { encode: () => {}, decode: taken.decode };
}

const clusterSpec = table(ClusterSpecSchema, [
  annotations,
  struct(
    'Orchestration',
    'orchestration',
    OrchestrationConfigSchema,
    table(OrchestrationConfigSchema, [always('TaskHistoryRetentionLimit', 'taskHistoryRetentionLimit', int64)]),
  ),
  struct(
    'Raft',
    'raft',
    RaftConfigSchema,
    table(RaftConfigSchema, [
      field('SnapshotInterval', 'snapshotInterval', uint64),
      always('KeepOldSnapshots', 'keepOldSnapshots', uint64),
      field('LogEntriesForSlowFollowers', 'logEntriesForSlowFollowers', uint64),
      always('ElectionTick', 'electionTick', uint32),
      always('HeartbeatTick', 'heartbeatTick', uint32),
    ]),
  ),
  struct(
    'Dispatcher',
    'dispatcher',
    DispatcherConfigSchema,
    table(DispatcherConfigSchema, [optional('HeartbeatPeriod', 'heartbeatPeriod', duration)]),
  ),
  struct(
    'CAConfig',
    'caConfig',
    CAConfigSchema,
    table(CAConfigSchema, [
      optional('NodeCertExpiry', 'nodeCertExpiry', duration),
      field('ExternalCAs', 'externalCas', list(externalCa)),
      takenOnly(field('SigningCACert', 'signingCaCert', bytesAsText)),
      takenOnly(field('SigningCAKey', 'signingCaKey', bytesAsText)),
      field('ForceRotate', 'forceRotate', uint64),
    ]),
  ),
  struct(
    'TaskDefaults',
    'taskDefaults',
    TaskDefaultsSchema,
    table(TaskDefaultsSchema, [optional('LogDriver', 'logDriver', driver)]),
  ),
  struct(
    'EncryptionConfig',
    'encryptionConfig',
    EncryptionConfigSchema,
    table(EncryptionConfigSchema, [always('AutoLockManagers', 'autoLockManagers', flag)]),
  ),
]);

/**
 * @returns `initial` with what the JSON spec says; a member that is missing or zero keeps the initial value
 * (convert.MergeSwarmSpecToGRPC). @throws SkeinError InvalidArgument.
 */
export function mergeClusterSpec(json: unknown, path: string, initial = create(ClusterSpecSchema)): ClusterSpec {
  const given = clusterSpec.decode(json, path);
  const merged = clone(ClusterSpecSchema, initial);
  merged.annotations = mergeAnnotations(merged.annotations, given.annotations);
  if (isGiven(json, 'Orchestration', 'TaskHistoryRetentionLimit')) merged.orchestration = given.orchestration;
  if (given.raft !== undefined) merged.raft = mergeRaft(merged.raft, given.raft, json);
  const heartbeat = given.dispatcher?.heartbeatPeriod;
  if (heartbeat !== undefined && !duration.isZero(heartbeat)) merged.dispatcher = given.dispatcher;
  if (given.caConfig !== undefined) merged.caConfig = mergeCa(merged.caConfig, given.caConfig, json);
  if (given.taskDefaults !== undefined) merged.taskDefaults = given.taskDefaults;
  if (given.encryptionConfig !== undefined) merged.encryptionConfig = given.encryptionConfig;
  return merged;
}

function mergeAnnotations(current: Annotations | undefined, given: Annotations | undefined): Annotations {
  const merged = current ?? create(AnnotationsSchema);
  if (given !== undefined && given.name !== '') merged.name = given.name;
  if (given !== undefined && Object.keys(given.labels).length > 0) merged.labels = given.labels;
  return merged;
}

function mergeRaft(current: RaftConfig | undefined, given: RaftConfig, json: unknown): RaftConfig {
  const merged = current ?? create(RaftConfigSchema);
  merged.snapshotInterval = given.snapshotInterval || merged.snapshotInterval;
  if (isGiven(json, 'Raft', 'KeepOldSnapshots')) merged.keepOldSnapshots = given.keepOldSnapshots;
  merged.logEntriesForSlowFollowers = given.logEntriesForSlowFollowers || merged.logEntriesForSlowFollowers;
  merged.heartbeatTick = given.heartbeatTick || merged.heartbeatTick;
  merged.electionTick = given.electionTick || merged.electionTick;
  return merged;
}

function mergeCa(current: CAConfig | undefined, given: CAConfig, json: unknown): CAConfig {
  const merged = current ?? create(CAConfigSchema);
  const expiry = given.nodeCertExpiry;
  if (expiry !== undefined && !duration.isZero(expiry)) merged.nodeCertExpiry = expiry;
  if (given.signingCaCert.length > 0) merged.signingCaCert = given.signingCaCert;
  if (given.signingCaKey.length > 0) merged.signingCaKey = given.signingCaKey;
  if (isGiven(json, 'CAConfig', 'ExternalCAs')) merged.externalCas = given.externalCas;
  merged.forceRotate = given.forceRotate;
  return merged;
}

function isGiven(json: unknown, group: string, name: string): boolean {
  const inner = isObject(json) ? member(json, group) : undefined;
  return isObject(inner) && member(inner, name) !== undefined;
}

const clusterTable = table(ClusterSchema, [
  always('ID', 'id', text),
  meta,
  struct('Spec', 'spec', ClusterSpecSchema, clusterSpec),
]);

/** @returns Docker's ClusterInfo, as `docker info` shows it. */
export function clusterInfo(cluster: Cluster): JsonObject {
  return {
    ...(clusterTable.encode(cluster) as JsonObject),
    TLSInfo: tlsInfo(cluster.rootCa?.caCert ?? new Uint8Array()),
    RootRotationInProgress: cluster.rootCa?.rootRotation !== undefined,
    DefaultAddrPool: cluster.defaultAddressPool.length > 0 ? cluster.defaultAddressPool : null,
    SubnetSize: cluster.subnetSize || defaultSubnetSize,
    DataPathPort: cluster.vxlanUdpPort || defaultDataPathPort,
  };
}

/** @returns Docker's Swarm: the ClusterInfo and the join tokens. */
export function swarm(cluster: Cluster): JsonObject {
  const tokens = cluster.rootCa?.joinTokens;
  return {
    ...clusterInfo(cluster),
    JoinTokens: { Worker: tokens?.worker ?? '', Manager: tokens?.manager ?? '' },
  };
}

/** The root certificate with its subject and key as DER, in base64. */
function tlsInfo(caCertificate: Uint8Array): JsonObject {
  const trustRoot = Buffer.from(caCertificate).toString('utf8');
  if (trustRoot === '') return {};
  const certificate = new X509Certificate(trustRoot);
  return {
    TrustRoot: trustRoot,
    CertIssuerSubject: Buffer.from(certificate.subjectName.toArrayBuffer()).toString('base64'),
    CertIssuerPublicKey: Buffer.from(certificate.publicKey.rawData).toString('base64'),
  };
}
