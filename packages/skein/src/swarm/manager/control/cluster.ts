import { clone, create, equals } from '@bufbuild/protobuf';
import { durationMs } from '@bufbuild/protobuf/wkt';
import { RpcError } from '../../../common/index.ts';
import { type Cluster, ClusterSchema } from '../../gen/objects_pb.js';
import { type ClusterSpec, ClusterSpecSchema } from '../../gen/specs_pb.js';
import { CAConfigSchema, JoinTokensSchema } from '../../gen/types_pb.js';
import { generateJoinToken } from '../../identity/index.ts';
import type { ReadTransaction } from '../../store/index.ts';
import { defaultSubnetSize } from '../allocator/index.ts';
import { clusterName } from '../predefined.ts';
import type { Control } from '../types.ts';
import { startFrom } from './lookup.ts';
import type { ControlOptions } from './options.ts';

/** swarmkit ca: MinNodeCertExpiration. */
const minCertificateExpiryMs = 3_600_000;
const defaultDataPathPort = 4789;

export function clusterControl({ store }: ControlOptions): Pick<Control, 'cluster' | 'updateCluster'> {
  return {
    cluster: () => redacted(store.view(theCluster)),
    updateCluster: (version, spec, rotation) =>
      store.update((tx) => {
        const cluster = clone(ClusterSchema, theCluster(tx));
        checkClusterSpec(spec, cluster);
        if (rotation.unlockKey) throw cannotLock();
        startFrom(cluster, version);
        cluster.spec = clone(ClusterSpecSchema, spec);
        if (rotation.workerToken || rotation.managerToken) rotateTokens(cluster, rotation);
        tx.update('cluster', cluster);
        return redacted(cluster);
      }),
  };
}

function theCluster(tx: ReadTransaction): Cluster {
  const cluster = tx.findByName('cluster', clusterName);
  if (!cluster) throw new RpcError('NotFound', `cluster ${clusterName} not found`);
  return cluster;
}

/** @returns what users may see of the cluster: no keys. Settings left to the default are filled in. */
function redacted({ id, meta, spec, rootCa, ...cluster }: Cluster): Cluster {
  const shown = clone(
    ClusterSchema,
    create(ClusterSchema, {
      id,
      meta,
      spec,
      rootCa,
      blacklistedCertificates: cluster.blacklistedCertificates,
      defaultAddressPool: cluster.defaultAddressPool,
      subnetSize: cluster.subnetSize || defaultSubnetSize,
      vxlanUdpPort: cluster.vxlanUdpPort || defaultDataPathPort,
      fips: cluster.fips,
    }),
  );
  const hidden = new Uint8Array();
  if (shown.rootCa) shown.rootCa.caKey = hidden;
  if (shown.rootCa?.rootRotation) shown.rootCa.rootRotation.caKey = hidden;
  if (shown.spec?.caConfig) {
    shown.spec.caConfig.signingCaKey = hidden;
    shown.spec.caConfig.signingCaCert = hidden;
  }
  return shown;
}

function checkClusterSpec(spec: ClusterSpec, cluster: Cluster): void {
  if (spec.annotations?.name !== clusterName)
    throw new RpcError('InvalidArgument', 'modification of cluster name is not allowed');
  const expiry = spec.caConfig?.nodeCertExpiry;
  if (expiry && durationMs(expiry) < minCertificateExpiryMs)
    throw new RpcError('InvalidArgument', 'minimum certificate expiry time is: 1h0m0s');
  const heartbeat = spec.dispatcher?.heartbeatPeriod;
  if (heartbeat && durationMs(heartbeat) < 0)
    throw new RpcError('InvalidArgument', 'heartbeat time period cannot be a negative duration');
  if (spec.encryptionConfig?.autoLockManagers) throw cannotLock();
  const authority = (given: ClusterSpec | undefined) =>
    create(CAConfigSchema, {
      externalCas: given?.caConfig?.externalCas ?? [],
      forceRotate: given?.caConfig?.forceRotate ?? 0n,
    });
  const signs = (spec.caConfig?.signingCaCert.length ?? 0) + (spec.caConfig?.signingCaKey.length ?? 0) > 0;
  if (signs || !equals(CAConfigSchema, authority(spec), authority(cluster.spec)))
    throw new RpcError('Unimplemented', 'the root CA cannot be replaced or rotated in this version');
}

function cannotLock(): RpcError {
  return new RpcError('Unimplemented', "managers cannot be locked: this version does not encrypt the manager's store");
}

/** Only the secret of a token changes; its digest of the root certificate stays. */
function rotateTokens({ rootCa, fips }: Cluster, rotation: { workerToken: boolean; managerToken: boolean }): void {
  if (!rootCa) throw new RpcError('Internal', 'error loading cluster rootCA for update');
  rootCa.joinTokens ??= create(JoinTokensSchema);
  if (rotation.workerToken) rootCa.joinTokens.worker = generateJoinToken(rootCa.caCert, fips);
  if (rotation.managerToken) rootCa.joinTokens.manager = generateJoinToken(rootCa.caCert, fips);
}
