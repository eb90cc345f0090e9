import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { NetworkSpecSchema } from '../../gen/specs_pb.js';
import { IPAMConfigSchema, PlacementSchema, TaskState } from '../../gen/types_pb.js';
import { addressesOf, serviceSpec, TestCluster } from '../testing/cluster.ts';
import type { LocalRoute } from './networks.ts';
import { vxlanIdsOption } from './vxlan.ts';

const subnet = (text: string, gateway = '') => create(IPAMConfigSchema, { subnet: text, gateway });

test('a full network grows: what it has stays, waiting tasks get addresses of the new subnet, nodes are told', async () => {
  await using cluster = new TestCluster();
  const net = cluster.createNetwork('small', '10.9.0.0/29');
  const { id } = cluster.control.createService(serviceSpec('web', { replicas: 6, networks: [net] }));
  cluster.run(1000);
  const before = cluster.running(id).map((task) => addressesOf(task)[net] ?? '');
  assert.equal(before.length, 3);
  const grown = cluster.control.growNetwork(net, [subnet('10.9.1.0/24', '10.9.1.254'), subnet('')]);
  assert.deepEqual(
    grown.ipam?.configs.map((config) => [config.subnet, config.gateway]),
    [
      ['10.9.0.0/29', '10.9.0.1'],
      ['10.9.1.0/24', '10.9.1.254'],
      ['10.0.1.0/24', '10.0.1.1'],
    ],
  );
  assert.equal(grown.driverState?.options[vxlanIdsOption], '4097,4098,4099');
  cluster.run(1000);
  const after = cluster.running(id).map((task) => addressesOf(task)[net] ?? '');
  assert.equal(after.length, 6);
  for (const address of before) assert.ok(after.includes(address), address);
  assert.equal(after.filter((address) => address.startsWith('10.9.1.') && address.endsWith('/24')).length, 3);
  const known = cluster.node('n1').attachments.find(({ network }) => network?.id === net)?.network;
  assert.equal(known?.ipam?.configs.length, 3);
});

test('a node that cannot follow keeps its tasks and gets none of the new subnet until its last task has gone', async () => {
  await using cluster = new TestCluster();
  cluster.addNode('dockerd', ({ description }) => {
    if (description?.engine)
      description.engine.plugins = description.engine.plugins.filter(({ type }) => type !== 'Skein');
  });
  const net = cluster.createNetwork('small', '10.9.0.0/29');
  const there = cluster.control.createService(
    serviceSpec('there', {
      replicas: 2,
      networks: [net],
      change: ({ task }) => {
        if (task)
          task.placement = {
            $typeName: 'docker.swarmkit.v1.Placement',
            constraints: ['node.id==dockerd'],
            preferences: [],
            platforms: [],
            maxReplicas: 0n,
          };
      },
    }),
  ).id;
  cluster.run(1000);
  cluster.control.growNetwork(net, [subnet('10.9.1.0/24')]);
  cluster.update(there, (spec) => {
    if (spec.mode.case === 'replicated') spec.mode.value.replicas = 4n;
  });
  cluster.run(2000);
  const waiting = cluster.tasks(there).filter(({ status }) => status?.state === TaskState.PENDING);
  assert.match(waiting[0]?.status?.err ?? '', /a network has grown since 1 node joined it/);
  const { attachments } = cluster.node('dockerd');
  assert.equal(attachments.find(({ network }) => network?.id === net)?.network?.ipam?.configs.length, 1);
  const elsewhere = cluster.control.createService(serviceSpec('elsewhere', { replicas: 3, networks: [net] })).id;
  cluster.run(2000);
  for (const task of cluster.running(elsewhere)) assert.equal(task.nodeId, 'n1');
  assert.equal(cluster.running(elsewhere).length, 3);
  cluster.control.removeService(there);
  cluster.run(1000);
  const again = cluster.control.createService(serviceSpec('again', { global: true, networks: [net] })).id;
  cluster.run(1000);
  assert.equal(cluster.running(again).length, 2);
});

