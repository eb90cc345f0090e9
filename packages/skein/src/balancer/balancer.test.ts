import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  Conntrack,
  cgroupPrograms,
  connectTcpIn,
  Nftables,
  RouteSocket,
  readSysctl,
  TcpConnections,
  tcpServerIn,
  udpClientIn,
  udpSocketIn,
  writeSysctl,
} from '@skein/netlink';
import { silentLogger } from '../common/index.ts';
import { createLoadBalancer } from './balancer.ts';
import { Pace } from './pace.ts';
import { ServiceTable } from './service-table.ts';
import { entranceOf, greeting, networkId, TestCgroup, TestSegment, ToldGossip, virtualIp } from './testing.ts';
import { sendInit } from './testing-sctp.ts';
import type { LoadBalancer } from './types.ts';

const port = 8000;
const backends = ['10.88.0.11', '10.88.0.12', '10.88.0.13'];
const client = (segment: TestSegment) => ({
  containerId: 'client',
  networkNamespace: segment.path('client'),
  networks: [{ id: networkId, subnets: ['10.88.0.0/24'] }],
});
const tableOf = (segment: TestSegment, name: string): string => {
  using nft = Nftables.open(segment.get(name));
  return JSON.stringify(nft.list({ family: 'ip', name: 'skein' }));
};

/** What leads connections of TCP. */
const ways = ['nft', 'connect time'] as const;
type Way = (typeof ways)[number];

const skipConnectTime = TestCgroup.root === undefined && 'this host has no cgroups of version 2';

/** A test that must come out the same, whichever leads. */
function testBoth(title: string, body: (way: Way) => Promise<void>): void {
  for (const way of ways) test(`${title} (${way})`, { skip: way !== 'nft' && skipConnectTime }, () => body(way));
}

/** A client and three tasks of one service. */
async function scene(
  name: string,
  way: Way = 'nft',
): Promise<{ segment: TestSegment; gossip: ToldGossip; start: (mode?: 'auto' | 'off') => LoadBalancer }> {
  const segment = new TestSegment(name);
  if (way === 'connect time') segment.enterCgroup();
  segment.add('client', '10.88.0.5');
  segment.alone('host');
  for (const [index, address] of backends.entries()) await segment.serve(`task${index + 1}`, address, port);
  const gossip = new ToldGossip();
  const start = (mode: 'auto' | 'off' = 'auto'): LoadBalancer =>
    createLoadBalancer({
      logger: silentLogger(),
      hostNamespace: segment.get('host'),
      connectTime: { mode, cgroup: segment.cgroup?.path },
      auditIntervalMs: 50,
      lostGraceMs: 400,
    });
  return { segment, gossip, start };
}

/** Where a connection from there to the port is led, by the kernel's own list of connections: nft does not show in it. */
function seenBySocket(segment: TestSegment, name: string): string | undefined {
  using connections = TcpConnections.open(segment.get(name));
  return connections.list().find(({ destinationPort }) => destinationPort === port)?.destination;
}

async function until(what: string, probe: () => Promise<boolean> | boolean): Promise<void> {
  for (let tries = 0; tries < 60; tries++) {
    if (await probe()) return;
    await sleep(25);
  }
  assert.fail(`not in time: ${what}`);
}

testBoth('connections to a virtual IP are spread evenly, and the task sees the client', async (way) => {
  const { segment, gossip, start } = await scene('spread', way);
  await using _segment = segment;
  await using balancer = start();
  balancer.joinCluster(gossip.asNetworkDB());
  for (const address of backends) gossip.tell(address);
  balancer.attach(client(segment));
  const counts = new Map<string, number>();
  for (let round = 0; round < 30; round++) {
    const said = await greeting(segment.get('client'), virtualIp, port);
    counts.set(said, (counts.get(said) ?? 0) + 1);
  }
  assert.deepEqual(
    [...counts].sort(),
    [1, 2, 3].map((number) => [`task${number} 10.88.0.5`, 10]),
  );
});

