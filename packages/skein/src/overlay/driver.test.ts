import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { NetworkDB } from '@skein/gossip';
import { NetworkNamespace, Nftables, RouteSocket, readSysctl } from '@skein/netlink';
import { loadBalancerNamespaceName, networkNamespaceName } from './names.ts';
import { reaches, show, steadyFlow, type TestHost, TestUnderlay, testNetwork, testSandbox } from './testing.ts';
import type { OverlayNetwork } from './types.ts';

const sandboxPath = (host: TestHost, network: OverlayNetwork) =>
  `${host.namespaceDirectory}/${networkNamespaceName(network.id)}`;

/** Waits until `condition` holds, at most two seconds. */
async function eventually(condition: () => boolean, what: () => string): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    if (condition()) return;
    await sleep(20);
  }
  assert.fail(what());
}

test('containers on two hosts reach each other through VXLAN, and what was made is as Docker makes it', async () => {
  await using underlay = new TestUnderlay('two-hosts');
  const left = await underlay.addHost();
  const right = await underlay.addHost();
  const network = testNetwork(1);
  const a = await left.driver.createSandbox(testSandbox('aa', 3, [network]));
  const b = await right.driver.createSandbox(testSandbox('bb', 4, [network]));
  const state = () =>
    [show(sandboxPath(left, network), 'bridge', 'fdb', 'show'), show(sandboxPath(left, network), 'ip', 'neigh')].join(
      '\n',
    );
  assert.ok(await reaches(a.networkNamespace, b.networkNamespace, '10.77.1.4'), state());
  assert.ok(await reaches(b.networkNamespace, a.networkNamespace, '10.77.1.3'), state());

  assert.deepEqual(
    a.endpoints.map(({ address, mac, interfaceName }) => ({ address, mac, interfaceName })),
    [{ address: '10.77.1.3/24', mac: '02:42:0a:4d:01:03', interfaceName: 'eth0' }],
  );
  using inside = NetworkNamespace.open(a.networkNamespace);
  using insideRoute = RouteSocket.open(inside);
  const eth0 = insideRoute.links.get('eth0');
  assert.equal(eth0?.mtu, 1450);
  assert.equal(eth0?.mac, '02:42:0a:4d:01:03');
  using sandbox = NetworkNamespace.open(sandboxPath(left, network));
  using route = RouteSocket.open(sandbox);
  const vxlan = route.links.get('vxlan0');
  assert.deepEqual(
    { ...vxlan?.vxlan },
    {
      ...vxlan?.vxlan,
      vni: 4097,
      port: 4789,
      local: left.vtep,
      learning: false,
      proxy: true,
      l2miss: false,
      l3miss: false,
    },
  );
  assert.equal(route.links.get('br0')?.mtu, 1450);
  assert.ok(route.addresses.list().some(({ address }) => address === '10.77.1.1'));
  assert.deepEqual(left.driver.networks()[0]?.peers, [
    { name: 'host1', address: left.vtep },
    { name: 'host2', address: right.vtep },
  ]);
});

test('the last container takes the network with it, and nothing stays behind', async () => {
  await using underlay = new TestUnderlay('nothing-left');
  const host = await underlay.addHost();
  using route = RouteSocket.open(host.namespace);
  const before = route.links.list().map(({ name }) => name);
  const networks = [testNetwork(11), testNetwork(12)];
  await host.driver.setLoadBalancerAddresses(
    new Map(networks.map((network, position) => [network.id, { network, address: `10.77.${11 + position}.9/24` }])),
  );
  const specs = [testSandbox('aa', 3, networks), testSandbox('bb', 4, networks.slice(0, 1))];
  for (const spec of specs) await host.driver.createSandbox(spec);
  assert.deepEqual(readdirSync(host.namespaceDirectory).length, 2 + 2 + 2);
  await host.driver.removeSandbox(specs[0]?.containerId ?? '');
  assert.deepEqual(
    host.driver.networks().map(({ network }) => network.name),
    ['net11'],
  );
  assert.deepEqual([...host.node.joined], [networks[0]?.id]);
  await host.driver.removeSandbox(specs[1]?.containerId ?? '');
  await host.driver.removeSandbox(specs[1]?.containerId ?? '');

  assert.deepEqual(readdirSync(host.namespaceDirectory), []);
  assert.deepEqual(host.driver.networks(), []);
  assert.deepEqual(host.driver.sandboxes(), []);
  assert.equal(underlay.gossip.entries.size, 0);
  assert.equal(host.node.joined.size, 0);
  assert.deepEqual(
    route.links.list().map(({ name }) => name),
    before,
  );
  for (const folder of ['sandboxes', 'networks']) assert.deepEqual(readdirSync(`${host.stateDirectory}/${folder}`), []);
});

