import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import type { LoadBalancer } from '../balancer/types.ts';
import { silentLogger } from '../common/index.ts';
import type { Discovery } from '../discovery/types.ts';
import type { OverlayDriver } from '../overlay/types.ts';
import { EncryptionKeySchema } from '../swarm/gen/types_pb.js';
import { ClusterNetwork } from './cluster-network.ts';

const partOf = <T>(part: Partial<T>): T => part as T;
const address = '127.46.0.1';
const keys = [1n, 2n, 3n].map((lamportTime) =>
  create(EncryptionKeySchema, {
    subsystem: 'networking:gossip',
    key: Buffer.alloc(16, Number(lamportTime)),
    lamportTime,
  }),
);

test('the gossip ends although what the overlay has cannot be taken down, so that the next one can begin', async () => {
  const failure = new Error('docker_gwbridge does not go');
  const cluster = new ClusterNetwork({
    nodeId: 'node',
    addresses: { bind: address, advertise: address, dataPath: address },
    overlay: partOf<OverlayDriver>({
      joinCluster: async () => undefined,
      leaveCluster: async () => {
        throw failure;
      },
    }),
    discovery: partOf<Discovery>({ joinCluster: () => undefined, leaveCluster: () => undefined }),
    balancer: partOf<LoadBalancer>({ joinCluster: () => undefined, leaveCluster: () => undefined }),
    logger: silentLogger(),
  });
  await using _cluster = cluster;
  await cluster.setKeys(keys);
  await assert.rejects(cluster.leave({ removeGateway: true }), failure);
  await cluster.setKeys(keys);
  await cluster.joined(AbortSignal.timeout(5_000));
});
