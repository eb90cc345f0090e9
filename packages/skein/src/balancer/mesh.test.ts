import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  connectTcpIn,
  NetworkNamespace,
  Nftables,
  RouteSocket,
  readSysctl,
  udpSocketIn,
  writeSysctl,
} from '@skein/netlink';
import { silentLogger } from '../common/index.ts';
import { macOfAddress } from '../overlay/index.ts';
import { createLoadBalancer } from './balancer.ts';
import { entranceOf, greeting, TestSegment, ToldGossip } from './testing.ts';
import { sendInit } from './testing-sctp.ts';
import type { IngressEntrance, IngressTarget, LoadBalancer, ReturnPathSpec } from './types.ts';

const subnet = '10.88.0.0/24';
const [targetPort, publishedPort] = [8000, 8888];
const ports = (['tcp', 'udp', 'sctp'] as const).map((protocol) => ({ protocol, targetPort, publishedPort }));
const client = '192.0.2.9';
const hosts = { asked: '192.0.2.1', running: '172.28.9.1' };
const taskAddress = '10.88.0.11';
const six = {
  client: 'fd00:6::9',
  host: 'fd00:6::1',
  entrance: 'fd00:88::4',
  task: 'fd00:88::11',
  taskGateway: 'fd00:29::2',
} as const;
const wait = { tries: 100, ms: 50 };

/** A client outside, a host with the entrance, and a task that is on another host: only the ingress network joins them. */
async function scene(name: string, more: SceneParts = {}): Promise<Scene> {
  const segment = new TestSegment(name);
  segment.alone('host');
  addBridge(segment.get('host'), 'docker_gwbridge', '172.28.0.1');
  addBridge(segment.get('host'), 'lan', hosts.asked);
  writeSysctl(segment.get('host'), 'net.ipv4.ip_forward', 1);
  defaultRoute(segment.add('outside', client, 'host', 'eth0', 'lan'), hosts.asked);
  segment.add('entrance', '10.88.0.4');
  defaultRoute(segment.add('entrance', '172.28.0.2', 'host', 'eth1', 'docker_gwbridge'), '172.28.0.1');
  segment.alone('other-host');
  addBridge(segment.get('other-host'), 'docker_gwbridge', hosts.running);
  await segment.serve('task', taskAddress, targetPort);
  const task = segment.add('task', '172.28.9.2', 'other-host', 'eth1', 'docker_gwbridge');
  defaultRoute(task, hosts.running);
  // As on a host that forgives no other way back.
  for (const link of ['all', 'eth0', 'eth1']) writeSysctl(task, `net/ipv4/conf/${link}/rp_filter`, 1);
  const gossip = new ToldGossip();
  const told: string[] = [];
  more.prepare?.(segment);
  return { segment, gossip, told, balancer: startBalancer(segment, gossip, { ...more, told }) };
}

interface Scene {
  readonly segment: TestSegment;
  readonly gossip: ToldGossip;
  readonly balancer: LoadBalancer;
  /** What the balancer called for. */
  readonly told: string[];
}

/** What a scene has besides. */
interface SceneParts {
  readonly prepare?: (segment: TestSegment) => void;
  readonly ingress?: Partial<IngressTarget>;
  readonly returnPath?: Partial<ReturnPathSpec>;
  readonly entrance?: Partial<IngressEntrance>;
  readonly told?: string[];
}

/** A daemon's balancer, on the host that is asked and on the one where the task runs. */
function startBalancer(segment: TestSegment, gossip: ToldGossip, more: SceneParts = {}): LoadBalancer {
  const balancer = createLoadBalancer({
    logger: silentLogger(),
    hostNamespace: segment.get('host'),
    auditIntervalMs: 50,
    listenersIntervalMs: 50,
  });
  balancer.joinCluster(gossip.asNetworkDB());
  balancer.attach({
    containerId: 'task',
    networkNamespace: segment.path('task'),
    networks: [],
    ingress: {
      address: taskAddress,
      ports,
      returnPath: { interfaceName: 'eth0', subnet, gatewayAddress: '172.28.9.2', ...more.returnPath },
      ...more.ingress,
    },
    onIpv6: () => void more.told?.push('IPv6'),
  });
  balancer.setEntrance({ ...entranceOf(segment), ...more.entrance });
  return balancer;
}