testBoth('a task gets connections only once the way to it is known', async (way) => {
  const { segment, gossip, start } = await scene('way', way);
  await using _segment = segment;
  await using balancer = start();
  balancer.joinCluster(gossip.asNetworkDB());
  gossip.tell('10.88.0.11');
  gossip.tell('10.88.0.12', { id: 'its peer record is late' });
  balancer.attach(client(segment));
  for (let round = 0; round < 3; round++) {
    assert.equal(await greeting(segment.get('client'), virtualIp, port), 'task1 10.88.0.5');
  }
  gossip.tellPeer('10.88.0.12');
  await until('the second task is in', () => tableOf(segment, 'client').includes('10.88.0.12'));
});

testBoth('a task reaches its own service, itself among it', async (way) => {
  const { segment, gossip, start } = await scene('hairpin', way);
  await using _segment = segment;
  await using balancer = start();
  balancer.joinCluster(gossip.asNetworkDB());
  gossip.tell('10.88.0.11');
  balancer.attach({ ...client(segment), containerId: 'task1', networkNamespace: segment.path('task1') });
  assert.equal(await greeting(segment.get('task1'), virtualIp, port), 'task1 10.88.0.11');
});

testBoth('a draining task keeps its connections and gets no new ones; a gone one is reset at once', async (way) => {
  const { segment, gossip, start } = await scene('drain', way);
  await using _segment = segment;
  await using balancer = start();
  balancer.joinCluster(gossip.asNetworkDB());
  gossip.tell('10.88.0.11');
  balancer.attach(client(segment));
  const connection = await connectTcpIn(segment.get('client'), { address: virtualIp, port });
  const [hello] = (await once(connection, 'data')) as [Buffer];
  assert.equal(hello.toString(), 'task1 10.88.0.5');
  assert.equal(connection.remoteAddress, virtualIp, 'whichever leads, a program sees the address that it asked for');
  assert.equal(seenBySocket(segment, 'client'), way === 'nft' ? virtualIp : '10.88.0.11');
  gossip.tell('10.88.0.12');
  gossip.tell('10.88.0.11', {}, true);
  await until('the draining task is out', () => !tableOf(segment, 'client').includes('10.88.0.11'));
  for (let round = 0; round < 4; round++) {
    assert.equal(await greeting(segment.get('client'), virtualIp, port), 'task2 10.88.0.5');
  }
  connection.write('still there?');
  const [echo] = (await once(connection, 'data')) as [Buffer];
  assert.equal(echo.toString(), 'still there?');
  const failed = once(connection, 'error', { signal: AbortSignal.timeout(1000) });
  gossip.forget('10.88.0.11');
  await sleep(100);
  connection.write('and now?');
  const [error] = (await failed) as [NodeJS.ErrnoException];
  assert.equal(error.code, way === 'nft' ? 'ECONNRESET' : 'ECONNABORTED');
});

test('a datagram sender to a virtual IP is led to another task when his is gone; SCTP is led, too', async () => {
  const { segment, gossip, start } = await scene('datagrams');
  await using _segment = segment;
  await using balancer = start();
  balancer.joinCluster(gossip.asNetworkDB());
  gossip.tell('10.88.0.11');
  balancer.attach(client(segment));
  const to = { address: virtualIp, port };
  assert.equal(await sendInit(segment.get('client'), to, segment.get('task1')), `10.88.0.5 > 10.88.0.11:${port}`);
  const tasks = await Promise.all(
    ['task1', 'task2'].map(async (name) => {
      const socket = await udpSocketIn(segment.get(name), { address: '0.0.0.0', port });
      return socket.on('message', (_data, from) => socket.send(name, from.port, from.address));
    }),
  );
  const sender = await udpClientIn(segment.get('client'), to);
  sender.on('error', () => undefined);
  let heard = '';
  sender.on('message', (data) => {
    heard = data.toString();
  });
  const hears = (name: string) => async (): Promise<boolean> => {
    sender.send('who?');
    await sleep(10);
    return heard === name;
  };
  try {
    await until('the first answers', hears('task1'));
    gossip.tell('10.88.0.12');
    gossip.forget('10.88.0.11');
    await until('the second answers the same socket', hears('task2'));
    gossip.forget('10.88.0.12');
    await until('nobody is there', () => !tableOf(segment, 'client').includes('10.88.0.12'));
    await hears('')();
    gossip.tell('10.88.0.11');
    await until('the first is back', hears('task1'));
  } finally {
    for (const socket of [sender, ...tasks]) socket.close();
  }
});

