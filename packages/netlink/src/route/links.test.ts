import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { NetlinkError } from '../errors.ts';
import { TestNamespaces } from '../testing.ts';
import { RouteSocket } from './route-socket.ts';

const namespaces = new TestNamespaces('links');
after(() => namespaces[Symbol.dispose]());

test('a new namespace has nothing but its loopback, and it is up', () => {
  using socket = RouteSocket.open(namespaces.create('empty'));
  const links = socket.links.list();
  assert.deepEqual(
    links.map(({ name, up, loopback }) => ({ name, up, loopback })),
    [{ name: 'lo', up: true, loopback: true }],
  );
});

test('a bridge is created with its MAC, MTU, alias and settings', () => {
  using socket = RouteSocket.open(namespaces.create('bridge'));
  const bridge = socket.links.create({
    kind: 'bridge',
    name: 'br0',
    mac: '02:00:00:00:00:01',
    mtu: 1450,
    alias: 'ours: br0',
    up: true,
    multicastSnooping: false,
    ageingSeconds: 30,
  });
  assert.equal(bridge.kind, 'bridge');
  assert.equal(bridge.mac, '02:00:00:00:00:01');
  assert.equal(bridge.mtu, 1450);
  assert.equal(bridge.alias, 'ours: br0');
  assert.equal(bridge.up, true);
  assert.deepEqual(bridge.bridge, { stp: false, vlanFiltering: false, multicastSnooping: false, ageingSeconds: 30 });
  socket.links.set(bridge.index, { bridge: { multicastSnooping: true }, mtu: 1400, up: false, alias: '' });
  const changed = socket.links.get('br0');
  assert.deepEqual([changed?.bridge?.multicastSnooping, changed?.mtu, changed?.up], [true, 1400, false]);
  assert.deepEqual([changed?.alias, changed?.bridge?.ageingSeconds], [undefined, 30]);
});

test('the largest segment of a veth can be set, within the limits of its driver', () => {
  using socket = RouteSocket.open(namespaces.create('segments'));
  const { index } = socket.links.create({ kind: 'veth', name: 'veth0', peer: { name: 'veth1' } });
  assert.equal(socket.links.get('veth0')?.gsoIpv4MaxSize, 65_536);
  socket.links.set(index, { gsoIpv4MaxSize: 185_000 });
  assert.deepEqual(
    ['veth0', 'veth1'].map((name) => socket.links.get(name)?.gsoIpv4MaxSize),
    [185_000, 65_536],
  );
  assert.throws(
    () => socket.links.set(index, { gsoIpv4MaxSize: 10_000_000 }),
    (error: unknown) => error instanceof NetlinkError && error.code === 'EINVAL',
  );
});

test('several links are deleted at once, gone ones among them, and no others', () => {
  using socket = RouteSocket.open(namespaces.create('several'));
  const indices = ['one', 'two', 'three', 'four'].map((name) => socket.links.create({ kind: 'bridge', name }).index);
  const [one = 0, two = 0, three = 0] = indices;
  socket.links.delete(two);
  socket.links.deleteAll([one, two, three]);
  const left = (): string[] => socket.links.list().map(({ name }) => name);
  assert.deepEqual(left(), ['lo', 'four']);
  socket.links.deleteAll([one, two]);
  socket.links.deleteAll([]);
  assert.deepEqual(left(), ['lo', 'four']);
});

test('a veth pair spans two namespaces, one end a port of a bridge', () => {
  const right = namespaces.create('veth-right');
  using socket = RouteSocket.open(namespaces.create('veth-left'));
  using other = RouteSocket.open(right);
  const bridge = socket.links.create({ kind: 'bridge', name: 'br0', up: true });
  const veth = socket.links.create({
    kind: 'veth',
    name: 'veth0',
    master: bridge.index,
    mtu: 1450,
    up: true,
    bridgePort: { hairpin: true, learning: false },
    peer: { name: 'eth0', mac: '02:42:0a:00:01:03', mtu: 1450, up: true, namespace: right },
  });
  const peer = other.links.get('eth0');
  assert.equal(veth.master, bridge.index);
  assert.equal(veth.bridgePort?.hairpin, true);
  assert.equal(veth.bridgePort?.learning, false);
  assert.equal(peer?.mac, '02:42:0a:00:01:03');
  assert.equal(peer?.parentIndex, veth.index);
  assert.equal(veth.parentIndex, peer?.index);
  assert.equal(typeof veth.linkNetnsid, 'number');
  assert.equal(other.links.get('eth0')?.carrier, true);
  socket.links.set(veth.index, { master: null });
  assert.equal(socket.links.get(veth.index)?.master, undefined);
  socket.links.delete(veth.index);
  assert.equal(other.links.get('eth0'), undefined);
});

