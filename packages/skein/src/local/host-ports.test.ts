import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TestNamespaces } from '../../../netlink/src/testing.ts';
import { Reservations } from '../balancer/index.ts';
import { SkeinError, silentLogger } from '../common/index.ts';
import { HostPorts, type PortUser, type PortWish, portWishes } from './host-ports.ts';

test('port bindings become wishes: addresses, ranges, and with publish-all the exposed ones', () => {
  const bindings = {
    '80/tcp': [
      { HostIp: '', HostPort: '8080' },
      { HostIp: '127.0.0.1', HostPort: '' },
    ],
    '53/udp': [{ HostIp: '', HostPort: '5300-5310' }],
    '81/tcp': [
      { HostIp: '::', HostPort: '8081' },
      { HostIp: '', HostPort: '8081' },
      { HostIp: 'fd00:0::1', HostPort: '8082' },
    ],
    '7/sctp': null,
  };
  const wish = (protocol: string, containerPort: number, hostAddress: string, first: number, last = first) => ({
    protocol,
    containerPort,
    hostAddress,
    firstHostPort: first,
    lastHostPort: last,
  });
  assert.deepEqual(portWishes(bindings, ['80/tcp', '443/tcp'], true), [
    wish('tcp', 80, '0.0.0.0', 8080),
    wish('tcp', 80, '127.0.0.1', 0),
    wish('udp', 53, '0.0.0.0', 5300, 5310),
    wish('tcp', 81, '0.0.0.0', 8081),
    wish('tcp', 81, 'fd00::1', 8082),
    wish('tcp', 443, '0.0.0.0', 0),
  ]);
});

test('what is no port is refused in words', () => {
  const binding = (HostPort: string, HostIp = '') => ({ '80/tcp': [{ HostIp, HostPort }] });
  assert.throws(() => portWishes(binding('70000'), [], false), /invalid port specification: "70000"/);
  assert.throws(() => portWishes(binding('x'), [], false), SkeinError);
  assert.throws(() => portWishes({ '80/icmp': [] }, [], false), /Invalid protocol: icmp/);
  assert.throws(() => portWishes(binding('80', 'here'), [], false), /invalid IP address: here/);
});

test('a port is held until it is released; a range gives the first free one; its holder is named', async () => {
  using namespaces = new TestNamespaces('ports');
  const [host] = namespaces.pair('left', 'right');
  using reservations = new Reservations(host, { logger: silentLogger() });
  const ports = new HostPorts(reservations);
  const user = (name: string): PortUser => ({ containerId: name, name });
  const wish: PortWish = {
    protocol: 'tcp',
    containerPort: 80,
    hostAddress: '0.0.0.0',
    firstHostPort: 8080,
    lastHostPort: 8081,
  };
  const first = await ports.hold(wish, user('one'));
  const second = await ports.hold(wish, user('two'));
  assert.deepEqual([first.hostPort, second.hostPort], [8080, 8081]);
  await assert.rejects(
    ports.hold(wish, user('three')),
    /Bind for 0\.0\.0\.0:8081 failed: port is already allocated: it is held by container two/,
  );
  await assert.rejects(
    ports.hold({ ...wish, containerPort: 81, lastHostPort: 8080 }, user('one')),
    /Bind for 0\.0\.0\.0:8080 failed: port is already allocated: it is held by container one/,
    'one port of the host for two of a container',
  );
  const local = { ...wish, hostAddress: '127.0.0.1', lastHostPort: 8080 };
  await assert.rejects(ports.hold(local, user('three')), /it is held by container one/, 'one address of all');
  ports.release(first);
  assert.equal((await ports.hold(local, user('three'))).hostPort, 8080);
  const other = { ...local, hostAddress: '10.99.0.1' };
  assert.equal((await ports.hold(other, user('four'))).hostAddress, '10.99.0.1', 'another address is another port');
  await assert.rejects(
    ports.hold({ ...local, hostAddress: '10.55.0.1' }, user('five')),
    /the host has no such address/,
  );
});
