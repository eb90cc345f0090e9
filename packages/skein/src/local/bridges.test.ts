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
  udpClientIn,
  udpSocketIn,
} from '@skein/netlink';
import { TestNamespaces } from '../../../netlink/src/testing.ts';
import { EventBus, silentLogger } from '../common/index.ts';
import { applyRules, openBridgeFirewall, type Publication } from './bridge-firewall.ts';
import { addressesOf, Bridges } from './bridges.ts';

/** RT_TABLE_LOCAL, linux/rtnetlink.h. */
const localTable = 255;
const any = { aliases: [], ipv4Address: '', mac: '' };
const plain = { internal: false, attachable: false, labels: {}, options: {} };

test('bridges: addresses, subnets, links and rules come and go, and a later daemon finds them', (context) => {
  const directory = mkdtempSync(join(tmpdir(), 'skein-bridges-'));
  context.after(() => rmSync(directory, { recursive: true, force: true }));
  using namespaces = new TestNamespaces('bridges');
  const [host] = namespaces.pair('left', 'right');
  const open = (): Bridges => new Bridges(host, directory, new EventBus(), silentLogger());
  const bridges = open();
  const first = bridges.find('bridge');
  assert.ok(first);
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

  using firewall = openBridgeFirewall(host);
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
  applyRules(firewall, { networks: bridges.list(), publications });
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
  applyRules(firewall, { networks: later.list(), publications: [] });
  assert.deepEqual(nft.list(table), []);
  using route = RouteSocket.open(host);
  assert.deepEqual(
    route.links.list().filter(({ kind }) => kind === 'bridge'),
    [],
  );
});

test('the rules of every kind of network and port are written as the kernel lists them', () => {
  using namespaces = new TestNamespaces('written');
  const [host] = namespaces.pair('left', 'right');
  const network = { id: 'a', gateway: '', attachable: false, labels: {}, options: {}, created: '' };
  const networks = [
    { ...network, name: 'open', subnet: '172.17.0.0/16', bridge: 'docker0', internal: false },
    { ...network, name: 'internal', subnet: '192.168.16.0/20', bridge: 'br-0', internal: true },
  ];
  const to = { address: '172.17.0.2', bridge: 'docker0', containerPort: 80 };
  const publications = (['tcp', 'udp', 'sctp'] as const).flatMap((protocol): Publication[] => [
    { ...to, protocol, hostAddress: '0.0.0.0', hostPort: 8080 },
    { ...to, protocol, hostAddress: '127.0.0.1', hostPort: 8081 },
  ]);
  using first = openBridgeFirewall(host);
  first.apply({ networks, publications });
  using generation = RulesetGeneration.open(host);
  const before = generation.read();
  using later = openBridgeFirewall(host);
  later.apply({ networks, publications });
  assert.equal(generation.read(), before);
  using nft = Nftables.open(host);
  nft.deleteTable({ family: 'ip', name: 'skein-local' });
  assert.ok(later.repair());
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
  using firewall = openBridgeFirewall(host);
  const port = { protocol: 'udp', hostPort: 8081, containerPort: 80, address: '10.99.0.1', bridge: 'docker0' } as const;
  const publish = (hostAddress: string): void =>
    applyRules(firewall, { networks: [], publications: [{ ...port, hostAddress }] });
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
  const bridges = new Bridges(host, directory, new EventBus(), silentLogger());
  assert.throws(() => bridges.find('bridge'), /link docker0 exists and is not Skein's/);
  assert.deepEqual(bridges.list(), []);
  assert.ok(route.links.get('docker0'));
});
