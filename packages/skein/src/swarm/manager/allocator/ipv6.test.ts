import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clone, create } from '@bufbuild/protobuf';
import { NetworkSchema } from '../../gen/objects_pb.js';
import { type NetworkSpec, NetworkSpecSchema } from '../../gen/specs_pb.js';
import { IPAMConfig_AddressFamily, IPAMConfigSchema, TaskState } from '../../gen/types_pb.js';
import { serviceSpec, TestCluster } from '../testing/cluster.ts';
import { AddressBook } from './addresses.ts';
import { allocateNetwork } from './networks.ts';
import { Quarantine, quarantineMs } from './quarantine.ts';
import { formatSubnet } from './subnet.ts';
import { uniqueLocalSubnet } from './unique-local.ts';
import { vxlanIdsOption } from './vxlan.ts';

function specOf(name: string, subnets: string[], changes: { gateway?: string; options?: Record<string, string> } = {}) {
  return create(NetworkSpecSchema, {
    annotations: { name },
    driverConfig: { name: 'overlay', options: changes.options ?? {} },
    ipv6Enabled: true,
    attachable: true,
    ipam: { configs: subnets.map((subnet) => ({ subnet, gateway: changes.gateway ?? '' })) },
  });
}
const make = (cluster: TestCluster, spec: NetworkSpec) => cluster.control.createNetwork(spec);
const subnetsOf = (network: { ipam?: { configs: { subnet: string }[] } | undefined }) =>
  network.ipam?.configs.map(({ subnet }) => subnet);

test('a network with IPv6 has a subnet of each family, IPv4 first, on one VXLAN', async () => {
  await using cluster = new TestCluster();
  const network = make(cluster, specOf('both', ['fd00:5::/64', '10.5.0.0/24']));
  assert.deepEqual(
    network.ipam?.configs.map(({ family, subnet, gateway }) => [family, subnet, gateway]),
    [
      [IPAMConfig_AddressFamily.IPV4, '10.5.0.0/24', '10.5.0.1'],
      [IPAMConfig_AddressFamily.IPV6, 'fd00:5::/64', 'fd00:5::1'],
    ],
  );
  assert.equal(network.driverState?.options[vxlanIdsOption], '4097');
});

test('a network that names no IPv6 subnet gets a unique local one of its own', async () => {
  await using cluster = new TestCluster();
  const [first, second] = [make(cluster, specOf('first', [])), make(cluster, specOf('second', ['10.6.0.0/24']))];
  for (const network of [first, second]) assert.match(subnetsOf(network)?.[1] ?? '', /^fd[0-9a-f:]+::\/64$/);
  const [site, other] = [first, second].map((network) => subnetsOf(network)?.[1]?.split(':').slice(0, 3).join(':'));
  assert.equal(site, other, 'one swarm is one site');
  assert.notEqual(subnetsOf(first)?.[1], subnetsOf(second)?.[1]);
  const swarm = cluster.store.view((tx) => tx.list('cluster')[0]?.id ?? '');
  const again = uniqueLocalSubnet(swarm, `${first.id}/0`, []);
  assert.equal(again && formatSubnet(again), subnetsOf(first)?.[1], 'the same IDs give the same subnet');
  const next = uniqueLocalSubnet(swarm, `${first.id}/0`, again ? [again] : []);
  assert.notDeepEqual(next, again, 'a taken one is stepped over');
});

test('services, tasks and plain containers have an address of each family, nodes one of IPv4', async () => {
  await using cluster = new TestCluster();
  const network = make(cluster, specOf('both', ['10.5.0.0/24', 'fd00:5::/64'], { gateway: '' }));
  const service = cluster.control.createService(serviceSpec('web', { networks: [network.id], replicas: 2 }));
  cluster.run(3000);
  assert.deepEqual(
    cluster.service(service.id).endpoint?.virtualIps.map(({ networkId, addr }) => [networkId, addr]),
    [
      [network.id, '10.5.0.2/24'],
      [network.id, 'fd00:5::2/64'],
    ],
  );
  const tasks = cluster.tasks(service.id);
  assert.deepEqual(tasks.map((task) => task.networks[0]?.addresses).sort(), [
    ['10.5.0.3/24', 'fd00:5::3/64'],
    ['10.5.0.4/24', 'fd00:5::4/64'],
  ]);
  const [node] = cluster.store.view((tx) => tx.list('node'));
  const attachment = node?.attachments.find((each) => each.network?.id === network.id);
  assert.deepEqual(attachment?.addresses, ['10.5.0.5/24']);
  assert.ok(tasks.every((task) => task.status?.state === TaskState.RUNNING));
});