test('a network that could not be taken down to its end is made anew when it is needed again', async () => {
  await using underlay = new TestUnderlay('half-removed');
  const [left, right] = [await underlay.addHost(), await underlay.addHost()];
  const network = testNetwork(13);
  const b = await right.driver.createSandbox(testSandbox('bb', 4, [network]));
  const spec = testSandbox('aa', 3, [network]);
  await left.driver.createSandbox(spec);
  const file = `${left.stateDirectory}/networks/${network.id}.json`;
  rmSync(file);
  mkdirSync(file);
  await assert.rejects(left.driver.removeSandbox(spec.containerId), /EISDIR/);
  rmdirSync(file);
  const again = await left.driver.createSandbox(testSandbox('cc', 5, [network]));
  assert.ok(await reaches(again.networkNamespace, b.networkNamespace, '10.77.13.4'));
  await left.driver.removeSandbox(spec.containerId);
  assert.ok(await reaches(b.networkNamespace, again.networkNamespace, '10.77.13.5'));
});

test('a host that leaves a cluster leaves it on all networks, also when one cannot be taken back', async () => {
  await using underlay = new TestUnderlay('leaving');
  const host = await underlay.addHost();
  const networks = [testNetwork(14), testNetwork(15)];
  await host.driver.createSandbox(testSandbox('aa', 3, networks));
  await host.driver.setLoadBalancerAddresses(
    new Map(networks.map((network, position) => [network.id, { network, address: `10.77.${14 + position}.9/24` }])),
  );
  const file = `${host.stateDirectory}/networks/${networks[0]?.id}.json.new`;
  mkdirSync(file);
  await host.driver.leaveCluster({ removeGateway: true });
  assert.deepEqual([...host.node.joined], []);
  assert.deepEqual([...underlay.gossip.entries.keys()], []);
  rmdirSync(file);
});

test('a daemon starts although it cannot make out, or remove, what an earlier one left', async () => {
  await using underlay = new TestUnderlay('not-adopted');
  const host = await underlay.addHost();
  const ended = await host.driver.createSandbox(testSandbox('aa', 3, [testNetwork(16)]));
  const running = await host.driver.createSandbox(testSandbox('bb', 4, [testNetwork(17)]));
  await host.driver[Symbol.asyncDispose]();
  const stranger = `${host.stateDirectory}/sandboxes/cc.json`;
  writeFileSync(stranger, '{"spec":{"containerId":"cc"}}');
  // Neither a namespace nor a file: to remove it fails.
  const nobodys = join(host.namespaceDirectory, networkNamespaceName(testNetwork(18).id));
  NetworkNamespace.delete(ended.networkNamespace);
  using hindrances = new DisposableStack();
  for (const path of [ended.networkNamespace, nobodys]) {
    mkdirSync(path);
    hindrances.defer(() => rmdirSync(path));
  }

  host.driver = underlay.driverFor(host);
  await host.driver.adopt(new Set([running.containerId]));
  assert.ok(existsSync(`${stranger}.unreadable`));
  assert.deepEqual(
    host.driver.networks().map(({ network }) => network.name),
    ['net17'],
  );
  hindrances.dispose();
  await host.driver.removeSandbox(ended.containerId);
  assert.deepEqual(
    host.driver.sandboxes().map(({ containerId }) => containerId),
    [running.containerId],
  );
});