function addBridge(namespace: NetworkNamespace, name: string, address: string): void {
  using route = RouteSocket.open(namespace);
  const { index } = route.links.create({ kind: 'bridge', name, up: true });
  route.addresses.add({ index, address, prefixLength: 24 });
}

function addIpv6(namespace: NetworkNamespace, link: string, address: string): void {
  using route = RouteSocket.open(namespace);
  const index = route.links.get(link)?.index ?? 0;
  route.addresses.add({ index, address, prefixLength: 64, skipDuplicateDetection: true });
}

function defaultRoute(namespace: NetworkNamespace, gateway: string, destination = '0.0.0.0/0'): void {
  using route = RouteSocket.open(namespace);
  route.routes.add({ destination, gateway });
}

/** As on any host with a firewall: without a rule that asks for it the kernel tracks nothing. */
function trackConnections(namespace: NetworkNamespace): void {
  using nft = Nftables.open(namespace);
  const inTable = { family: 'ip', table: 'firewall' } as const;
  const isKnown = { match: { op: 'in', left: { ct: { key: 'state' } }, right: 'established' } };
  nft.replaceTable({ family: 'ip', name: 'firewall' }, [
    { chain: { ...inTable, name: 'input', type: 'filter', hook: 'input', prio: 0, policy: 'accept' } },
    { rule: { ...inTable, chain: 'input', expr: [isKnown, { accept: null }] } },
  ]);
}

/** Tells of the task, until the mesh leads there. */
async function publish(
  { segment, gossip }: Awaited<ReturnType<typeof scene>>,
  returnsToEntrance: boolean,
): Promise<void> {
  const ingressPorts = ports.map((each) => ({ ...each, name: '' }));
  gossip.tell(taskAddress, { virtualIp: '', ingressPorts, returnsToEntrance });
  for (let tries = 0; tries < wait.tries; tries++) {
    if ((await greeting(segment.get('host'), '127.0.0.1', publishedPort)).startsWith('task')) return;
    await sleep(wait.ms);
  }
  assert.fail('the published port does not answer');
}

/** A UDP server, at all addresses, which says its name and who asked. */
async function sayWhoAsks(namespace: NetworkNamespace, name = ''): Promise<AsyncDisposable> {
  const socket = await udpSocketIn(namespace, { address: '0.0.0.0', port: targetPort });
  socket.on('message', (_data, { address, port }) => socket.send(`${name} ${address}`.trim(), port, address));
  return { [Symbol.asyncDispose]: async () => void socket.close() };
}

/** @returns what the UDP server says to who asks from this port. */
async function ask(from: NetworkNamespace, localAddress: string, localPort: number, to: string): Promise<string> {
  const socket = await udpSocketIn(from, { address: localAddress, port: localPort });
  try {
    for (let tries = 0; tries < 3; tries++) {
      socket.send('who?', publishedPort, to);
      const answer = once(socket, 'message', { signal: AbortSignal.timeout(1000) }).catch(() => undefined);
      const [data] = ((await answer) ?? []) as [Buffer?];
      if (data !== undefined) return data.toString();
    }
    return 'no answer';
  } finally {
    socket.close();
  }
}

test("a task on another host sees its clients' addresses, over TCP and UDP", async () => {
  const all = await scene('return');
  await using segment = all.segment;
  await using balancer = all.balancer;
  assert.equal(balancer.returnsToEntrance('task'), true);
  await publish(all, true);
  await using _server = await sayWhoAsks(segment.get('task'));
  const outside = segment.get('outside');
  assert.equal(await greeting(outside, hosts.asked, publishedPort), `task ${client}`);
  assert.equal(await ask(outside, client, 0, hosts.asked), client);
  const host = segment.get('host');
  assert.equal(await greeting(host, hosts.asked, publishedPort), `task ${hosts.asked}`, 'the host by its own address');
  assert.equal(await greeting(host, '127.0.0.1', publishedPort), 'task 10.88.0.4', 'localhost as the node');
});