test('certain addresses are given if they are free and belong together', async () => {
  await using cluster = new TestCluster();
  const network = make(cluster, specOf('both', ['10.5.0.0/24', '10.6.0.0/24', 'fd00:5::/64', 'fd00:6::/64']));
  using quarantine = new Quarantine(cluster.store, cluster.clock);
  const book = cluster.store.view((tx) => new AddressBook(tx, quarantine));
  const take = (...wanted: string[]) => book.take(network, 'task', { wanted });
  assert.deepEqual(take('fd00:5::beef'), ['10.5.0.2/24', 'fd00:5::beef/64']);
  assert.deepEqual(take('10.5.0.9', 'fd00:5::9'), ['10.5.0.9/24', 'fd00:5::9/64']);
  assert.deepEqual(take('fd00:6:0::00a'), ['10.6.0.2/24', 'fd00:6::a/64'], 'IPv4 comes from the subnet beside it');
  assert.deepEqual(take('10.6.0.7'), ['10.6.0.7/24', 'fd00:6::b/64']);
  for (const wanted of [['fd00:5::beef'], ['fd00:5::1'], ['fd00:7::1'], ['10.5.0.20', 'fd00:6::20'], ['nonsense']])
    assert.equal(take(...wanted), undefined, wanted.join());
});

test('a network that grows has IPv6 in its further subnets, too', async () => {
  await using cluster = new TestCluster();
  const { id } = make(cluster, specOf('both', ['10.5.0.0/24', 'fd00:5::/64']));
  const asked = (...subnets: string[]) => subnets.map((subnet) => create(IPAMConfigSchema, { subnet }));
  const grown = cluster.control.growNetwork(id, asked('10.6.0.0/24', 'fd00:6::/64'));
  assert.deepEqual(subnetsOf(grown), ['10.5.0.0/24', '10.6.0.0/24', 'fd00:5::/64', 'fd00:6::/64']);
  const [, , , , ...more] = subnetsOf(cluster.control.growNetwork(id, asked('10.7.0.0/24'))) ?? [];
  assert.match(more.join(), /^fd00:6::\/64,fd[0-9a-f:]+::\/64$/);
});

test('a freed address rests in either family, and the numbers go on', async () => {
  await using cluster = new TestCluster();
  const network = make(cluster, specOf('both', ['10.5.0.0/24', 'fd00:5::/64']));
  const service = cluster.control.createService(serviceSpec('web', { networks: [network.id], replicas: 1 }));
  cluster.run(1000);
  cluster.control.removeService(service.id);
  cluster.run(20_000);
  const next = cluster.control.createService(serviceSpec('next', { networks: [network.id], replicas: 0 }));
  cluster.run(1000);
  assert.deepEqual(
    cluster.service(next.id).endpoint?.virtualIps.map(({ addr }) => addr),
    ['10.5.0.5/24', 'fd00:5::4/64'],
  );
});

test('a full IPv6 subnet is named with its numbers', async () => {
  await using cluster = new TestCluster();
  const network = make(cluster, specOf('small', ['10.5.0.0/24', 'fd00:5::/126']));
  using quarantine = new Quarantine(cluster.store, cluster.clock);
  const book = cluster.store.view((tx) => new AddressBook(tx, quarantine));
  assert.deepEqual(book.take(network, 'task'), ['10.5.0.2/24', 'fd00:5::2/126']);
  assert.deepEqual(book.take(network, 'task'), ['10.5.0.3/24', 'fd00:5::3/126']);
  assert.equal(book.take(network, 'task'), undefined);
  assert.match(
    book.describeFull(network),
    /^no addresses left on network small \(fd00:5::\/126\): 3 usable, 1 gateway, 2 tasks$/,
  );
});