test('creating a sandbox again changes nothing, and repairs what somebody broke', async () => {
  await using underlay = new TestUnderlay('repair');
  const left = await underlay.addHost();
  const right = await underlay.addHost();
  const network = testNetwork(2);
  const spec = testSandbox('aa', 3, [network]);
  const a = await left.driver.createSandbox(spec);
  const b = await right.driver.createSandbox(testSandbox('bb', 4, [network]));
  assert.deepEqual(await left.driver.createSandbox(spec), a);
  using sandbox = NetworkNamespace.open(sandboxPath(left, network));
  using route = RouteSocket.open(sandbox);
  route.links.delete(route.links.get('vxlan0')?.index ?? 0);
  using inside = NetworkNamespace.open(a.networkNamespace);
  using insideRoute = RouteSocket.open(inside);
  insideRoute.links.delete(insideRoute.links.get('eth0')?.index ?? 0);
  assert.deepEqual(await left.driver.createSandbox(spec), a);
  assert.ok(await reaches(a.networkNamespace, b.networkNamespace, '10.77.2.4'));
});

test('rows follow the records: a moved address goes to the new host, foreign rows are removed, missing ones come back', async () => {
  await using underlay = new TestUnderlay('rows');
  const [one, two, three] = [await underlay.addHost(), await underlay.addHost(), await underlay.addHost()];
  const network = testNetwork(3);
  await one.driver.createSandbox(testSandbox('aa', 3, [network]));
  await two.driver.createSandbox(testSandbox('bb', 4, [network]));
  using sandbox = NetworkNamespace.open(sandboxPath(one, network));
  using route = RouteSocket.open(sandbox);
  const index = route.links.get('vxlan0')?.index ?? 0;
  const rows = () =>
    route.fdb
      .list({ index })
      .flatMap(({ mac, destination }) => (destination === undefined ? [] : [`${mac} ${destination}`]))
      .sort()
      .join();
  const neighbours = () =>
    route.neighbours
      .list({ index, family: 'ipv4' })
      .map(({ ip }) => ip)
      .sort()
      .join();
  await eventually(() => rows() === `02:42:0a:4d:03:04 ${two.vtep}`, rows);

  route.fdb.add({ index, mac: '02:42:0a:4d:03:63', destination: '192.0.2.99' });
  route.neighbours.add({ index, ip: '10.77.3.99', mac: '02:42:0a:4d:03:63' });
  route.fdb.delete({ index, mac: '02:42:0a:4d:03:04', destination: two.vtep });
  await eventually(() => rows() === `02:42:0a:4d:03:04 ${two.vtep}` && neighbours() === '10.77.3.4', rows);

  // The address moves; the old host's record is still there, as when its removal is late.
  await three.driver.createSandbox(testSandbox('cc', 4, [network]));
  await eventually(() => rows() === `02:42:0a:4d:03:04 ${three.vtep}`, rows);
  await two.driver.removeSandbox(testSandbox('bb', 4, []).containerId);
  await eventually(() => rows() === `02:42:0a:4d:03:04 ${three.vtep}`, rows);
  await three.driver.removeSandbox(testSandbox('cc', 4, []).containerId);
  await eventually(() => rows() === '' && neighbours() === '', rows);
});

