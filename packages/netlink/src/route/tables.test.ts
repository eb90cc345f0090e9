import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { after, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { hasCode } from '../errors.ts';
import { TestNamespaces } from '../testing.ts';
import { RouteSocket } from './route-socket.ts';

const namespaces = new TestNamespaces('tables');
after(() => namespaces[Symbol.dispose]());

/** A connection to a new namespace with one bridge that is up. */
function withBridge(name: string): { socket: RouteSocket; index: number } {
  const socket = RouteSocket.open(namespaces.create(name));
  const { index } = socket.links.create({ kind: 'bridge', name: 'br0', mtu: 1400, up: true });
  return { socket, index };
}

test('addresses of both families are added, listed by link, replaced and deleted', () => {
  const { socket, index } = withBridge('addresses');
  using _ = socket;
  const v4 = { index, address: '10.0.1.3', prefixLength: 24, broadcast: '10.0.1.255' };
  const v6 = { index, address: 'fd00::3', prefixLength: 64, skipDuplicateDetection: true };
  socket.addresses.add(v4);
  socket.addresses.add(v6);
  socket.addresses.replace(v4);
  const global = socket.addresses.list({ index }).filter(({ scope }) => scope === 'global');
  assert.deepEqual(
    global.map(({ address, prefixLength, broadcast, family }) => ({ address, prefixLength, broadcast, family })),
    [
      { address: '10.0.1.3', prefixLength: 24, broadcast: '10.0.1.255', family: 'ipv4' },
      { address: 'fd00::3', prefixLength: 64, broadcast: undefined, family: 'ipv6' },
    ],
  );
  assert.equal(global[1]?.tentative, false);
  assert.throws(() => socket.addresses.add(v4), { name: 'NetlinkError', code: 'EEXIST' });
  socket.addresses.delete(v4);
  socket.addresses.delete(v4);
  assert.deepEqual(socket.addresses.list({ index, family: 'ipv4' }), []);
  assert.ok(
    socket.addresses.list().some(({ address }) => address === '127.0.0.1'),
    'the loopback is listed too',
  );
});

test('routes are added, looked up with source and MTU, replaced and deleted', () => {
  const { socket, index } = withBridge('routes');
  using _ = socket;
  socket.addresses.add({ index, address: '10.0.1.3', prefixLength: 24 });
  socket.routes.add({ destination: '0.0.0.0/0', gateway: '10.0.1.1', mtu: 1300 });
  socket.routes.replace({ destination: '10.9.0.0/16', index, preferredSource: '10.0.1.3', metric: 50 });
  assert.throws(() => socket.routes.add({ destination: '0.0.0.0/0', gateway: '10.0.1.2' }), { code: 'EEXIST' });

  const near = socket.routes.get('10.0.1.77');
  assert.deepEqual([near.index, near.gateway, near.preferredSource, near.mtu], [index, undefined, '10.0.1.3', 1400]);
  const far = socket.routes.get('192.0.2.1');
  assert.deepEqual([far.index, far.gateway, far.preferredSource, far.mtu], [index, '10.0.1.1', '10.0.1.3', 1300]);

  const main = socket.routes.list({ family: 'ipv4', table: 254 });
  assert.deepEqual(
    main.map(({ destination, gateway, metric, protocol, scope }) => ({
      destination,
      gateway,
      metric,
      protocol,
      scope,
    })),
    [
      { destination: '0.0.0.0/0', gateway: '10.0.1.1', metric: undefined, protocol: 'static', scope: 'global' },
      { destination: '10.0.1.0/24', gateway: undefined, metric: undefined, protocol: 'kernel', scope: 'link' },
      { destination: '10.9.0.0/16', gateway: undefined, metric: 50, protocol: 'static', scope: 'link' },
    ],
  );
  socket.routes.delete({ destination: '0.0.0.0/0' });
  socket.routes.delete({ destination: '0.0.0.0/0' });
  assert.throws(() => socket.routes.get('192.0.2.1'), { code: 'ENETUNREACH' });
});

test('IPv6 routes, several next hops and routes without a link', () => {
  const { socket, index } = withBridge('routes6');
  using _ = socket;
  socket.addresses.add({ index, address: 'fd00::3', prefixLength: 64, skipDuplicateDetection: true });
  socket.addresses.add({ index, address: '10.0.1.3', prefixLength: 24 });
  socket.routes.add({ destination: '::/0', gateway: 'fd00::1' });
  socket.routes.add({ destination: '198.51.100.0/24', type: 'blackhole' });
  const nextHops = [
    { index, gateway: '10.0.1.1', weight: 1 },
    { index, gateway: '10.0.1.2', weight: 3 },
  ];
  socket.routes.add({ destination: '203.0.113.0/24', nextHops });
  socket.routes.add({ destination: '192.0.2.0/24', gateway: 'fd00::9', index });
  assert.equal(socket.routes.get('192.0.2.1').gateway, 'fd00::9');
  assert.equal(socket.routes.get('2001:db8::1').gateway, 'fd00::1');
  const routes = socket.routes.list();
  assert.equal(routes.find(({ destination }) => destination === '198.51.100.0/24')?.type, 'blackhole');
  assert.deepEqual(routes.find(({ destination }) => destination === '203.0.113.0/24')?.nextHops, nextHops);
});

test('a table of its own, selected by a rule on a mark', () => {
  const { socket, index } = withBridge('rules');
  using _ = socket;
  socket.addresses.add({ index, address: '10.0.1.3', prefixLength: 24 });
  assert.deepEqual(socket.routes.list({ table: 1000 }), []);
  socket.routes.add({ destination: '0.0.0.0/0', gateway: '10.0.1.9', table: 1000 });
  const rule = { family: 'ipv4', priority: 100, table: 1000, mark: 7, source: '10.0.0.0/8' } as const;
  socket.rules.add(rule);
  assert.throws(() => socket.rules.add(rule), { code: 'EEXIST' });
  assert.equal(socket.routes.get('192.0.2.1', { mark: 7, source: '10.0.1.3' }).gateway, '10.0.1.9');
  assert.equal(socket.routes.get('192.0.2.1', { mark: 7, source: '10.0.1.3' }).table, 1000);
  const listed = socket.rules.list({ family: 'ipv4' }).find(({ priority }) => priority === 100);
  assert.deepEqual([listed?.table, listed?.mark, listed?.source, listed?.action], [1000, 7, '10.0.0.0/8', 'lookup']);
  socket.rules.delete(rule);
  socket.rules.delete(rule);
  assert.equal(socket.rules.list({ family: 'ipv4' }).length, 3);
});

test('neighbours are permanent by default, replaced and deleted', () => {
  const { socket, index } = withBridge('neighbours');
  using _ = socket;
  const entry = { index, ip: '10.0.1.4', mac: '02:42:0a:00:01:04' };
  socket.neighbours.add(entry);
  assert.throws(() => socket.neighbours.add(entry), { code: 'EEXIST' });
  socket.neighbours.replace({ ...entry, mac: '02:42:0a:00:01:05' });
  socket.neighbours.replace({ index, ip: 'fd00::4', mac: '02:42:0a:00:01:04' });
  const written = socket.neighbours.list({ index }).filter(({ state }) => state === 'permanent');
  assert.deepEqual(
    written.map(({ ip, mac }) => ({ ip, mac })),
    [
      { ip: '10.0.1.4', mac: '02:42:0a:00:01:05' },
      { ip: 'fd00::4', mac: '02:42:0a:00:01:04' },
    ],
  );
  socket.neighbours.delete(entry);
  socket.neighbours.delete(entry);
  assert.deepEqual(socket.neighbours.list({ index, family: 'ipv4' }), []);
});

test("a VXLAN's FDB says which VTEP has a MAC; the bridge's FDB is another table", () => {
  const { socket, index: master } = withBridge('fdb');
  using _ = socket;
  const vxlan = socket.links.create({ kind: 'vxlan', name: 'vxlan0', vni: 42, port: 4789, master, up: true });
  const other = socket.links.create({ kind: 'vxlan', name: 'vxlan1', vni: 43, port: 4789, up: true });
  const { index } = vxlan;
  const mac = '02:42:0a:00:01:04';
  socket.fdb.add({ index, mac, destination: '172.31.1.6' });
  socket.fdb.add({ index: other.index, mac, destination: '172.31.1.9' });
  assert.throws(() => socket.fdb.add({ index, mac, destination: '172.31.1.6' }), { code: 'EEXIST' });
  socket.fdb.replace({ index, mac, destination: '172.31.1.7' });
  socket.fdb.append({ index, mac: '00:00:00:00:00:00', destination: '172.31.1.7' });
  socket.fdb.append({ index, mac: '00:00:00:00:00:00', destination: '172.31.1.8' });
  socket.fdb.replace({ index, mac: '02:00:00:00:00:99', flags: 'master', state: 'noarp' });

  const own = socket.fdb.list({ index }).filter(({ flags }) => flags === 'self');
  assert.deepEqual(own.map((entry) => `${entry.mac} ${entry.destination} ${entry.state}`).sort(), [
    '00:00:00:00:00:00 172.31.1.7 permanent',
    '00:00:00:00:00:00 172.31.1.8 permanent',
    `${mac} 172.31.1.7 permanent`,
  ]);
  const bridged = socket.fdb.list({ index }).find((entry) => entry.mac === '02:00:00:00:00:99');
  assert.deepEqual([bridged?.flags, bridged?.master, bridged?.state], ['master', master, 'noarp']);

  socket.fdb.delete({ index, mac: '00:00:00:00:00:00', destination: '172.31.1.8' });
  socket.fdb.delete({ index, mac });
  socket.fdb.delete({ index, mac });
  socket.fdb.delete({ index, mac: '02:00:00:00:00:99', flags: 'master' });
  const left = socket.fdb.list({ index }).filter(({ flags, mac: any }) => flags === 'self' || any.endsWith('99'));
  assert.deepEqual(
    left.map((entry) => `${entry.mac} ${entry.destination}`),
    ['00:00:00:00:00:00 172.31.1.7'],
  );
});

test('a dump during which the table changes is complete, or says so', async (context) => {
  if (spawnSync('ip', ['-V']).status !== 0) return context.skip('iproute2 is not installed');
  const { socket, index } = withBridge('churn');
  using _ = socket;
  const wanted = Array.from({ length: 1000 }, (_, n) => `10.1.${n >> 8}.${n & 255}`);
  for (const address of wanted) socket.addresses.add({ index, address, prefixLength: 32 });
  const churn = spawn('nsenter', [`--net=${namespaces.path('churn')}`, 'ip', '-batch', '-'], { stdio: 'pipe' });
  const ended = once(churn, 'close');
  churn.stdin.end('address add 10.2.0.1/32 dev br0\naddress delete 10.2.0.1/32 dev br0\n'.repeat(2000));
  let dumps = 0;
  while (churn.exitCode === null) {
    try {
      const seen = socket.addresses
        .list({ index, family: 'ipv4' })
        .filter(({ address }) => address.startsWith('10.1.'));
      assert.deepEqual(new Set(seen.map(({ address }) => address)).size, wanted.length);
      assert.equal(seen.length, wanted.length);
      dumps++;
    } catch (error) {
      assert.ok(hasCode(error, 'EINTR'), String(error));
    }
    await nextTurn();
  }
  await ended;
  context.diagnostic(`${dumps} complete dumps`);
});

test('a connection stays in the namespace in which it was opened', () => {
  const left = namespaces.create('bound-left');
  using socket = RouteSocket.open(left);
  const right = namespaces.create('bound-right');
  right.run(() => socket.links.create({ kind: 'bridge', name: 'here' }));
  assert.ok(socket.links.get('here'));
  using other = RouteSocket.open(right);
  assert.equal(other.links.get('here'), undefined);
});

test('a closed connection refuses work and may be closed again', () => {
  const socket = RouteSocket.open();
  socket[Symbol.dispose]();
  socket[Symbol.dispose]();
  assert.throws(() => socket.links.list(), TypeError);
});