test('the same client port through two entrances is two flows, each answered where it came from', async () => {
  const all = await scene('twins');
  await using segment = all.segment;
  await using _balancer = all.balancer;
  await publish(all, true);
  await using _server = await sayWhoAsks(segment.get('task'));
  // What a second entrance sends for the same client: straight to the task, with the client's address.
  const second = segment.add('entrance2', '10.88.0.6');
  using route = RouteSocket.open(second);
  const index = route.links.get('eth0')?.index ?? 0;
  route.addresses.add({ index, address: client, prefixLength: 32 });
  // As on an overlay, where nobody asks.
  route.neighbours.replace({ index, ip: taskAddress, mac: macOfAddress(taskAddress) });
  for (let round = 0; round < 3; round++) {
    assert.equal(await ask(segment.get('outside'), client, 5000, hosts.asked), client);
    assert.equal(await ask(second, client, 5000, taskAddress), client);
  }
});

test('a datagram sender with one port finds the tasks that there are: before, between and after others', async () => {
  const all = await scene('sender');
  await using segment = all.segment;
  await using _balancer = all.balancer;
  trackConnections(segment.get('host'));
  segment.add('task2', '10.88.0.12');
  await using _first = await sayWhoAsks(segment.get('task'), 'first');
  const second = await udpSocketIn(segment.get('task2'), { address: '0.0.0.0', port: publishedPort });
  second.on('message', (_data, { address, port }) => second.send('second', port, address));
  const socket = await udpSocketIn(segment.get('outside'), { address: client, port: 5001 });
  let heard = '';
  socket.on('message', (data) => {
    heard = data.toString();
  });
  const hears = async (what: string, tries: number): Promise<boolean> => {
    heard = '';
    for (let turn = 0; turn < tries && heard !== what; turn++) {
      socket.send('who?', publishedPort, hosts.asked);
      await sleep(20);
    }
    return heard === what;
  };
  const ingressPorts = ports.map((each) => ({ ...each, name: '' }));
  try {
    assert.ok(!(await hears('first', 5)), 'before the port is published');
    all.gossip.tell(taskAddress, { virtualIp: '', ingressPorts, returnsToEntrance: true });
    assert.ok(await hears(`first ${client}`, 100), `published while he sends: ${heard}`);
    all.gossip.tell('10.88.0.12', { virtualIp: '', ingressPorts });
    all.gossip.forget(taskAddress);
    assert.ok(await hears('second', 100), `the task is replaced: ${heard}`);
    all.gossip.forget('10.88.0.12');
    for (let turn = 0; turn < 100 && (await hears('second', 3)); turn++) await sleep(20);
    // A task that gets nothing new: the port is published, and nobody is behind it.
    all.gossip.tell('10.88.0.12', { virtualIp: '', ingressPorts }, true);
    assert.ok(!(await hears('second', 10)), 'with no task nobody answers');
    all.gossip.tell(taskAddress, { virtualIp: '', ingressPorts, returnsToEntrance: true });
    assert.ok(await hears(`first ${client}`, 100), `a task is back: ${heard}`);
  } finally {
    socket.close();
    second.close();
  }
});