test('a daemon that is killed and comes back loses no packet, on either side, and keeps the peers until they tell again', async () => {
  await using underlay = new TestUnderlay('adoption');
  const left = await underlay.addHost();
  const right = await underlay.addHost();
  const network = testNetwork(4);
  const a = await left.driver.createSandbox(testSandbox('aa', 3, [network]));
  const b = await right.driver.createSandbox(testSandbox('bb', 4, [network]));
  const gone = await left.driver.createSandbox(testSandbox('a1', 5, [network]));
  assert.ok(await reaches(a.networkNamespace, b.networkNamespace, '10.77.4.4'));
  await using flow = await steadyFlow(a.networkNamespace, b.networkNamespace, '10.77.4.4');

  // The daemon of the left host dies: its driver stops, gossip loses it, the right host hears of that.
  await left.driver[Symbol.asyncDispose]();
  underlay.gossip.lose(left.node, 'left');
  await sleep(100);
  left.node = underlay.gossip.node('host1-again', left.vtep);
  left.driver = underlay.driverFor(left);
  await left.driver.adopt(new Set([a.containerId]));
  await sleep(100);
  await underlay.join(left);
  await sleep(300);

  assert.deepEqual(await flow.missing(), [], 'datagrams without an answer');
  assert.ok(!existsSync(gone.networkNamespace), 'the container that is not there any more has no namespace');
  const adopted = left.driver.sandbox(a.containerId);
  assert.equal(adopted?.networkNamespace, a.networkNamespace);
  assert.notEqual(adopted?.endpoints[0]?.id, a.endpoints[0]?.id, 'the record has a new key');
  const keys = [...underlay.gossip.entries.keys()].map((path) => path.split('/')[2]).sort();
  assert.deepEqual(keys, [adopted?.endpoints[0]?.id, b.endpoints[0]?.id].sort());
});

test('after the grace an adopted network loses the rows that no record explains', async () => {
  await using underlay = new TestUnderlay('grace');
  const host = await underlay.addHost();
  const network = testNetwork(5);
  const a = await host.driver.createSandbox(testSandbox('aa', 3, [network]));
  using sandbox = NetworkNamespace.open(sandboxPath(host, network));
  using route = RouteSocket.open(sandbox);
  const index = route.links.get('vxlan0')?.index ?? 0;
  await host.driver[Symbol.asyncDispose]();
  route.neighbours.add({ index, ip: '10.77.5.99', mac: '02:42:0a:4d:05:63' });
  host.driver = underlay.driverFor(host, 400);
  await host.driver.adopt(new Set([a.containerId]));
  await underlay.join(host);
  await sleep(250);
  assert.equal(route.neighbours.list({ index, family: 'ipv4' }).length, 1, 'kept within the grace');
  await eventually(
    () => route.neighbours.list({ index, family: 'ipv4' }).length === 0,
    () => 'not removed after the grace',
  );
});

test('a lost host keeps its rows; one that is truly gone yields to whoever gets the address', async () => {
  await using underlay = new TestUnderlay('lost');
  const [one, two, three] = [await underlay.addHost(), await underlay.addHost(), await underlay.addHost()];
  const network = testNetwork(6);
  const a = await one.driver.createSandbox(testSandbox('aa', 3, [network]));
  const b = await two.driver.createSandbox(testSandbox('bb', 4, [network]));
  assert.ok(await reaches(a.networkNamespace, b.networkNamespace, '10.77.6.4'));
  underlay.gossip.lose(two.node, 'unreachable');
  await sleep(300);
  assert.ok(await reaches(a.networkNamespace, b.networkNamespace, '10.77.6.4'));
  const c = await three.driver.createSandbox(testSandbox('cc', 4, [network]));
  assert.ok(await reaches(a.networkNamespace, c.networkNamespace, '10.77.6.4'));
});

test('the load balancer has an address of its own that other hosts reach', async () => {
  await using underlay = new TestUnderlay('load-balancer');
  const left = await underlay.addHost();
  const right = await underlay.addHost();
  const network = testNetwork(7);
  await left.driver.setLoadBalancerAddresses(new Map([[network.id, { network, address: '10.77.7.8/24' }]]));
  await left.driver.createSandbox(testSandbox('aa', 3, [network]));
  const b = await right.driver.createSandbox(testSandbox('bb', 4, [network]));
  const balancer = `${left.namespaceDirectory}/lb_${network.id.slice(0, 9)}`;
  assert.ok(await reaches(b.networkNamespace, balancer, '10.77.7.8'));
  await left.driver.setLoadBalancerAddresses(new Map([[network.id, { network, address: '10.77.7.9/24' }]]));
  assert.ok(await reaches(b.networkNamespace, balancer, '10.77.7.9'));
  assert.equal(underlay.gossip.entries.size, 3);
});