testBoth('without any task a virtual IP refuses at once', async (way) => {
  const { segment, gossip, start } = await scene('empty', way);
  await using _segment = segment;
  await using balancer = start();
  balancer.joinCluster(gossip.asNetworkDB());
  gossip.tell('10.88.0.11');
  balancer.attach(client(segment));
  gossip.forget('10.88.0.11');
  await until('the task is out', () => !tableOf(segment, 'client').includes('10.88.0.11'));
  const begin = performance.now();
  assert.equal(await greeting(segment.get('client'), virtualIp, port), 'ECONNREFUSED');
  assert.ok(performance.now() - begin < 500, `${performance.now() - begin} ms`);
});

test('at connect time: IPv4 from a socket of IPv6 is led, too; a process of no container is left to nft', {
  skip: skipConnectTime,
}, async () => {
  const { segment, gossip, start } = await scene('mapped', 'connect time');
  await using _segment = segment;
  await using balancer = start();
  balancer.joinCluster(gossip.asNetworkDB());
  gossip.tell('10.88.0.11');
  balancer.attach(client(segment));
  const mapped = await connectTcpIn(segment.get('client'), { address: `::ffff:${virtualIp}`, port });
  assert.equal(seenBySocket(segment, 'client'), '::ffff:10.88.0.11');
  assert.equal(mapped.remoteAddress, `::ffff:${virtualIp}`);
  mapped.destroy();
  segment.leaveCgroup();
  await until('it is closed', () => seenBySocket(segment, 'client') === undefined);
  const outside = await connectTcpIn(segment.get('client'), { address: virtualIp, port });
  assert.equal(seenBySocket(segment, 'client'), virtualIp);
  outside.destroy();
});

test('at connect time: connections that nothing translates are not tracked, but where the container may filter packets', {
  skip: skipConnectTime,
}, async () => {
  const { segment, gossip, start } = await scene('untracked', 'connect time');
  await using _segment = segment;
  await using balancer = start();
  balancer.joinCluster(gossip.asNetworkDB());
  gossip.tell('10.88.0.11');
  /** @returns the tracked flows while there is a connection to the address. */
  const trackedTo = async (address: string): Promise<string[]> => {
    const namespace = segment.get('client');
    const connection = await connectTcpIn(namespace, { address, port });
    assert.match(String(await once(connection, 'data', { signal: AbortSignal.timeout(2000) })), /^task1 /);
    using conntrack = Conntrack.open(namespace);
    const flows = conntrack.list().map(({ original, reply }) => `${original.destination} by ${reply.source}`);
    connection.destroy();
    await until('it is closed', () => seenBySocket(segment, 'client') === undefined);
    conntrack.deleteMatching(() => true);
    return flows;
  };
  balancer.attach(client(segment));
  assert.deepEqual(await trackedTo('10.88.0.11'), []);
  assert.deepEqual(await trackedTo(virtualIp), []);
  balancer.attach({ ...client(segment), filtersPackets: true });
  assert.deepEqual(await trackedTo('10.88.0.11'), ['10.88.0.11 by 10.88.0.11']);
  balancer.attach(client(segment));
  segment.leaveCgroup();
  assert.deepEqual(await trackedTo(virtualIp), [`${virtualIp} by 10.88.0.11`], 'whoever is left to nft');
  assert.deepEqual(await trackedTo('10.88.0.11'), []);
});

test('at connect time: who is detached is led no more, and a daemon that is told "off" takes the programs away', {
  skip: skipConnectTime,
}, async () => {
  const { segment, gossip, start } = await scene('off', 'connect time');
  await using _segment = segment;
  const programs = (): number => {
    const found = cgroupPrograms(segment.cgroup?.path ?? '', 'connect4');
    for (const program of found) program[Symbol.dispose]();
    return found.length;
  };
  const ledTo = async (): Promise<string | undefined> => {
    const connection = await connectTcpIn(segment.get('client'), { address: virtualIp, port });
    const destination = seenBySocket(segment, 'client');
    connection.destroy();
    await until('it is closed', () => seenBySocket(segment, 'client') === undefined);
    return destination;
  };
  {
    await using balancer = start();
    balancer.joinCluster(gossip.asNetworkDB());
    gossip.tell('10.88.0.11');
    balancer.attach(client(segment));
    assert.equal(await ledTo(), '10.88.0.11');
    balancer.detach('client');
    assert.equal(await ledTo(), virtualIp, 'its table leads');
    balancer.attach(client(segment));
    assert.equal(await ledTo(), '10.88.0.11');
  }
  assert.equal(await ledTo(), '10.88.0.11', 'while no daemon is there');
  await using _off = start('off');
  assert.equal(programs(), 0);
  assert.equal(await ledTo(), virtualIp);
});

