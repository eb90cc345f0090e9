import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { after, test } from 'node:test';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { AF_NETLINK, SO_RCVBUF, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW, SOL_SOCKET } from '../kernel/constants.ts';
import { bind, setSocketOption, socket } from '../kernel/libc.ts';
import { netlinkAddress } from '../kernel/sockaddr.ts';
import { DatagramReader } from '../readable.ts';
import { udpSocketIn } from '../sockets.ts';
import { TestNamespaces } from '../testing.ts';
import { NETLINK_ROUTE } from './connection.ts';
import { type RouteEvent, RouteMonitor } from './monitor.ts';
import { RouteSocket } from './route-socket.ts';

const namespaces = new TestNamespaces('monitor');
after(() => namespaces[Symbol.dispose]());

/** Events until one satisfies `last`; the test runner's time-out bounds it. */
async function collect(monitor: RouteMonitor, last: (event: RouteEvent) => boolean): Promise<RouteEvent[]> {
  const events: RouteEvent[] = [];
  for await (const event of monitor) {
    events.push(event);
    if (last(event)) break;
  }
  return events;
}

test('links, addresses, routes, neighbours and FDB entries are announced', { timeout: 5000 }, async () => {
  const namespace = namespaces.create('all');
  using socket = RouteSocket.open(namespace);
  using monitor = RouteMonitor.open(namespace, ['link', 'address', 'route', 'neighbour', 'rule']);
  const { index } = socket.links.create({ kind: 'vxlan', name: 'vxlan0', vni: 7, port: 4789, up: true });
  socket.addresses.add({ index, address: '10.0.1.3', prefixLength: 24 });
  socket.routes.add({ destination: '10.9.0.0/16', index });
  socket.rules.add({ family: 'ipv6', priority: 50, table: 99 });
  socket.neighbours.add({ index, ip: '10.0.1.4', mac: '02:00:00:00:00:04' });
  socket.fdb.add({ index, mac: '02:00:00:00:00:04', destination: '172.31.1.6' });
  socket.links.delete(index);
  const events = await collect(
    monitor,
    ({ type, ...event }) => type === 'link' && 'action' in event && event.action === 'deleted',
  );
  const seen = (wanted: (event: RouteEvent) => boolean) =>
    assert.ok(events.some(wanted), JSON.stringify(events.map((event) => event.type)));
  seen((event) => event.type === 'link' && event.action === 'set' && event.link.name === 'vxlan0' && event.link.up);
  seen((event) => event.type === 'address' && event.address.address === '10.0.1.3');
  seen((event) => event.type === 'route' && event.route.destination === '10.9.0.0/16');
  seen((event) => event.type === 'rule' && event.rule.priority === 50 && event.rule.family === 'ipv6');
  seen((event) => event.type === 'neighbour' && event.action === 'set' && event.neighbour.ip === '10.0.1.4');
  seen((event) => event.type === 'fdb' && event.action === 'set' && event.entry.destination === '172.31.1.6');
});

test("a VXLAN's missing neighbour and FDB entry are asked for", { timeout: 5000 }, async () => {
  const namespace = namespaces.create('miss');
  using socket = RouteSocket.open(namespace);
  const bridge = socket.links.create({ kind: 'bridge', name: 'br0', up: true });
  const vxlan = { kind: 'vxlan', name: 'vxlan0', vni: 7, port: 4789, local: '127.0.0.1' } as const;
  socket.links.create({ ...vxlan, proxy: true, l2miss: true, l3miss: true, master: bridge.index, up: true });
  socket.addresses.add({ index: bridge.index, address: '10.0.1.3', prefixLength: 24 });
  socket.neighbours.add({ index: bridge.index, ip: '10.0.1.5', mac: '02:00:00:00:00:05' });
  using monitor = RouteMonitor.open(namespace, ['neighbour']);
  const sender = await udpSocketIn(namespace, { address: '10.0.1.3', port: 0 });
  // Again and again: what is sent before the new bridge has a carrier is lost.
  const sending = setInterval(() => {
    for (const address of ['10.0.1.4', '10.0.1.5']) sender.send('?', 9, address);
  }, 20);
  const missing = new Set<string>();
  await collect(monitor, (event) => {
    if (event.type === 'neighbour' && event.action === 'miss') missing.add(event.neighbour.ip);
    if (event.type === 'fdb' && event.action === 'miss') missing.add(event.entry.mac);
    return missing.has('10.0.1.4') && missing.has('02:00:00:00:00:05');
  }).finally(() => {
    clearInterval(sending);
    sender.close();
  });
});

test('a listener that is too slow is told so once, and goes on', { timeout: 8000 }, async () => {
  const namespace = namespaces.create('overrun');
  using socket = RouteSocket.open(namespace);
  const { index } = socket.links.create({ kind: 'bridge', name: 'br0', up: true });
  using monitor = RouteMonitor.open(namespace, ['link']);
  // The event loop does not turn here, so nothing is read while the kernel's buffer fills.
  for (let n = 0; n < 2000; n++) socket.links.set(index, { mtu: 1000 + (n % 2) });
  let overruns = 0;
  let after = 0;
  for await (const event of monitor) {
    if (event.type === 'overrun') {
      overruns++;
      socket.links.set(index, { alias: 'after the overrun' });
    } else if (event.type === 'link' && event.link.alias !== undefined) {
      after++;
      break;
    }
  }
  assert.deepEqual([overruns, after], [1, 1]);
});

test('a listener that is overrun while it makes room for what follows hears of it, and goes on', {
  timeout: 20_000,
}, async () => {
  const namespace = namespaces.create('flood');
  // As little as the kernel allows: a message or two.
  const fd = namespace.run(() => socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, NETLINK_ROUTE));
  setSocketOption(fd, SOL_SOCKET, SO_RCVBUF, 1);
  bind(fd, netlinkAddress(1));
  const failures: Error[] = [];
  let overruns = 0;
  const reader = DatagramReader.open(fd, {
    message: () => undefined,
    overrun: () => overruns++,
    failed: (error) => failures.push(error),
  });
  const flood = `
    import { NetworkNamespace, RouteSocket } from '${import.meta.resolve('../index.ts')}';
    using routes = RouteSocket.open(NetworkNamespace.open('${namespaces.path('flood')}'));
    const { index } = routes.links.get('lo');
    for (let n = 0; n < 20_000; n++) routes.links.set(index, { mtu: 1500 + (n % 2) });
  `;
  const child = spawn(process.execPath, ['--conditions=source', '--input-type=module', '--eval', flood]);
  const [code] = (await once(child, 'exit')) as [number];
  reader.close();
  assert.deepEqual([code, failures], [0, []]);
  assert.ok(overruns > 0);
});

test("a monitor's socket is not its child processes'", () => {
  const sockets = (): number =>
    Number(execFileSync('sh', ['-c', 'ls -l /proc/self/fd | grep -c socket:; true'], { stdio: ['ignore', 'pipe', 2] }));
  const namespace = namespaces.create('children');
  const before = sockets();
  using _monitor = RouteMonitor.open(namespace, ['link']);
  assert.equal(sockets(), before);
});

test('closing ends the iteration and the socket', { timeout: 5000 }, async () => {
  const namespace = namespaces.create('close');
  const descriptors = readdirSync('/proc/self/fd').length;
  using monitor = RouteMonitor.open(namespace, ['link']);
  setImmediate(() => monitor[Symbol.dispose]());
  for await (const event of monitor) assert.fail(`unexpected ${event.type}`);
  monitor[Symbol.dispose]();
  await nextTurn();
  assert.equal(readdirSync('/proc/self/fd').length, descriptors);
});