test('a datagram sender who never pauses follows his port from the mesh to a container of the host, and is told when it is gone', async () => {
  const all = await scene('moves');
  await using segment = all.segment;
  await using balancer = all.balancer;
  await publish(all, true);
  await using _mesh = await sayWhoAsks(segment.get('task'), 'mesh');
  defaultRoute(segment.add('own', '172.28.0.7', 'host', 'eth0', 'docker_gwbridge'), '172.28.0.1');
  await using _own = await sayWhoAsks(segment.get('own'), 'own');
  const socket = await udpSocketIn(segment.get('outside'), { address: client, port: 5002 });
  const heard: string[] = [];
  socket.on('message', (data) => heard.push(data.toString()));
  const sender = setInterval(() => socket.send('who?', publishedPort, hosts.asked), 10);
  const hears = async (what: string): Promise<boolean> => {
    heard.length = 0;
    for (let tries = 0; tries < wait.tries && !heard.includes(what); tries++) await sleep(20);
    return heard.includes(what);
  };
  try {
    assert.ok(await hears(`mesh ${client}`), heard.at(-1));
    all.gossip.forget(taskAddress);
    const target = { containerId: 'own', name: 'task own', address: '172.28.0.7' };
    const open = async (): Promise<unknown> =>
      balancer.openPorts(target, [{ protocol: 'udp', targetPort, publishedPort }]).catch(() => undefined);
    for (let tries = 0; tries < wait.tries && !(await open()); tries++) await sleep(20);
    assert.ok(await hears(`own ${client}`), heard.at(-1));
    balancer.closePorts('own');
    await sleep(200);
    assert.ok(!(await hears(`own ${client}`)), 'nobody is there any more');
  } finally {
    clearInterval(sender);
    socket.close();
  }
});

test('SCTP goes through the mesh, in the name of the entrance', async () => {
  const all = await scene('sctp');
  await using segment = all.segment;
  await using _balancer = all.balancer;
  await publish(all, true);
  const to = { address: hosts.asked, port: publishedPort };
  const seen = await sendInit(segment.get('outside'), to, segment.get('task'));
  assert.equal(seen, `10.88.0.4 > ${taskAddress}:${targetPort}`);
});

test("idle flows live as long as the kernel's own time-outs say: days for TCP", async () => {
  const all = await scene('idle');
  await using segment = all.segment;
  await using _balancer = all.balancer;
  await publish(all, true);
  using untouched = NetworkNamespace.create(segment.path('untouched'), { loopback: true });
  try {
    const names = ['tcp_timeout_established', 'tcp_timeout_close_wait', 'udp_timeout', 'udp_timeout_stream'];
    const read = (namespace: NetworkNamespace): string[] =>
      names.map((name) => readSysctl(namespace, `net.netfilter.nf_conntrack_${name}`));
    for (const name of ['host', 'entrance', 'task']) assert.deepEqual(read(segment.get(name)), read(untouched), name);
    assert.ok(Number(read(segment.get('task'))[0]) > 24 * 3600, String(read(segment.get('task'))));
  } finally {
    NetworkNamespace.delete(segment.path('untouched'));
  }
});

test('clients of IPv6 reach a published port at the addresses of the host, over TCP and UDP', async () => {
  const all = await scene('six');
  await using segment = all.segment;
  await using _balancer = all.balancer;
  const outside = segment.get('outside');
  addIpv6(outside, 'eth0', 'fd00:6::9');
  addIpv6(segment.get('host'), 'lan', 'fd00:6::1');
  await publish(all, true);
  await using _server = await sayWhoAsks(segment.get('task'));
  assert.equal(await greeting(outside, 'fd00:6::1', publishedPort), 'task 10.88.0.4');
  assert.equal(await ask(outside, 'fd00:6::9', 0, 'fd00:6::1'), '10.88.0.4');
  const connection = await connectTcpIn(outside, { address: 'fd00:6::1', port: publishedPort });
  connection.end('all that I have to say');
  const heard = (await connection.toArray()).map(String).join('');
  assert.equal(heard, 'task 10.88.0.4all that I have to say', 'a client that has said all hears the rest');
  all.gossip.forget(taskAddress);
  for (let tries = 0; tries < wait.tries; tries++) {
    if ((await greeting(outside, 'fd00:6::1', publishedPort)) === 'ECONNREFUSED') break;
    await sleep(wait.ms);
  }
  assert.equal(await greeting(outside, 'fd00:6::1', publishedPort), 'ECONNREFUSED');
});