test('our table comes back when somebody flushes it, and theirs stays as it is', async () => {
  const { segment, gossip, start } = await scene('heal');
  await using _segment = segment;
  await using balancer = start();
  balancer.joinCluster(gossip.asNetworkDB());
  gossip.tell('10.88.0.11');
  balancer.attach(client(segment));
  const before = tableOf(segment, 'client').replaceAll(/"handle":\d+/g, '');
  using nft = Nftables.open(segment.get('client'));
  const foreign = { family: 'ip', name: 'foreign' } as const;
  for (const command of [
    { delete: { table: { family: 'ip', name: 'skein' } } },
    { flush: { chain: { family: 'ip', table: 'skein', name: 'output' } } },
    { flush: { chain: { family: 'ip', table: 'skein', name: `vip-${virtualIp}` } } },
  ] as const) {
    nft.run([{ add: { table: foreign } }, command]);
    const theirs = JSON.stringify(nft.list(foreign));
    await until('the table is back', () => tableOf(segment, 'client').replaceAll(/"handle":\d+/g, '') === before);
    assert.equal(JSON.stringify(nft.list(foreign)), theirs);
    // A change after somebody else's builds on what is really there.
    nft.run([command]);
    gossip.tell('10.88.0.12');
    await until('the second task is in', () => tableOf(segment, 'client').includes('10.88.0.12'));
    gossip.forget('10.88.0.12');
    await until('the second task is out', () => !tableOf(segment, 'client').includes('10.88.0.12'));
  }
  assert.equal(await greeting(segment.get('client'), virtualIp, port), 'task1 10.88.0.5');
});

testBoth(
  'rules outlive the balancer; the next one keeps them until records come, and drops what never comes',
  async (way) => {
    const { segment, gossip, start } = await scene('adopt', way);
    await using _segment = segment;
    const first = start();
    first.joinCluster(gossip.asNetworkDB());
    gossip.tell('10.88.0.11');
    gossip.tell('10.88.0.12');
    first.attach(client(segment));
    await first[Symbol.asyncDispose]();
    assert.match(await greeting(segment.get('client'), virtualIp, port), /^task[12] /);
    const before = tableOf(segment, 'client');
    await using second = start();
    second.joinCluster(new ToldGossip().asNetworkDB());
    const told = new ToldGossip();
    second.joinCluster(told.asNetworkDB());
    second.attach(client(segment));
    assert.equal(tableOf(segment, 'client'), before, 'the very same rules, not made anew');
    told.tell('10.88.0.12');
    await until('the known task only', () => !tableOf(segment, 'client').includes('10.88.0.11'));
    await sleep(600);
    assert.equal(await greeting(segment.get('client'), virtualIp, port), 'task2 10.88.0.5');
  },
);

testBoth("a lost node's tasks are the last resort, until they are told again", async (way) => {
  const { segment, gossip, start } = await scene('lost', way);
  await using _segment = segment;
  await using balancer = start();
  balancer.joinCluster(gossip.asNetworkDB());
  gossip.tell('10.88.0.11');
  gossip.tell('10.88.0.12');
  balancer.attach(client(segment));
  gossip.forget('10.88.0.11', 'unreachable');
  await until('the lost task is out', () => !tableOf(segment, 'client').includes('10.88.0.11'));
  gossip.forget('10.88.0.12', 'unreachable');
  await until('with nobody else it is in', () => tableOf(segment, 'client').includes('10.88.0.11'));
  assert.match(await greeting(segment.get('client'), virtualIp, port), /^task[12] /);
  await sleep(500);
  assert.equal(await greeting(segment.get('client'), virtualIp, port), 'ECONNREFUSED');
});