test('a place whose IPv6 is full is passed over, and a growth remedies it', async () => {
  await using cluster = new TestCluster();
  const { id } = make(cluster, specOf('small', ['10.5.0.0/24', 'fd00:5::/126']));
  const attach = (count: number) => {
    for (let number = 0; number < count; number++) cluster.attach(`plain${count}${number}`, 'n1', id);
    cluster.run(1000);
  };
  const addresses = () => cluster.tasks().flatMap((task) => task.networks.map((attachment) => attachment.addresses));
  attach(3);
  assert.equal(addresses().length, 2);
  const asked = ['10.6.0.0/24', 'fd00:6::/64'].map((subnet) => create(IPAMConfigSchema, { subnet }));
  const grown = cluster.control.growNetwork(id, asked);
  cluster.run(1000);
  assert.deepEqual(addresses().at(-1), ['10.6.0.2/24', 'fd00:6::2/64']);
  using quarantine = new Quarantine(cluster.store, cluster.clock);
  const book = cluster.store.view((tx) => new AddressBook(tx, quarantine));
  assert.equal(book.take(grown, 'task', { wanted: ['10.5.0.9'] }), undefined, 'there is none beside it');
});

test('an IPv6 subnet that was freed rests, too', async () => {
  await using cluster = new TestCluster();
  const first = make(cluster, specOf('first', []));
  const had = subnetsOf(first)?.[1] ?? '';
  cluster.control.removeNetwork(first.id);
  await cluster.restartLoops();
  using quarantine = new Quarantine(cluster.store, cluster.clock);
  assert.deepEqual([...quarantine.resting('IPv6 subnet').keys()], [had]);
  const again = clone(NetworkSchema, first);
  again.ipam = undefined;
  cluster.store.view((tx) => allocateNetwork(tx, again, { quarantine }));
  assert.notEqual(subnetsOf(again)?.[1], had);
  cluster.run(quarantineMs);
  again.ipam = undefined;
  cluster.store.view((tx) => allocateNetwork(tx, again, { quarantine }));
  assert.equal(subnetsOf(again)?.[1], had);
});

test('an auxiliary address is not the gateway nor given twice, however it is written', async () => {
  await using cluster = new TestCluster();
  const refused = (subnet: string, gateway: string, ...reserved: string[]) => {
    const spec = specOf('net', ['10.5.0.0/24']);
    const config = {
      subnet,
      gateway,
      reserved: Object.fromEntries(reserved.map((text, place) => [`a${place}`, text])),
    };
    spec.ipam?.configs.push(create(IPAMConfigSchema, config));
    assert.throws(() => make(cluster, spec), { message: /Address already in use/ }, JSON.stringify(config));
  };
  refused('fd00:5::/64', '', 'fd00:5:0::1');
  refused('fd00:5::/64', 'fd00:5::a', 'fd00:5:0:0::000A');
  refused('fd00:5::/64', 'fd00:5::a', 'fd00:5::b', 'fd00:5:0::B');
  refused('10.6.0.0/24', '', '10.6.0.1');
});

test('what cannot be is refused in words', async () => {
  await using cluster = new TestCluster({ routes: [{ destination: 'fd00:77::/48', device: 'vpn0' }] });
  make(cluster, specOf('first', ['10.5.0.0/24', 'fd00:5::/64']));
  const cases: readonly (readonly [NetworkSpec, RegExp])[] = [
    [
      specOf('a', ['fd00:5:0:0:8000::/65']),
      /fd00:5:0:0:8000::\/65 of network a overlaps subnet fd00:5::\/64 of network first/,
    ],
    [specOf('a', ['fd00:77:0:1::/64']), /overlaps the route fd00:77::\/48 of this host's device vpn0/],
    [specOf('a', ['fd00:1::/129']), /Invalid subnet fd00:1::\/129 : invalid CIDR address/],
    [specOf('a', ['fd00:1::/64'], { gateway: 'fd00:2::1' }), /subnet fd00:1::\/64 does not contain gateway fd00:2::1/],
    [specOf('a', ['fd00:1::/64'], { gateway: '10.0.0.1' }), /does not contain gateway 10\.0\.0\.1/],
    [specOf('a', ['fd00:1::/127']), /no room for a gateway and a task: choose a prefix of at most \/126/],
    [specOf('a', ['fd00:1::/64', 'fd00:2::/64']), /2 IPv6 subnets for 1 of IPv4/],
    [specOf('a', ['ff02::/64']), /which is for multicast/],
    [specOf('a', ['fe80:1::/64']), /which is for link-local addresses/],
    [specOf('a', [], { options: { 'com.docker.network.driver.mtu': '1300' } }), /must be 1330 or more/],
    [{ ...specOf('a', ['fd00:1::/64']), ipv6Enabled: false }, /is IPv6: enable it with --ipv6/],
    [{ ...specOf('a', []), attachable: false, ingress: true }, /the ingress network has IPv4 only/],
  ];
  for (const [spec, message] of cases) assert.throws(() => make(cluster, spec), { message }, String(message));
});
