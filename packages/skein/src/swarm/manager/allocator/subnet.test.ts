import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  contains,
  formatAddress,
  formatSubnet,
  lastAddress,
  overlaps,
  parseAddress,
  parseSubnet,
  subnetAt,
} from './subnet.ts';

const ipv4 = fc.bigInt({ min: 0xffff00000000n, max: 0xffffffffffffn });
/** Of the addresses that the allocator gives out: none in ::/8. */
const ipv6 = fc.bigInt({ min: 1n << 120n, max: (1n << 128n) - 1n });
const address = fc.oneof(ipv4, ipv6);
const subnet = fc.oneof(
  fc.tuple(ipv4, fc.integer({ min: 0, max: 32 })).map(([at, prefix]) => subnetAt(at, prefix)),
  fc.tuple(ipv6, fc.integer({ min: 8, max: 128 })).map(([at, prefix]) => subnetAt(at, prefix)),
);

test('addresses and subnets survive being written and read', () => {
  fc.assert(fc.property(address, (value) => assert.equal(parseAddress(formatAddress(value)), value)));
  fc.assert(fc.property(subnet, (value) => assert.deepEqual(parseSubnet(formatSubnet(value)), value)));
});

test('host bits are dropped; what is no subnet is refused', () => {
  assert.equal(formatSubnet(parseSubnet('10.0.1.77/24') ?? assert.fail()), '10.0.1.0/24');
  assert.equal(formatSubnet(parseSubnet('FD00:0:0:1:2::3/64') ?? assert.fail()), 'fd00:0:0:1::/64');
  assert.equal(formatAddress(parseAddress('::ffff:10.0.1.2') ?? assert.fail()), '10.0.1.2');
  for (const text of [
    'nonsense',
    '10.0.0.0',
    '10.0.0.0/33',
    '10.0.0/8',
    '300.0.0.0/8',
    'fd00::/129',
    'fd00:::/64',
    '10.0.0.0/-1',
    '',
  ])
    assert.equal(parseSubnet(text), undefined, text);
});

test('two subnets overlap exactly when one contains the other', () => {
  fc.assert(
    fc.property(subnet, subnet, (a, b) => {
      const nested =
        (contains(a, b.base) && contains(a, lastAddress(b))) || (contains(b, a.base) && contains(b, lastAddress(a)));
      assert.equal(overlaps(a, b), nested);
    }),
  );
});