test('a network that is broken keeps no other one from its load balancer, nor the host from the gossip', async () => {
  await using underlay = new TestUnderlay('broken-one');
  const [left, right] = [await underlay.addHost(), await underlay.addHost()];
  const [broken, whole] = [testNetwork(21), testNetwork(22)];
  const a = await left.driver.createSandbox(testSandbox('aa', 3, [broken, whole]));
  const b = await right.driver.createSandbox(testSandbox('bb', 4, [whole]));
  {
    using sandbox = NetworkNamespace.open(sandboxPath(left, broken));
    using route = RouteSocket.open(sandbox);
    route.links.delete(route.links.get('br0')?.index ?? 0);
    route.links.create({ kind: 'veth', name: 'br0', peer: { name: 'no-bridge' } });
  }
  const given = new Map([
    [broken.id, { network: broken, address: '10.77.21.9/24' }],
    [whole.id, { network: whole, address: '10.77.22.9/24' }],
  ]);
  const balancer = `${left.namespaceDirectory}/${loadBalancerNamespaceName(whole.id)}`;
  await left.driver.setLoadBalancerAddresses(given);
  assert.ok(await reaches(b.networkNamespace, balancer, '10.77.22.9'));

  await left.driver[Symbol.asyncDispose]();
  underlay.gossip.lose(left.node, 'left');
  left.node = underlay.gossip.node('host1-again', left.vtep);
  left.driver = underlay.driverFor(left);
  await left.driver.adopt(new Set([a.containerId]));
  await underlay.join(left);
  assert.deepEqual([...left.node.joined].sort(), [broken.id, whole.id]);
  assert.ok(await reaches(b.networkNamespace, balancer, '10.77.22.9'));
});

test('a subnet that this host routes elsewhere is refused with both named, and nothing is left', async () => {
  await using underlay = new TestUnderlay('overlap');
  const host = await underlay.addHost();
  using route = RouteSocket.open(host.namespace);
  const index = route.links.get('eth0')?.index ?? 0;
  route.routes.add({ destination: '10.77.0.0/16', index });
  await assert.rejects(host.driver.createSandbox(testSandbox('aa', 3, [testNetwork(8)])), {
    code: 'FailedPrecondition',
    message: /network net8: subnet 10\.77\.8\.0\/24 overlaps the route 10\.77\.0\.0\/16 dev eth0 of this node/,
  });
  assert.deepEqual(readdirSync(host.namespaceDirectory), []);
  assert.deepEqual(host.driver.sandboxes(), []);
});

test('what this host cannot build is refused', async () => {
  await using underlay = new TestUnderlay('refused');
  const host = await underlay.addHost();
  const encrypted = testSandbox('aa', 3, [testNetwork(9, { encrypted: true })]);
  await assert.rejects(host.driver.createSandbox(encrypted), { message: /^cannot join secure network net9: / });
  const [endpoint] = testSandbox('aa', 3, [testNetwork(9)]).endpoints;
  const stray = { ...encrypted, endpoints: endpoint ? [{ ...endpoint, address: '10.9.9.9/24' }] : [] };
  await assert.rejects(host.driver.createSandbox(stray), { code: 'InvalidArgument' });
  assert.deepEqual(readdirSync(host.namespaceDirectory), []);
});