test('a veth pair created in another namespace has both ends there by default', () => {
  const target = namespaces.create('veth-target');
  using socket = RouteSocket.open(namespaces.create('veth-origin'));
  using there = RouteSocket.open(target);
  socket.links.create({ kind: 'veth', name: 'a', namespace: target, up: true, peer: { name: 'b', up: true } });
  assert.deepEqual([socket.links.get('a'), socket.links.get('b')], [undefined, undefined]);
  assert.deepEqual([there.links.get('a')?.carrier, there.links.get('b')?.carrier], [true, true]);
});

test('a VXLAN born in another namespace keeps its socket in the namespace of the connection', () => {
  const sandbox = namespaces.create('vxlan-sandbox');
  using host = RouteSocket.open(namespaces.create('vxlan-host'));
  using inside = RouteSocket.open(sandbox);
  const bridge = inside.links.create({ kind: 'bridge', name: 'br0', up: true });
  const spec = { kind: 'vxlan', vni: 4097, port: 4789, local: '172.31.1.5', proxy: true, l2miss: true } as const;
  const vxlan = host.links.create({ ...spec, name: 'vxlan0', namespace: sandbox, master: bridge.index, up: true });
  assert.equal(host.links.get('vxlan0'), undefined);
  assert.equal(vxlan.master, bridge.index);
  assert.deepEqual(vxlan.vxlan, {
    vni: 4097,
    port: 4789,
    local: '172.31.1.5',
    group: undefined,
    underlay: undefined,
    learning: false,
    proxy: true,
    l2miss: true,
    l3miss: false,
    ttl: 0,
  });
  // The VNI is taken in the host's namespace, though the device is elsewhere.
  assert.throws(
    () => host.links.create({ ...spec, name: 'vx-again' }),
    (error: unknown) => error instanceof NetlinkError && error.code === 'EEXIST' && /VNI/.test(error.extendedAck ?? ''),
  );
});

test('a link moves to another namespace under a new name', () => {
  const target = namespaces.create('move-target');
  using socket = RouteSocket.open(namespaces.create('move-source'));
  using there = RouteSocket.open(target);
  const vxlan = socket.links.create({ kind: 'vxlan', name: 'vx-001001', vni: 4097, port: 4789, local: 'fd00::5' });
  assert.equal(vxlan.vxlan?.local, 'fd00::5');
  socket.links.set(vxlan.index, { namespace: target, name: 'vxlan0' });
  assert.equal(socket.links.get('vx-001001'), undefined);
  assert.equal(there.links.get('vxlan0')?.vxlan?.vni, 4097);
});

test('an error says what was tried, its code, and what the kernel said', () => {
  using socket = RouteSocket.open(namespaces.create('errors'));
  assert.throws(
    () => socket.links.create({ kind: 'vxlan', name: 'vx', vni: 2 ** 24, port: 4789 }),
    (error: unknown) => {
      assert.ok(error instanceof NetlinkError);
      assert.equal(error.code, 'ERANGE');
      assert.equal(error.operation, 'RTM_NEWLINK vxlan vx');
      assert.ok(error.extendedAck, 'the kernel explains a VNI out of range');
      assert.ok(error.message.includes(error.extendedAck));
      return true;
    },
  );
  assert.throws(() => socket.links.set(4242, { up: true }), { code: 'ENODEV' });
  assert.equal(socket.links.get('none'), undefined);
  socket.links.delete(4242);
});

test('a link whose later settings fail is not left behind', () => {
  using socket = RouteSocket.open(namespaces.create('rollback'));
  assert.throws(() => socket.links.create({ kind: 'bridge', name: 'br0', bridgePort: { hairpin: true } }));
  assert.equal(socket.links.get('br0'), undefined);
});

test('a dump of more links than fit one datagram is complete', () => {
  using socket = RouteSocket.open(namespaces.create('many'));
  for (let n = 0; n < 60; n++) socket.links.create({ kind: 'vxlan', name: `vx${n}`, vni: n + 1, port: 4789 });
  const names = socket.links.list().map(({ name }) => name);
  assert.equal(names.length, 61);
  assert.ok(names.includes('vx59'));
});