/** The same scene with IPv6 on every link; the task's servers may take it or not. */
async function ipv6Scene(name: string): Promise<Awaited<ReturnType<typeof scene>>> {
  const all = await scene(name, {
    ingress: { ipv6Address: six.task },
    returnPath: { ipv6: { subnet: 'fd00:88::/64', gatewayAddress: six.taskGateway } },
    entrance: {
      ipv6: { loadBalancerAddress: six.entrance, gatewayAddress: 'fd00:28::2', gatewaySubnet: 'fd00:28::/64' },
    },
    prepare: (segment) => {
      for (const [namespace, link, address] of [
        ['outside', 'eth0', six.client],
        ['host', 'lan', six.host],
        ['host', 'docker_gwbridge', 'fd00:28::1'],
        ['entrance', 'eth0', six.entrance],
        ['entrance', 'eth1', 'fd00:28::2'],
        ['task', 'eth0', six.task],
        ['task', 'eth1', six.taskGateway],
        ['other-host', 'docker_gwbridge', 'fd00:29::1'],
      ] as const)
        addIpv6(segment.get(namespace), link, address);
      defaultRoute(segment.get('outside'), six.host, '::/0');
      defaultRoute(segment.get('entrance'), 'fd00:28::1', '::/0');
      defaultRoute(segment.get('task'), 'fd00:29::1', '::/0');
      writeSysctl(segment.get('host'), 'net.ipv6.conf.all.forwarding', 1);
    },
  });
  return all;
}

test('clients of IPv6 are led to a task whose servers take it, with their addresses; to others by the relay', async () => {
  const all = await ipv6Scene('native');
  await using segment = all.segment;
  await using balancer = all.balancer;
  await publish(all, true);
  const [outside, host] = [segment.get('outside'), segment.get('host')];
  assert.equal(await greeting(outside, six.host, publishedPort), 'task 10.88.0.4', 'a server of IPv4 only');
  assert.equal(balancer.takesIpv6('task'), false);
  await using _server = await segment.serveAt('task', '::', targetPort);
  const datagrams = await udpSocketIn(segment.get('task'), { address: '::', port: targetPort });
  datagrams.on('message', (_data, { address, port }) => datagrams.send(address, port, address));
  await using _datagrams = { [Symbol.asyncDispose]: async () => void datagrams.close() };
  await using _ipv4 = await sayWhoAsks(segment.get('task'));
  for (let tries = 0; tries < wait.tries && all.told.length === 0; tries++) await sleep(20);
  assert.deepEqual([all.told, balancer.takesIpv6('task')], [['IPv6'], true], 'whoever tells of the task is told');
  const ingressPorts = ports.map((each) => ({ ...each, name: '' }));
  const record = { virtualIp: '', ingressPorts, returnsToEntrance: true, endpointIpv6: six.task };
  all.gossip.tellPeer(taskAddress, six.task);
  all.gossip.tell(taskAddress, record);
  await hear(outside, `task ${six.client}`);
  assert.equal(await ask(outside, six.client, 0, six.host), six.client);
  assert.equal(await greeting(host, six.host, publishedPort), `task ${six.host}`, 'the host by its own address');
  assert.equal(await greeting(host, '::1', publishedPort), 'task 10.88.0.4', 'localhost as the node');
  assert.equal(await greeting(outside, hosts.asked, publishedPort), `task ${client}`, 'IPv4 as before');
  all.gossip.tell(taskAddress, { ...record, returnsToEntrance: false });
  await hear(outside, `task ${six.entrance}`);
  all.gossip.tell('10.88.0.12', { virtualIp: '', ingressPorts });
  await hear(outside, 'task 10.88.0.4');
});

/** Asks the host by IPv6 until that is the answer. */
async function hear(from: NetworkNamespace, what: string): Promise<void> {
  let heard = '';
  for (const deadline = Date.now() + 10_000; heard !== what && Date.now() < deadline; ) {
    heard = await greeting(from, six.host, publishedPort);
    if (heard !== what) await sleep(20);
  }
  assert.equal(heard, what);
}