test('what changes during a pass waits for the rest that the pass owes', async (context) => {
  const { segment, gossip, start } = await scene('rest');
  await using _segment = segment;
  await using balancer = start();
  balancer.joinCluster(gossip.asNetworkDB());
  const restMs = 400;
  const [begins, ends]: [number[], number[]] = [[], []];
  const { addresses } = ServiceTable.prototype;
  context.mock.method(ServiceTable.prototype, 'addresses', function (this: ServiceTable, id: string) {
    begins.push(performance.now());
    return addresses.call(this, id);
  });
  context.mock.method(Pace.prototype, 'waitMs', () => (ends.length > 0 ? restMs : 0));
  context.mock.method(Pace.prototype, 'spend', () => void ends.push(performance.now()));
  // Many, so that a pass takes longer than changes are waited for.
  for (let number = 0; number < 60; number++) balancer.attach({ ...client(segment), containerId: `client${number}` });
  let isDisabled = false;
  const churn = setInterval(() => {
    isDisabled = !isDisabled;
    gossip.tell('10.88.0.11', {}, isDisabled);
  }, 2);
  await until('a second pass', () => begins.length >= 2).finally(() => clearInterval(churn));
  const rest = (begins[1] ?? 0) - (ends[0] ?? 0);
  // Timers count whole milliseconds: one may fire a part of one early.
  assert.ok(rest > restMs - 2, `the second pass began ${Math.round(rest)} ms after the end of the first`);
});

testBoth('what a gossip said that this host has left is forgotten, unless the next one says it again', async (way) => {
  const { segment, gossip, start } = await scene('next-gossip', way);
  await using _segment = segment;
  await using balancer = start();
  balancer.joinCluster(gossip.asNetworkDB());
  for (const address of backends) gossip.tell(address);
  balancer.attach(client(segment));
  await until('all tasks are known', () => backends.every((address) => tableOf(segment, 'client').includes(address)));
  balancer.leaveCluster();
  assert.match(await greeting(segment.get('client'), virtualIp, port), /^task[123] /, 'not at once');
  const next = new ToldGossip();
  balancer.joinCluster(next.asNetworkDB());
  next.tell('10.88.0.12');
  await until('the others are out', () => !/10\.88\.0\.1[13]/.test(tableOf(segment, 'client')));
  await sleep(500);
  assert.equal(await greeting(segment.get('client'), virtualIp, port), 'task2 10.88.0.5');
  next.forget('10.88.0.12');
  await until('none is left', async () => (await greeting(segment.get('client'), virtualIp, port)) === 'ECONNREFUSED');
});

test('a published port leads through the entrance to the target port, from outside, the host itself and localhost', async () => {
  const { segment, gossip, start } = await scene('ingress');
  await using _segment = segment;
  const host = segment.get('host');
  using route = RouteSocket.open(host);
  const bridge = route.links.create({ kind: 'bridge', name: 'docker_gwbridge', up: true });
  route.addresses.add({ index: bridge.index, address: '172.28.0.1', prefixLength: 24 });
  writeSysctl(host, 'net.ipv4.ip_forward', 1);
  segment.add('entrance', '10.88.0.4');
  segment.add('entrance', '172.28.0.2', 'host', 'eth1', 'docker_gwbridge');
  await using balancer = start();
  balancer.joinCluster(gossip.asNetworkDB());
  const ports = [{ protocol: 'tcp', targetPort: port, publishedPort: 8888 }] as const;
  balancer.attach({
    ...client(segment),
    containerId: 'task1',
    networkNamespace: segment.path('task1'),
    ingress: { address: '10.88.0.11', ports },
  });
  balancer.setEntrance(entranceOf(segment));
  gossip.tell('10.88.0.11', { virtualIp: '', ingressPorts: ports.map((each) => ({ ...each, name: '' })) });
  await until('the port is open', async () => (await greeting(host, '127.0.0.1', 8888)).startsWith('task1'));
  for (const address of ['127.0.0.1', '172.28.0.1']) {
    assert.equal(await greeting(host, address, 8888), 'task1 10.88.0.4', address);
  }
  assert.equal(await greeting(segment.get('task2'), '10.88.0.11', 8888), 'task1 10.88.0.12', 'as dockerd sends it');
  const blocked = await tcpServerIn(segment.get('task1'), { address: '0.0.0.0', port: 8001 });
  assert.notEqual(await greeting(segment.get('task2'), '10.88.0.11', 8001), 'task1 10.88.0.12', 'no other port');
  blocked.close();
  gossip.forget('10.88.0.11');
  await until('the port is closed', async () => (await greeting(host, '127.0.0.1', 8888)) === 'ECONNREFUSED');
  using nft = Nftables.open(host);
  assert.deepEqual(nft.tables(), [], 'no table is left');
});

