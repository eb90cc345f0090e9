/** Tunnels over IPv6. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { NetworkNamespace, RouteSocket, writeSysctl } from '@skein/netlink';
import { pino } from 'pino';
import { networkNamespaceName } from './names.ts';
import { reaches, show, steadyFlow, type TestHost, TestUnderlay, testNetwork, testSandbox } from './testing.ts';
import type { OverlayNetwork } from './types.ts';

const sandboxPath = (host: TestHost, network: OverlayNetwork) =>
  `${host.namespaceDirectory}/${networkNamespaceName(network.id)}`;

for (const fastPath of ['off', 'auto'] as const)
  test(`containers on hosts with IPv6 VTEPs reach each other, fast path ${fastPath}`, async () => {
    await using underlay = new TestUnderlay(`over-ipv6-${fastPath}`, 1500, fastPath);
    const left = await underlay.addHost(1500, 'ipv6');
    const right = await underlay.addHost(1500, 'ipv6');
    const network = testNetwork(41);
    const a = await left.driver.createSandbox(testSandbox('aa', 3, [network]));
    const neighbour = await left.driver.createSandbox(testSandbox('a1', 5, [network]));
    const b = await right.driver.createSandbox(testSandbox('bb', 4, [network]));
    const state = () => show(sandboxPath(left, network), 'bridge', 'fdb', 'show', 'dev', 'vxlan0');
    assert.ok(await reaches(a.networkNamespace, b.networkNamespace, '10.77.41.4'), state());
    assert.ok(await reaches(b.networkNamespace, a.networkNamespace, '10.77.41.3'), state());
    assert.ok(await reaches(a.networkNamespace, neighbour.networkNamespace, '10.77.41.5'), state());

    using sandbox = NetworkNamespace.open(sandboxPath(left, network));
    using route = RouteSocket.open(sandbox);
    const vxlan = route.links.get('vxlan0');
    assert.equal(vxlan?.vxlan?.local, '2001:db8::5');
    assert.deepEqual(
      route.fdb.list({ index: vxlan?.index ?? 0 }).flatMap(({ destination }) => destination ?? []),
      ['2001:db8::6'],
    );
  });

test('the MTU is that of the IPv6 link, minus 70', async () => {
  await using underlay = new TestUnderlay('ipv6-mtu', 1400);
  const host = await underlay.addHost(1400, 'ipv6');
  const mtuOf = async (id: string, network: OverlayNetwork) => {
    const { networkNamespace } = await host.driver.createSandbox(testSandbox(id, 3, [network]));
    using container = NetworkNamespace.open(networkNamespace);
    using route = RouteSocket.open(container);
    return route.links.get('eth0')?.mtu;
  };
  assert.equal(await mtuOf('aa', testNetwork(42)), 1330);
  assert.equal(await mtuOf('bb', testNetwork(43, { mtu: 1300 })), 1230);
  // As a router's advertisement does.
  writeSysctl(host.namespace, 'net/ipv6/conf/eth0/mtu', 1360);
  assert.equal(await mtuOf('cc', testNetwork(44)), 1290);
});

test('an IPv6 tunnel loses no packet while its daemon is away, and is not made anew', async () => {
  await using underlay = new TestUnderlay('ipv6-adoption');
  const left = await underlay.addHost(1500, 'ipv6');
  const right = await underlay.addHost(1500, 'ipv6');
  const network = testNetwork(45);
  const a = await left.driver.createSandbox(testSandbox('aa', 3, [network]));
  const b = await right.driver.createSandbox(testSandbox('bb', 4, [network]));
  assert.ok(await reaches(a.networkNamespace, b.networkNamespace, '10.77.45.4'));
  await using flow = await steadyFlow(a.networkNamespace, b.networkNamespace, '10.77.45.4');
  const tunnel = () => show(sandboxPath(left, network), 'ip', '-o', 'link', 'show', 'vxlan0');
  const before = tunnel();

  await left.driver[Symbol.asyncDispose]();
  left.driver = underlay.driverFor(left);
  await left.driver.adopt(new Set([a.containerId]));
  await underlay.join(left);
  await sleep(300);
  assert.deepEqual(await flow.missing(), [], 'datagrams without an answer');
  assert.equal(tunnel(), before);
});

test('a VTEP of the other family gets no rows, and is named once in the log', async () => {
  await using underlay = new TestUnderlay('mixed-families');
  const six = await underlay.addHost(1500, 'ipv6');
  const four = await underlay.addHost();
  const network = testNetwork(46);
  const lines: string[] = [];
  const logger = pino({ level: 'info' }, { write: (line: string) => lines.push(line) });
  await six.driver[Symbol.asyncDispose]();
  six.driver = underlay.driverFor(six, undefined, undefined, logger);
  await underlay.join(six);
  await six.driver.createSandbox(testSandbox('aa', 3, [network]));
  for (const id of ['bb', 'cc']) await four.driver.createSandbox(testSandbox(id, id === 'bb' ? 4 : 5, [network]));
  await sleep(100);
  for (const host of [six, four])
    assert.equal(show(sandboxPath(host, network), 'ip', 'neigh', 'show', 'dev', 'vxlan0').trim(), '', host.name);
  const told = lines.filter((line) => line.includes(`no tunnel to the containers behind ${four.vtep}`));
  assert.equal(told.length, 1, lines.join(''));
  assert.match(told[0] ?? '', /it is of ipv4, and the data path of this node, 2001:db8::5, of ipv6/);
});