test('the MTU is that of the underlay or of the network option, minus 50', async () => {
  await using underlay = new TestUnderlay('mtu', 1400);
  const host = await underlay.addHost(1400);
  const networks = [testNetwork(13), testNetwork(14, { mtu: 1300 })];
  const { networkNamespace } = await host.driver.createSandbox(testSandbox('aa', 3, networks));
  using inside = NetworkNamespace.open(networkNamespace);
  using route = RouteSocket.open(inside);
  assert.equal(route.links.get('eth0')?.mtu, 1350);
  assert.equal(route.links.get('eth1')?.mtu, 1250);
});

test('running containers follow the MTU of the underlay when the daemon comes back', async () => {
  await using underlay = new TestUnderlay('mtu-change');
  const host = await underlay.addHost();
  const network = testNetwork(23);
  const { containerId, networkNamespace } = await host.driver.createSandbox(testSandbox('aa', 3, [network]));
  using route = RouteSocket.open(host.namespace);
  route.links.set(route.links.get('eth0')?.index ?? 0, { mtu: 1400 });
  await host.driver[Symbol.asyncDispose]();
  host.driver = underlay.driverFor(host);
  await host.driver.adopt(new Set([containerId]));
  using container = NetworkNamespace.open(networkNamespace);
  using inside = RouteSocket.open(container);
  using sandbox = NetworkNamespace.open(sandboxPath(host, network));
  using outside = RouteSocket.open(sandbox);
  const ports = outside.links.list().filter(({ name }) => name !== 'lo');
  assert.deepEqual(
    [inside.links.get('eth0'), ...ports].map((link) => link?.mtu),
    [1350, 1350, 1350, 1350],
  );
});

test('a network of two subnets has a bridge and a tunnel for each', async () => {
  await using underlay = new TestUnderlay('two-subnets');
  const left = await underlay.addHost();
  const right = await underlay.addHost();
  const network = testNetwork(15, {
    subnets: [
      { subnet: '10.77.15.0/24', gateway: '10.77.15.1', vni: 5000 },
      { subnet: '10.77.16.0/24', gateway: '10.77.16.1', vni: 5001 },
    ],
  });
  const [endpoint] = testSandbox('aa', 3, [network]).endpoints;
  assert.ok(endpoint);
  const specOf = (id: string, address: string) => ({
    ...testSandbox(id, 3, []),
    endpoints: [{ ...endpoint, address }],
  });
  const a = await left.driver.createSandbox(specOf('aa', '10.77.16.3/24'));
  const b = await right.driver.createSandbox(specOf('bb', '10.77.16.4/24'));
  assert.ok(await reaches(a.networkNamespace, b.networkNamespace, '10.77.16.4'));
});

test('many sandboxes at once, of few networks, come and go', async () => {
  await using underlay = new TestUnderlay('many');
  const host = await underlay.addHost();
  const networks = [testNetwork(21), testNetwork(22)];
  const specs = Array.from({ length: 20 }, (_, number) =>
    testSandbox(number.toString(16).padStart(4, 'a'), number + 2, networks),
  );
  await host.driver.createSandbox(testSandbox('first', 99, networks));
  const descriptors = readdirSync('/proc/self/fd').length;
  await Promise.all(specs.map((spec) => host.driver.createSandbox(spec)));
  assert.equal(host.driver.networks()[0]?.endpoints.length, 21);
  await Promise.all(specs.map(({ containerId }) => host.driver.removeSandbox(containerId)));
  // Some that were open before may have been closed since.
  assert.ok(readdirSync('/proc/self/fd').length <= descriptors);
  await host.driver.removeSandbox(testSandbox('first', 99, networks).containerId);
  assert.deepEqual(readdirSync(host.namespaceDirectory), []);
});

