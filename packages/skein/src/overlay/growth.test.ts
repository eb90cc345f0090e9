import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RouteSocket } from '@skein/netlink';
import { reaches, show, steadyFlow, TestUnderlay, testNetwork, testSandbox } from './testing.ts';
import type { OverlayNetwork, SandboxSpec } from './types.ts';

const first = { subnet: '10.77.61.0/24', gateway: '10.77.61.1', vni: 4161 };
const second = { subnet: '10.77.62.0/24', gateway: '10.77.62.1', vni: 4162 };

function sandboxIn(subnet: { subnet: string }, network: OverlayNetwork, id: string, host: number): SandboxSpec {
  const spec = testSandbox(id, host, [network]);
  const address = subnet.subnet.replace('0/24', `${host}/24`);
  return { ...spec, endpoints: [{ network, address, aliases: [] }] };
}

test('containers of two subnets reach each other, on one host and across', async () => {
  await using underlay = new TestUnderlay('subnets');
  const [left, right] = [await underlay.addHost(), await underlay.addHost()];
  const network = testNetwork(61, { subnets: [first, second] });
  const a = await left.driver.createSandbox(sandboxIn(first, network, 'aa', 3));
  const b = await left.driver.createSandbox(sandboxIn(second, network, 'bb', 3));
  const c = await right.driver.createSandbox(sandboxIn(second, network, 'cc', 4));
  const routes = () => show(a.networkNamespace, 'ip', 'route');
  assert.ok(await reaches(a.networkNamespace, b.networkNamespace, '10.77.62.3'), routes());
  assert.ok(await reaches(a.networkNamespace, c.networkNamespace, '10.77.62.4'), routes());
  assert.ok(await reaches(c.networkNamespace, a.networkNamespace, '10.77.61.3'), routes());
});

test('a network that grows under running containers loses no packet, and old and new ones talk', async () => {
  await using underlay = new TestUnderlay('growth');
  const [left, right] = [await underlay.addHost(), await underlay.addHost()];
  const small = testNetwork(61, { subnets: [first] });
  const large = { ...small, subnets: [first, second] };
  const a = await left.driver.createSandbox(sandboxIn(first, small, 'aa', 3));
  const b = await right.driver.createSandbox(sandboxIn(first, small, 'bb', 4));
  assert.ok(await reaches(a.networkNamespace, b.networkNamespace, '10.77.61.4'));
  await using flow = await steadyFlow(a.networkNamespace, b.networkNamespace, '10.77.61.4');
  // The left host hears of it from the manager, the right one by a task that comes with a new address.
  const balancer = new Map([[large.id, { network: large, address: '10.77.61.9/24' }]]);
  await left.driver.setLoadBalancerAddresses(balancer);
  const c = await right.driver.createSandbox(sandboxIn(second, large, 'cc', 5));
  assert.ok(await reaches(a.networkNamespace, c.networkNamespace, '10.77.62.5'));
  assert.ok(await reaches(b.networkNamespace, c.networkNamespace, '10.77.62.5'));
  // What a task was told before the network grew does not make it smaller.
  const d = await left.driver.createSandbox(sandboxIn(first, small, 'dd', 6));
  assert.ok(await reaches(d.networkNamespace, c.networkNamespace, '10.77.62.5'));
  assert.deepEqual(
    left.driver.networks().map(({ network }) => network.subnets.length),
    [2],
  );
  using host = RouteSocket.open(left.namespace);
  host.routes.add({ destination: '10.77.63.0/24', index: host.links.get('eth0')?.index ?? 0 });
  const clash = { ...large, subnets: [first, second, { subnet: '10.77.63.0/24', gateway: '10.77.63.1', vni: 4163 }] };
  await assert.rejects(left.driver.createSandbox(sandboxIn(first, clash, 'ee', 7)), /overlaps the route 10\.77\.63\.0/);
  assert.ok(await reaches(a.networkNamespace, c.networkNamespace, '10.77.62.5'));
  assert.deepEqual(await flow.missing(), []);
});

test('running containers keep their endpoints over a restart of a host that refused the growth, and get it later', async () => {
  await using underlay = new TestUnderlay('refused-growth');
  const [left, right] = [await underlay.addHost(), await underlay.addHost()];
  const small = testNetwork(61, { subnets: [first] });
  const large = { ...small, subnets: [first, second] };
  const a = await left.driver.createSandbox(sandboxIn(first, small, 'aa', 3));
  const b = await right.driver.createSandbox(sandboxIn(second, large, 'bb', 4));
  using host = RouteSocket.open(left.namespace);
  const route = { destination: second.subnet, index: host.links.get('eth0')?.index ?? 0 };
  host.routes.add(route);
  const balancer = new Map([[large.id, { network: large, address: '10.77.61.9/24' }]]);
  await left.driver.setLoadBalancerAddresses(balancer);
  await assert.rejects(
    left.driver.createSandbox(sandboxIn(second, large, 'cc', 5)),
    /overlaps the route 10\.77\.62\.0/,
  );
  const again = await left.driver.createSandbox(sandboxIn(first, large, 'aa', 3));
  assert.deepEqual(again.endpoints, a.endpoints, 'what runs can be repaired, and put on other networks');

  await left.driver[Symbol.asyncDispose]();
  left.driver = underlay.driverFor(left);
  await left.driver.adopt(new Set([a.containerId]));
  await underlay.join(left);
  await left.driver.setLoadBalancerAddresses(balancer);
  const [here] = left.driver.networks();
  assert.deepEqual(
    here?.endpoints.map(({ containerId, endpoint }) => [containerId, endpoint.address]),
    [[a.containerId, '10.77.61.3/24']],
  );
  assert.deepEqual(here?.network.subnets, [first]);
  assert.deepEqual(left.driver.sandbox(a.containerId)?.endpoints[0]?.network.subnets, [first]);

  host.routes.delete(route);
  assert.ok(await reaches(a.networkNamespace, b.networkNamespace, '10.77.62.4'), 'the next resynchronization grows it');
  assert.deepEqual(left.driver.sandbox(a.containerId)?.endpoints[0]?.network.subnets, [first, second]);
});

test('a growth that failed half-way is finished when what stood in its way has gone', async () => {
  await using underlay = new TestUnderlay('half-grown');
  const [left, right] = [await underlay.addHost(), await underlay.addHost()];
  const small = testNetwork(61, { subnets: [first] });
  const large = { ...small, subnets: [first, second] };
  const a = await left.driver.createSandbox(sandboxIn(first, small, 'aa', 3));
  const b = await right.driver.createSandbox(sandboxIn(second, large, 'bb', 4));
  using host = RouteSocket.open(left.namespace);
  const { vni } = second;
  const squatter = host.links.create({ kind: 'vxlan', name: 'other', vni, port: 4789, local: left.vtep });
  const balancer = new Map([[large.id, { network: large, address: '10.77.61.9/24' }]]);
  await left.driver.setLoadBalancerAddresses(balancer);
  assert.deepEqual(left.driver.networks()[0]?.network.subnets, [first]);
  host.links.delete(squatter.index);
  assert.ok(await reaches(a.networkNamespace, b.networkNamespace, '10.77.62.4', 10_000));
  assert.deepEqual(left.driver.networks()[0]?.network.subnets, [first, second]);
});