test('what a network cannot grow by is refused, and nothing has changed', async () => {
  await using cluster = new TestCluster();
  const net = cluster.createNetwork('net', '10.9.0.0/24');
  cluster.createNetwork('other', '10.8.0.0/24');
  const refused = (config: ReturnType<typeof subnet>, message: RegExp) =>
    assert.throws(() => cluster.control.growNetwork(net, [config]), { message });
  refused(
    subnet('10.8.0.0/16'),
    /subnet 10\.8\.0\.0\/16 of network net overlaps subnet 10\.8\.0\.0\/24 of network other/,
  );
  refused(subnet('10.9.0.128/25'), /subnets 10\.9\.0\.0\/24 and 10\.9\.0\.128\/25 of network net overlap each other/);
  refused(subnet('nonsense'), /invalid CIDR address: nonsense/);
  refused(subnet('10.7.0.0/24', '10.6.0.1'), /subnet 10\.7\.0\.0\/24 does not contain gateway 10\.6\.0\.1/);
  assert.throws(() => cluster.control.growNetwork(cluster.control.findNetwork('ingress').id, [subnet('')]), {
    message: /the ingress network has one subnet/,
  });
  assert.throws(() => cluster.control.growNetwork(cluster.control.findNetwork('host').id, [subnet('')]), {
    message: /it is no overlay network/,
  });
  assert.equal(cluster.control.findNetwork('net').ipam?.configs.length, 1);
});

test('a dual-stack network grows in both families, and what it had keeps its place', async () => {
  await using cluster = new TestCluster();
  const spec = create(NetworkSpecSchema, {
    annotations: { name: 'dual' },
    driverConfig: { name: 'overlay' },
    ipv6Enabled: true,
  });
  const network = cluster.control.createNetwork(spec);
  const before = network.ipam?.configs.map((config) => config.subnet) ?? [];
  assert.equal(before.length, 2);
  const grown = cluster.control.growNetwork(network.id, [subnet('10.9.0.0/24')]);
  const after = grown.ipam?.configs.map((config) => config.subnet) ?? [];
  assert.deepEqual([after[0], after[1], after[2], after.length], [before[0], '10.9.0.0/24', before[1], 4]);
  assert.equal(grown.driverState?.options[vxlanIdsOption], '4097,4098');
});

test('a task that waits for a load balancer address gets its node when the network has grown', async () => {
  await using cluster = new TestCluster();
  cluster.addNode('n2');
  const net = cluster.createNetwork('small', '10.9.0.0/29');
  const on = (node: string, replicas: number) => {
    const change: NonNullable<Parameters<typeof serviceSpec>[1]>['change'] = ({ task }) => {
      if (task) task.placement = create(PlacementSchema, { constraints: [`node.id==${node}`] });
    };
    const { id } = cluster.control.createService(serviceSpec(node, { replicas, networks: [net], change }));
    cluster.run(1000);
    return id;
  };
  on('n1', 1);
  const there = on('n2', 1);
  const [waiting] = cluster.tasks(there);
  assert.match(waiting?.status?.err ?? '', /no address left for the load balancer of 1 node/);
  cluster.control.growNetwork(net, [subnet('10.9.1.0/24')]);
  cluster.run(1000);
  assert.equal(cluster.running(there)[0]?.id, waiting?.id);
});

test('what a network has already is not held against it when it grows', async () => {
  const routes: LocalRoute[] = [];
  await using cluster = new TestCluster({ pools: ['10.0.0.0/22'], routes });
  const net = cluster.createNetwork('net', '10.9.0.0/24');
  routes.push({ destination: '10.9.0.0/16', device: 'vpn0' });
  assert.throws(() => cluster.control.growNetwork(net, [subnet('10.9.1.0/24')]), { message: /10\.9\.1\.0\/24.*vpn0/ });
  cluster.control.growNetwork(net, [subnet('10.8.0.0/24')]);
  // The pools have three subnets besides the ingress network's: a chosen one is never one that the network has.
  const auto = cluster.createNetwork('auto');
  for (const _ of [1, 2]) cluster.control.growNetwork(auto, [subnet('')]);
  assert.throws(() => cluster.control.growNetwork(auto, [subnet('')]), { message: /no subnet left/ });
});