test('containers reach the outside by docker_gwbridge, with masquerade; not each other, and nobody them', async () => {
  await using underlay = new TestUnderlay('gateway');
  const host = await underlay.addHost();
  const outside = await underlay.addHost();
  await outside.driver.leaveCluster({ removeGateway: true });
  using nft = Nftables.open(host.namespace);
  nft.run([{ add: { table: { family: 'ip', name: 'foreign' } } }]);
  const foreign = JSON.stringify(nft.list({ family: 'ip', name: 'foreign' }));
  const network = testNetwork(31);
  const a = await host.driver.createSandbox(testSandbox('aa', 3, [network], true));
  const b = await host.driver.createSandbox(testSandbox('bb', 4, [network], true));
  assert.deepEqual(
    [a.gateway?.address, a.gateway?.interfaceName, b.gateway?.address],
    ['172.18.0.2/16', 'eth1', '172.18.0.3/16'],
  );
  assert.equal(host.driver.gatewayNetwork()?.endpoints.length, 2);
  const ruleset = () => show(host.namespace.path, 'nft', 'list', 'ruleset');
  assert.ok(await reaches(a.networkNamespace, outside.namespace.path, outside.vtep), ruleset());
  assert.ok(await reaches(a.networkNamespace, b.networkNamespace, '10.77.31.4'), 'the overlay');
  assert.equal(
    await reaches(a.networkNamespace, b.networkNamespace, '172.18.0.3', 300),
    false,
    'container to container',
  );
  using outsideRoute = RouteSocket.open(outside.namespace);
  outsideRoute.routes.add({ destination: '172.18.0.0/16', gateway: host.vtep });
  assert.equal(await reaches(outside.namespace.path, a.networkNamespace, '172.18.0.2', 300), false, 'from outside');

  // Somebody empties the firewall: the next resynchronization brings ours back.
  nft.deleteTable({ family: 'ip', name: 'skein' });
  await eventually(() => nft.list({ family: 'ip', name: 'skein' }).length > 0, ruleset);

  await host.driver.leaveCluster({ removeGateway: true });
  assert.ok(host.driver.gatewayNetwork(), 'it stays while containers are on it');
  for (const { containerId } of [a, b]) await host.driver.removeSandbox(containerId);
  await host.driver.leaveCluster({ removeGateway: true });
  assert.equal(host.driver.gatewayNetwork(), undefined);
  using route = RouteSocket.open(host.namespace);
  assert.deepEqual(
    route.links.list().map(({ name }) => name),
    ['lo', 'eth0'],
  );
  assert.equal(readSysctl(host.namespace, 'net.ipv4.ip_forward'), '0');
  assert.deepEqual(
    nft.tables().map(({ name }) => name),
    ['foreign'],
  );
  assert.equal(JSON.stringify(nft.list({ family: 'ip', name: 'foreign' })), foreign);
});

test('docker_gwbridge takes the first pool that this host does not use, and refuses a bridge of somebody else', async () => {
  await using underlay = new TestUnderlay('pools');
  const host = await underlay.addHost();
  using route = RouteSocket.open(host.namespace);
  const index = route.links.get('eth0')?.index ?? 0;
  assert.equal(host.driver.gatewayNetwork()?.subnet, '172.18.0.0/16', 'made when the node joined');
  await host.driver.leaveCluster({ removeGateway: true });
  const stranger = route.links.create({ kind: 'bridge', name: 'docker_gwbridge' });
  await underlay.join(host);
  const spec = testSandbox('aa', 3, [testNetwork(32)], true);
  await assert.rejects(host.driver.createSandbox(spec), {
    code: 'FailedPrecondition',
    message: /docker_gwbridge exists/,
  });
  route.links.delete(stranger.index);
  route.routes.add({ destination: '172.18.5.0/24', index });
  route.routes.add({ destination: '172.19.0.0/16', index });
  assert.equal((await host.driver.createSandbox(spec)).gateway?.address, '172.20.0.2/16');
});