test('an entrance that cannot be had leaves the one before it, which may gain and lose IPv6', async () => {
  const { segment, start } = await scene('entrances');
  await using _segment = segment;
  segment.add('entrance', '10.88.0.4');
  const ipv6 = { loadBalancerAddress: 'fd00::4', gatewayAddress: 'fd01::2', gatewaySubnet: 'fd01::/64' };
  const entrance = entranceOf(segment);
  await using balancer = start();
  const families = (): string => {
    using nft = Nftables.open(segment.get('entrance'));
    return nft
      .tables()
      .map(({ family }) => family)
      .sort()
      .join();
  };
  balancer.setEntrance(entrance);
  assert.throws(() => balancer.setEntrance({ ...entrance, networkNamespace: segment.path('missing') }), {
    code: 'ENOENT',
  });
  balancer.setEntrance({ ...entrance, ipv6 });
  assert.equal(families(), 'ip,ip6');
  assert.equal(readSysctl(segment.get('entrance'), 'net.ipv6.conf.all.forwarding'), '1');
  balancer.setEntrance(entrance);
  assert.equal(families(), 'ip');
});

test('a port that is taken is refused with the name of its holder, and the others are let go', async () => {
  const { segment, start } = await scene('holder');
  await using _segment = segment;
  const host = segment.get('host');
  const holder = await tcpServerIn(host, { address: '127.0.0.1', port: 7001 });
  await using balancer = start();
  const one = { containerId: 'one', name: 'task one', address: '172.28.0.9' };
  const two = { containerId: 'two', name: 'task two', address: '172.28.0.8' };
  const wanted = [7000, 7001].map((publishedPort) => ({ protocol: 'tcp' as const, targetPort: 80, publishedPort }));
  await assert.rejects(balancer.openPorts(one, wanted), (error: Error) => {
    assert.match(error.message, new RegExp(`^port 7001/tcp of this host is held by .*process ${process.pid}`));
    return true;
  });
  const free = await tcpServerIn(host, { address: '0.0.0.0', port: 7000 });
  free.close();
  holder.close();
  const [chosen] = await balancer.openPorts(one, [{ protocol: 'tcp', targetPort: 80, publishedPort: 0 }]);
  assert.ok(chosen && chosen.publishedPort > 0);
  const again = await balancer.openPorts(one, [{ protocol: 'tcp', targetPort: 80, publishedPort: 0 }]);
  assert.deepEqual(again, [chosen], 'asking again changes nothing');
  await assert.rejects(balancer.openPorts(two, [chosen]), /held by task one/);
  balancer.closePorts('one');
  await until('no table is left', () => {
    using nft = Nftables.open(host);
    return nft.tables().length === 0;
  });
});

test('of the ports of an earlier daemon those go whose container has gone, the others stay', async () => {
  const { segment, start } = await scene('retained');
  await using _segment = segment;
  const host = segment.get('host');
  const [stays, goes] = ['172.28.0.8', '172.28.0.9'];
  {
    await using former = start();
    for (const address of [stays, goes])
      await former.openPorts({ containerId: address, name: `task ${address}`, address }, [
        { protocol: 'tcp', targetPort: 80, publishedPort: address === stays ? 7008 : 7009 },
      ]);
  }
  const ledTo = (): string => {
    using nft = Nftables.open(host);
    return JSON.stringify(nft.list({ family: 'ip', name: 'skein-ports' }));
  };
  await using balancer = start();
  balancer.retainPorts(new Set([stays]));
  await until('the port is closed', () => !ledTo().includes(goes));
  assert.ok(ledTo().includes(stays));
  const free = await tcpServerIn(host, { address: '0.0.0.0', port: 7009 });
  free.close();
});
