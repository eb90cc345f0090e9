import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { durationMs } from '@bufbuild/protobuf/wkt';
import { silentLogger } from '../../common/index.ts';
import { NodeSpec_Availability, NodeSpec_Membership } from '../gen/specs_pb.js';
import { IssuanceStatus_State, NodeRole, RootCASchema } from '../gen/types_pb.js';
import { openStore } from '../store/index.ts';
import { createClusterObjects, type NewCluster } from './predefined.ts';

const options: NewCluster = {
  clusterId: 'cluster-id',
  rootCa: create(RootCASchema, { caCertHash: 'sha256:0' }),
  defaultAddressPool: ['10.20.0.0/16'],
  subnetSize: 26,
  dataPathPort: 5789,
  spec: undefined,
  node: { id: 'node-id', availability: NodeSpec_Availability.ACTIVE, certificate: new Uint8Array([1]) },
};

test('a new cluster has its defaults, its first manager, and the networks ingress, bridge and host', () => {
  using store = openStore({ path: ':memory:', logger: silentLogger() });
  createClusterObjects(store, options);
  store.view((tx) => {
    const cluster = tx.findByName('cluster', 'default') ?? assert.fail();
    assert.equal(cluster.id, 'cluster-id');
    assert.equal(cluster.spec?.orchestration?.taskHistoryRetentionLimit, 5n);
    assert.equal(durationMs(cluster.spec?.dispatcher?.heartbeatPeriod ?? assert.fail()), 5000);
    assert.equal(durationMs(cluster.spec?.caConfig?.nodeCertExpiry ?? assert.fail()), 7_776_000_000);
    assert.deepEqual([cluster.spec?.raft?.snapshotInterval, cluster.spec?.raft?.electionTick], [10_000n, 10]);
    assert.deepEqual([cluster.subnetSize, cluster.vxlanUdpPort, cluster.networkBootstrapKeys.length], [26, 5789, 6]);

    const node = tx.get('node', 'node-id') ?? assert.fail();
    assert.deepEqual(
      [node.role, node.spec?.desiredRole, node.vxlanUdpPort],
      [NodeRole.MANAGER, NodeRole.MANAGER, 5789],
    );
    assert.equal(node.spec?.membership, NodeSpec_Membership.ACCEPTED);
    assert.equal(node.certificate?.status?.state, IssuanceStatus_State.ISSUED);

    const ingress = tx.findByName('network', 'ingress') ?? assert.fail();
    assert.deepEqual([ingress.spec?.ingress, ingress.spec?.attachable], [true, false]);
    assert.deepEqual(
      ingress.ipam?.configs.map(({ subnet, gateway }) => [subnet, gateway]),
      [['10.20.0.0/26', '10.20.0.1']],
    );
    for (const name of ['bridge', 'host']) {
      const network = tx.findByName('network', name);
      assert.deepEqual(
        [network?.driverState?.name, network?.spec?.annotations?.labels],
        [name, { 'com.docker.swarm.predefined': 'true' }],
      );
    }
  });
});

test('a cluster is made once; a second call changes nothing', () => {
  using store = openStore({ path: ':memory:', logger: silentLogger() });
  createClusterObjects(store, options);
  const version = store.version;
  assert.equal(createClusterObjects(store, { ...options, clusterId: 'other' }).id, 'cluster-id');
  assert.equal(store.version, version);
});

test('bad address pools are refused before anything is made', () => {
  const cases: [string[], number, RegExp][] = [
    [['nonsense'], 24, /invalid base pool nonsense: invalid CIDR address: nonsense/],
    [['10.0.0.0/25'], 24, /invalid CIDR: "10\.0\.0\.0\/25"\. Subnet size is too small for pool: 24/],
    [['10.0.0.0/8', '10.1.0.0/16'], 24, /default address pools 10\.0\.0\.0\/8 and 10\.1\.0\.0\/16 overlap/],
    [[], 30, /subnet size is out of range: 30/],
  ];
  for (const [defaultAddressPool, subnetSize, message] of cases) {
    using store = openStore({ path: ':memory:', logger: silentLogger() });
    assert.throws(() => createClusterObjects(store, { ...options, defaultAddressPool, subnetSize }), { message });
    assert.equal(store.version, 0n);
  }
});
