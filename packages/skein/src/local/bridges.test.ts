import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type NetworkNamespace,
  Nftables,
  RouteSocket,
  RulesetGeneration,
  readSysctl,
  udpClientIn,
  udpSocketIn,
} from '@skein/netlink';
import { TestNamespaces } from '../../../netlink/src/testing.ts';
import { EventBus, silentLogger } from '../common/index.ts';
import { BridgeFirewall, type Publication } from './bridge-firewall.ts';
import { addressesOf, Bridges } from './bridges.ts';

/** RT_TABLE_LOCAL, linux/rtnetlink.h. */
const localTable = 255;
const defaultId = 'd'.repeat(64);
const any = { aliases: [], ipv4Address: '', mac: '' };
const plain = { internal: false, attachable: false, labels: {}, options: {} };

test('bridges: addresses, subnets, links and rules come and go, and a later daemon finds them', (context) => {
  const directory = mkdtempSync(join(tmpdir(), 'skein-bridges-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  using namespaces = new TestNamespaces('bridges');
  const [host] = namespaces.pair('left', 'right');
  const open = (): Bridges => new Bridges(host, directory, defaultId, new EventBus(), silentLogger());
  const bridges = open();
  const first = bridges.find('bridge');
  assert.ok(first);
  assert.equal(first.id, defaultId, 'as it was shown before it was made');
  assert.equal(bridges.find(defaultId), first);
  assert.deepEqual([first.subnet, first.gateway, first.bridge], ['172.17.0.0/16', '172.17.0.1', 'docker0']);
  const second = bridges.create({ ...plain, name: 'second' });
  assert.equal(second.subnet, '172.18.0.0/16');
  assert.throws(() => bridges.create({ ...plain, name: 'third', subnet: '172.18.4.0/24' }), /Pool overlaps/);

  const endpoint = bridges.allocate(first, any, new Set());
  assert.deepEqual([endpoint.address, endpoint.mac], ['172.17.0.2/16', '02:42:ac:11:00:02']);
  const used = addressesOf([endpoint]);
  assert.equal(bridges.allocate(first, any, used).address, '172.17.0.3/16');
  const wanted = (ipv4Address: string) => () => bridges.allocate(first, { ...any, ipv4Address }, used);
  assert.throws(wanted('172.17.0.2'), /Address already in use/);
  assert.throws(wanted('10.0.0.1'), /does not belong to any of this network's subnets/);

  using firewall = BridgeFirewall.open(host);
  const publications: Publication[] = [
    {
      protocol: 'tcp',
      containerPort: 80,
      hostAddress: '0.0.0.0',
      hostPort: 8080,
      address: '172.17.0.2',
      bridge: 'docker0',
    },
  ];
  firewall.apply({ networks: bridges.list(), publications });
  using nft = Nftables.open(host);
  const table = { family: 'ip', name: 'skein-local' } as const;
  assert.ok(JSON.stringify(nft.list(table)).includes('"dnat":{"addr":"172.17.0.2","port":80}'));

  const later = open();
  later.ensureAll();
  assert.deepEqual(
    later
      .list()
      .map(({ name }) => name)
      .sort(),
    ['bridge', 'second'],
  );
  for (const network of later.list()) later.remove(network);
  firewall.apply({ networks: later.list(), publications: [] });
  assert.deepEqual(nft.list(table), []);
  using route = RouteSocket.open(host);
  assert.deepEqual(
    route.links.list().filter(({ kind }) => kind === 'bridge'),
    [],
  );
});

test('a bridge with IPv6 has a subnet of each family, and its containers an address of each', (context) => {
  const directory = mkdtempSync(join(tmpdir(), 'skein-bridges-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  using namespaces = new TestNamespaces('bridges6');
  const [host] = namespaces.pair('left', 'right');
  const bridges = new Bridges(host, directory, defaultId, new EventBus(), silentLogger());
  const given = bridges.create({ ...plain, name: 'given', ipv6: { subnet: 'fd00:7::/64', ipRange: 'fd00:7::80/121' } });
  assert.deepEqual(given.ipv6, { subnet: 'fd00:7::/64', gateway: 'fd00:7::1', ipRange: 'fd00:7::80/121' });
  const found = bridges.create({ ...plain, name: 'found', ipv6: {} });
  assert.match(found.ipv6?.subnet ?? '', /^fd[0-9a-f]{2}:.*::\/64$/);
  assert.throws(() => bridges.create({ ...plain, name: 'same', ipv6: { subnet: 'fd00:7::/48' } }), /Pool overlaps/);
  const outside = { subnet: 'fd00:8::/64', gateway: 'fd00:9::1' };
  assert.throws(() => bridges.create({ ...plain, name: 'outside', ipv6: outside }), /no matching subnet for gateway/);

  const endpoint = bridges.allocate(given, any, new Set());
  assert.equal(endpoint.ipv6Address, 'fd00:7::80/64');
  const used = addressesOf([endpoint]);
  assert.equal(bridges.allocate(given, any, used).ipv6Address, 'fd00:7::81/64');
  const wanted = (ipv6Address: string) => () => bridges.allocate(given, { ...any, ipv6Address }, used);
  assert.equal(wanted('fd00:7:0::9')().ipv6Address, 'fd00:7::9/64');
  assert.throws(wanted('fd00:7::80'), /Address already in use/);
  assert.throws(wanted('fd00:8::1'), /does not belong to any of this network's subnets/);

  using container = namespaces.create('container');
  const isWayOut = { ipv4: true, ipv6: true };
  bridges.attach(container, given, endpoint, { position: 0, isWayOut, owner: 'c' });
  using inside = RouteSocket.open(container);
  const way = inside.routes.list({ family: 'ipv6' }).find(({ destination }) => destination === '::/0');
  assert.equal(way?.gateway, 'fd00:7::1');
  assert.equal(readSysctl(host, 'net.ipv6.conf.all.forwarding'), '1');
  for (const network of bridges.list())
    assert.equal(readSysctl(host, `net/ipv6/conf/${network.bridge}/accept_ra`), '0');
  bridges.detach(endpoint);
});

test('the rules of every kind of network and port are written as the kernel lists them', () => {
  using namespaces = new TestNamespaces('written');
  const [host] = namespaces.pair('left', 'right');
  const network = { id: 'a', gateway: '', attachable: false, labels: {}, options: {}, created: '' };
  const ipv6 = { subnet: 'fd00:17::/64', gateway: 'fd00:17::1' };
  const networks = [
    { ...network, name: 'open', subnet: '172.17.0.0/16', ipv6, bridge: 'docker0', internal: false },
    { ...network, name: 'internal', subnet: '192.168.16.0/20', ipv6, bridge: 'br-0', internal: true },
  ];
  const to = { address: '172.17.0.2', bridge: 'docker0', containerPort: 80 };
  const toIpv6 = { ...to, address: 'fd00:17::2' };
  const publications = (['tcp', 'udp', 'sctp'] as const).flatMap((protocol): Publication[] => [
    { ...to, protocol, hostAddress: '0.0.0.0', hostPort: 8080 },
    { ...to, protocol, hostAddress: '127.0.0.1', hostPort: 8081 },
    { ...toIpv6, protocol, hostAddress: '::', hostPort: 8080 },
    { ...toIpv6, protocol, hostAddress: 'fd00:6::1', hostPort: 8081 },
  ]);
  using first = BridgeFirewall.open(host);
  first.apply({ networks, publications });
  using generation = RulesetGeneration.open(host);
  const before = generation.read();
  using later = BridgeFirewall.open(host);
  later.apply({ networks, publications });
  assert.equal(generation.read(), before);
  using nft = Nftables.open(host);
  for (const family of ['ip', 'ip6'] as const) {
    nft.deleteTable({ family, name: 'skein-local' });
    assert.ok(later.repair());
  }
  assert.ok(!later.repair());
  assert.ok(!first.repair());
});

test("a port that is published on 127.0.0.1 is the host's own: no neighbour reaches it", async () => {
  using namespaces = new TestNamespaces('neighbour');
  const [host, neighbour] = namespaces.pair('left', 'right');
  const server = await udpSocketIn(host, { address: '10.99.0.1', port: 80 });
  const heard: string[] = [];
  server.on('message', (data) => heard.push(data.toString()));
  // The neighbour sends what is for 127.0.0.1 to the host.
  using route = RouteSocket.open(neighbour);
  for (const destination of ['127.0.0.0/8', '127.0.0.1/32']) route.routes.delete({ destination, table: localTable });
  route.routes.add({ destination: '127.0.0.1/32', gateway: '10.99.0.1' });
  using firewall = BridgeFirewall.open(host);
  const port = { protocol: 'udp', hostPort: 8081, containerPort: 80, address: '10.99.0.1', bridge: 'docker0' } as const;
  const publish = (hostAddress: string): void =>
    firewall.apply({ networks: [], publications: [{ ...port, hostAddress }] });
  const say = async (from: NetworkNamespace, address: string, word: string): Promise<void> => {
    const client = await udpClientIn(from, { address, port: port.hostPort });
    client.on('error', () => undefined);
    client.send(word);
    await sleep(100);
    client.close();
  };
  try {
    publish('0.0.0.0');
    await say(neighbour, '10.99.0.1', 'to all addresses');
    publish('127.0.0.1');
    await say(neighbour, '127.0.0.1', 'intruder');
    await say(host, '127.0.0.1', 'the host itself');
    for (let tries = 0; tries < 100 && heard.length < 2; tries++) await sleep(20);
    assert.deepEqual(heard, ['to all addresses', 'the host itself']);
  } finally {
    server.close();
  }
});

test("a link of another program's is left alone, and named", (context) => {
  const directory = mkdtempSync(join(tmpdir(), 'skein-bridges-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  using namespaces = new TestNamespaces('foreign');
  const [host] = namespaces.pair('left', 'right');
  using route = RouteSocket.open(host);
  route.links.create({ kind: 'bridge', name: 'docker0' });
  const bridges = new Bridges(host, directory, defaultId, new EventBus(), silentLogger());
  assert.throws(() => bridges.find('bridge'), /link docker0 exists and is not Skein's/);
  assert.deepEqual(bridges.list(), []);
  assert.ok(route.links.get('docker0'));
});