test('a port of mode host leads clients of IPv6 to a container whose server takes it, and follows it', async () => {
  const all = await ipv6Scene('host6');
  await using segment = all.segment;
  await using balancer = all.balancer;
  defaultRoute(segment.add('own', '172.28.0.7', 'host', 'eth0', 'docker_gwbridge'), '172.28.0.1');
  addIpv6(segment.get('own'), 'eth0', 'fd00:28::7');
  defaultRoute(segment.get('own'), 'fd00:28::1', '::/0');
  balancer.attach({ containerId: 'own', networkNamespace: segment.path('own'), networks: [] });
  const target = { containerId: 'own', name: 'task own', address: '172.28.0.7', ipv6Address: 'fd00:28::7' };
  await balancer.openPorts(target, [{ protocol: 'tcp', targetPort, publishedPort }]);
  const outside = segment.get('outside');
  {
    await using _ipv4 = await segment.serveAt('own', '0.0.0.0', targetPort);
    await hear(outside, 'own 172.28.0.1');
  }
  await using _ipv6 = await segment.serveAt('own', '::', targetPort);
  await hear(outside, `own ${six.client}`);
  balancer.closePorts('own');
  await hear(outside, 'ECONNREFUSED');
  using nft = Nftables.open(segment.get('host'));
  assert.deepEqual(nft.list({ family: 'ip6', name: 'skein-ports' }), [], 'no table is left');
});

test('a new daemon goes on leaving clients their addresses, before it has heard of anybody', async () => {
  const all = await scene('again');
  await using segment = all.segment;
  await publish(all, true);
  await all.balancer[Symbol.asyncDispose]();
  assert.equal(
    await greeting(segment.get('outside'), hosts.asked, publishedPort),
    `task ${client}`,
    'without a daemon',
  );
  await using balancer = startBalancer(segment, new ToldGossip());
  assert.equal(balancer.returnsToEntrance('task'), true);
  assert.equal(await greeting(segment.get('outside'), hosts.asked, publishedPort), `task ${client}`);
});

test('what does not return to the entrance gets its address instead', async () => {
  const all = await scene('masquerade');
  await using segment = all.segment;
  await using _balancer = all.balancer;
  await publish(all, false);
  await using _server = await sayWhoAsks(segment.get('task'));
  assert.equal(await greeting(segment.get('outside'), hosts.asked, publishedPort), 'task 10.88.0.4');
  assert.equal(await ask(segment.get('outside'), client, 0, hosts.asked), '10.88.0.4');
});

test('where a task cannot return to the entrance it is said, and the rest works', async () => {
  const all = await scene('cannot');
  await using segment = all.segment;
  await using balancer = all.balancer;
  const returnPath = { interfaceName: 'none', subnet, gatewayAddress: '172.28.9.2' };
  balancer.attach({
    containerId: 'task',
    networkNamespace: segment.path('task'),
    networks: [],
    ingress: { address: taskAddress, ports, returnPath },
  });
  assert.equal(balancer.returnsToEntrance('task'), false);
  await publish(all, false);
  assert.equal(await greeting(segment.get('outside'), hosts.asked, publishedPort), 'task 10.88.0.4');
});

test('the table that leads answers back is restored when somebody takes it away', async () => {
  const all = await scene('restore');
  await using segment = all.segment;
  await using _balancer = all.balancer;
  await publish(all, true);
  const table = { family: 'netdev', name: 'skein' } as const;
  using nft = Nftables.open(segment.get('task'));
  const before = nft.list(table).length;
  nft.deleteTable(table);
  for (let tries = 0; tries < wait.tries && nft.list(table).length !== before; tries++) await sleep(wait.ms);
  assert.equal(await greeting(segment.get('outside'), hosts.asked, publishedPort), `task ${client}`);
});
