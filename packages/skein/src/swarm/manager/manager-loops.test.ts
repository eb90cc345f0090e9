import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TaskState } from '../gen/types_pb.js';
import { addressesOf, serviceSpec, TestCluster } from './testing/cluster.ts';

test('a cluster, a network and a service become running tasks with addresses on nodes', async () => {
  await using cluster = new TestCluster();
  cluster.addNode('n2');
  const net = cluster.createNetwork('uber-net');
  const network = cluster.control.findNetwork('uber-net');
  assert.deepEqual(
    network.ipam?.configs.map(({ subnet, gateway }) => [subnet, gateway]),
    [['10.0.1.0/24', '10.0.1.1']],
  );
  assert.equal(network.driverState?.options['com.docker.network.driver.overlay.vxlanid_list'], '4097');
  const { id } = cluster.control.createService(serviceSpec('test', { replicas: 2, networks: ['uber-net'] }));
  cluster.run(1000);
  const tasks = cluster.running(id);
  assert.deepEqual(tasks.map((task) => addressesOf(task)[net]).sort(), ['10.0.1.3/24', '10.0.1.4/24']);
  assert.deepEqual(tasks.map((task) => task.nodeId).sort(), ['n1', 'n2']);
  assert.deepEqual(
    cluster.service(id).endpoint?.virtualIps.map(({ networkId, addr }) => [networkId, addr]),
    [[net, '10.0.1.2/24']],
  );
  for (const node of ['n1', 'n2']) {
    const names = cluster
      .node(node)
      .attachments.map(({ network: n, addresses }) => [n?.spec?.annotations?.name, addresses.length]);
    assert.deepEqual(names, [
      ['ingress', 1],
      ['uber-net', 1],
    ]);
  }
  assert.equal(tasks[0]?.status?.state, TaskState.RUNNING);
});
