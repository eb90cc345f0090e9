import assert from 'node:assert/strict';
import { test } from 'node:test';
import { RouteSocket } from '@skein/netlink';
import { TestNamespaces } from '../../../../netlink/src/testing.ts';
import { neighboursOf } from './underlay-link.ts';

test('neighbours are the hosts of the subnet of the VTEP, unless a part of it is behind a gateway', () => {
  using namespaces = new TestNamespaces('neighbours');
  const host = namespaces.create('host');
  using route = RouteSocket.open(host);
  const { index } = route.links.create({ kind: 'veth', name: 'eth0', peer: { name: 'wire0' }, up: true });
  route.addresses.add({ index, address: '192.0.2.5', prefixLength: 24 });
  route.routes.add({ destination: '0.0.0.0/0', gateway: '192.0.2.1', index });
  route.routes.add({ destination: '198.51.100.0/24', gateway: '192.0.2.1', index });
  const neighbours = (): string => `${neighboursOf(host, index, '192.0.2.5')}`;
  assert.equal(neighbours(), '192.0.2.0/24');
  assert.equal(`${neighboursOf(host, index, '192.0.2.9')}`, '192.0.2.9/32', 'an address that the link does not have');
  route.routes.add({ destination: '192.0.2.128/25', gateway: '192.0.2.1', index });
  assert.equal(neighbours(), '192.0.2.5/32');
});