test('a flow to the outside survives a restart of the daemon, and the firewall is not touched', async () => {
  await using underlay = new TestUnderlay('gateway-adoption');
  const host = await underlay.addHost();
  const outside = await underlay.addHost();
  const spec = testSandbox('aa', 3, [testNetwork(33)], true);
  const a = await host.driver.createSandbox(spec);
  using nft = Nftables.open(host.namespace);
  const rules = JSON.stringify(nft.list({ family: 'ip', name: 'skein' }).filter((object) => 'rule' in object));
  assert.ok(await reaches(a.networkNamespace, outside.namespace.path, outside.vtep));
  await using flow = await steadyFlow(a.networkNamespace, outside.namespace.path, outside.vtep);
  await sleep(50);
  await host.driver[Symbol.asyncDispose]();
  host.driver = underlay.driverFor(host);
  await host.driver.adopt(new Set([a.containerId]));
  await underlay.join(host);
  const again = await host.driver.createSandbox(spec);
  assert.equal(again.gateway?.address, a.gateway?.address);
  assert.deepEqual(await flow.missing(), []);
  assert.equal(JSON.stringify(nft.list({ family: 'ip', name: 'skein' }).filter((object) => 'rule' in object)), rules);
});

test('killed at any point, the daemon leaves nothing that the next one does not remove or adopt', async () => {
  await using underlay = new TestUnderlay('killed');
  const host = await underlay.addHost();
  await host.driver[Symbol.asyncDispose]();
  using route = RouteSocket.open(host.namespace);
  const script = fileURLToPath(new URL('./testing-churn.ts', import.meta.url));
  const { stateDirectory, namespaceDirectory, namespace, vtep } = host;
  for (let round = 0; round < 4; round++) {
    const child = spawn(
      process.execPath,
      ['--conditions=source', script, stateDirectory, namespaceDirectory, namespace.path, vtep],
      { stdio: ['ignore', 'pipe', 'inherit'] },
    );
    await once(child.stdout, 'data');
    await sleep(Math.random() * 150);
    child.kill('SIGKILL');
    await once(child, 'exit');
    const before = readdirSync(namespaceDirectory);
    host.driver = underlay.driverFor(host);
    await host.driver.adopt(new Set());
    assert.deepEqual(readdirSync(namespaceDirectory), [], `round ${round}, left by the killed one: ${before}`);
    assert.deepEqual(host.driver.networks(), []);
    await host.driver.leaveCluster({ removeGateway: true });
    assert.deepEqual(
      route.links.list().map(({ name }) => name),
      ['lo', 'eth0'],
      `round ${round}`,
    );
    await host.driver[Symbol.asyncDispose]();
  }
  host.driver = underlay.driverFor(host);
  await underlay.join(host);
  assert.ok(await host.driver.createSandbox(testSandbox('zz', 9, [testNetwork(41)], true)), 'and can work again');
});

test('with real gossip: rows come and go with the containers of the other host', async () => {
  await using underlay = new TestUnderlay('real-gossip');
  const left = await underlay.addHost();
  const right = await underlay.addHost();
  await using one = new NetworkDB({ bindAddress: '127.0.0.1', port: 0 });
  await using two = new NetworkDB({ bindAddress: '127.0.0.1', port: 0 });
  await one.start();
  await two.start();
  await two.bootstrap([`127.0.0.1:${one.address.port}`]);
  await left.driver.joinCluster({ gossip: one, vtep: left.vtep, dataPathPort: 4789 });
  await right.driver.joinCluster({ gossip: two, vtep: right.vtep, dataPathPort: 4789 });
  const network = testNetwork(51);
  const a = await left.driver.createSandbox(testSandbox('aa', 3, [network]));
  const b = await right.driver.createSandbox(testSandbox('bb', 4, [network]));
  assert.ok(await reaches(a.networkNamespace, b.networkNamespace, '10.77.51.4', 5000));
  assert.equal(left.driver.networks()[0]?.peers.length, 2);
  await right.driver.removeSandbox(b.containerId);
  using sandbox = NetworkNamespace.open(sandboxPath(left, network));
  using route = RouteSocket.open(sandbox);
  const index = route.links.get('vxlan0')?.index ?? 0;
  await eventually(
    () => route.neighbours.list({ index, family: 'ipv4' }).length === 0,
    () => 'the row of the removed container is still there',
  );
});
