import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NetworkNamespace, RouteSocket, readSysctl } from '@skein/netlink';
import { networkNamespaceName } from './names.ts';
import { reaches, show, type TestHost, TestUnderlay, testNetwork, testSandbox } from './testing.ts';
import type { OverlayNetwork, SandboxSpec } from './types.ts';

const first = {
  subnet: '10.77.71.0/24',
  gateway: '10.77.71.1',
  vni: 4171,
  ipv6: { subnet: 'fd00:71::/64', gateway: 'fd00:71::1' },
};
const second = {
  subnet: '10.77.72.0/24',
  gateway: '10.77.72.1',
  vni: 4172,
  ipv6: { subnet: 'fd00:72::/64', gateway: 'fd00:72::1' },
};
const network = testNetwork(71, { subnets: [first, second] });

function sandbox(subnet: typeof first, id: string, host: number, on: OverlayNetwork = network): SandboxSpec {
  const address = subnet.subnet.replace('0/24', `${host}/24`);
  const ipv6Address = subnet.ipv6.subnet.replace('/64', `${host}/64`);
  return { ...testSandbox(id, host, [on]), endpoints: [{ network: on, address, ipv6Address, aliases: [] }] };
}

function tunnelNeighbours(host: TestHost, position: number): string[] {
  using namespace = NetworkNamespace.open(`${host.namespaceDirectory}/${networkNamespaceName(network.id)}`);
  using route = RouteSocket.open(namespace);
  const index = route.links.get(`vxlan${position}`)?.index ?? assert.fail('no tunnel');
  const rows = route.neighbours.list({ index, family: 'ipv6' }).filter(({ state }) => state === 'permanent');
  return rows.map(({ ip }) => ip).sort();
}

test('containers reach each other over IPv6: on one host, across, and from subnet to subnet', async () => {
  await using underlay = new TestUnderlay('ipv6');
  const [left, right] = [await underlay.addHost(), await underlay.addHost()];
  const a = await left.driver.createSandbox(sandbox(first, 'aa', 3));
  const b = await left.driver.createSandbox(sandbox(first, 'bb', 4));
  const c = await right.driver.createSandbox(sandbox(first, 'cc', 5));
  const d = await right.driver.createSandbox(sandbox(second, 'dd', 6));
  assert.equal(a.endpoints[0]?.ipv6Address, 'fd00:71::3/64');
  for (const [from, to, address] of [
    [a, b, 'fd00:71::4'],
    [a, c, 'fd00:71::5'],
    [c, a, 'fd00:71::3'],
    [a, d, 'fd00:72::6'],
    [d, a, 'fd00:71::3'],
  ] as const) {
    const isReached = await reaches(from.networkNamespace, to.networkNamespace, address, 10_000);
    assert.ok(isReached, `${address}\n${show(from.networkNamespace, 'ip', '-6', 'route')}`);
  }
  assert.deepEqual(tunnelNeighbours(left, 0), ['fd00:71::5']);
  assert.deepEqual(tunnelNeighbours(left, 1), ['fd00:72::6']);
  await right.driver.removeSandbox(sandbox(first, 'cc', 5).containerId);
  for (let tries = 0; tries < 200 && tunnelNeighbours(left, 0).length > 0; tries++)
    await new Promise((resolve) => setTimeout(resolve, 50));
  assert.deepEqual(tunnelNeighbours(left, 0), []);
});

test('IPv6 stays off where a network has none, and a wrong address is refused', async () => {
  await using underlay = new TestUnderlay('ipv6-off');
  const host = await underlay.addHost();
  const plain = await host.driver.createSandbox(testSandbox('aa', 3, [testNetwork(73)]));
  using namespace = NetworkNamespace.open(plain.networkNamespace);
  assert.equal(readSysctl(namespace, 'net.ipv6.conf.eth0.disable_ipv6'), '1');
  for (const ipv6Address of ['fd00:99::3/64', 'fd00:72::3/64', '10.77.71.4/24', 'nonsense']) {
    const [endpoint] = sandbox(first, 'bb', 3).endpoints;
    const spec = { ...sandbox(first, 'bb', 3), endpoints: endpoint ? [{ ...endpoint, ipv6Address }] : [] };
    await assert.rejects(host.driver.createSandbox(spec), { code: 'InvalidArgument' }, ipv6Address);
  }
  const small = testNetwork(74, { subnets: [first], mtu: 1300 });
  await assert.rejects(host.driver.createSandbox(sandbox(first, 'cc', 3, small)), /its MTU on this node is 1250/);
});
