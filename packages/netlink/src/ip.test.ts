import assert from 'node:assert/strict';
import { BlockList } from 'node:net';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  addressFromBigInt,
  addressToBigInt,
  familyOf,
  formatAddress,
  InvalidAddressError,
  normalizeAddress,
  Prefix,
  parseAddress,
} from './ip.ts';

const ipv4Bytes = fc.uint8Array({ minLength: 4, maxLength: 4 });
// Zero bytes are frequent, so that the shortening of IPv6 text has work to do.
const ipv6Bytes = fc
  .array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 255 })), { minLength: 16, maxLength: 16 })
  .map((octets) => Uint8Array.from(octets));
const addressBytes = fc.oneof(ipv4Bytes, ipv6Bytes);
const address = addressBytes.map(formatAddress);
const prefix = addressBytes.chain((bytes) =>
  fc.integer({ min: 0, max: bytes.length * 8 }).map((length) => Prefix.of(formatAddress(bytes), length)),
);
/** The text with which the URL standard writes an IPv6 address: an independent RFC 5952 formatter. */
const urlText = (text: string): string => new URL(`http://[${text}]/`).hostname.slice(1, -1);

test('bytes survive the way through text', () => {
  fc.assert(fc.property(addressBytes, (bytes) => assert.deepEqual(parseAddress(formatAddress(bytes)), bytes)));
});

test('numbers survive the way through text', () => {
  fc.assert(
    fc.property(address, (text) => assert.equal(addressFromBigInt(addressToBigInt(text), familyOf(text)), text)),
  );
});

test('IPv6 text is that of RFC 5952', () => {
  const mapped = (text: string) => text.startsWith('::ffff:') && text.includes('.');
  fc.assert(
    fc.property(ipv6Bytes.map(formatAddress), (text) => {
      if (!mapped(text)) assert.equal(text, urlText(text));
    }),
  );
  assert.equal(normalizeAddress('2001:DB8:0:0:1:0:0:1'), '2001:db8::1:0:0:1');
  assert.equal(normalizeAddress('::ffff:10.0.0.1'), '::ffff:10.0.0.1');
  assert.equal(normalizeAddress('64:ff9b::10.0.0.1'), '64:ff9b::a00:1');
  assert.equal(normalizeAddress('0:0:0:0:0:0:0:0'), '::');
});

test('a prefix contains exactly the addresses that Node’s BlockList says', () => {
  fc.assert(
    fc.property(prefix, address, (net, text) => {
      const list = new BlockList();
      list.addSubnet(net.network, net.length, net.family);
      // BlockList matches IPv4-mapped addresses with IPv4 rules; here the families are apart.
      const expected = familyOf(text) === net.family && list.check(text, net.family);
      assert.equal(net.contains(text), expected);
    }),
  );
});

test('the first and the last address are inside, their neighbours are not', () => {
  fc.assert(
    fc.property(prefix, (net) => {
      const [first, last] = [addressToBigInt(net.network), addressToBigInt(net.broadcast)];
      assert.equal(last - first + 1n, net.size);
      assert.ok(net.contains(net.network) && net.contains(net.broadcast));
      assert.equal(net.indexOf(net.address(-1)), net.size - 1n);
      assert.throws(() => net.address(net.size), RangeError);
      assert.throws(() => net.address(-net.size - 1n), RangeError);
      if (first > 0n) assert.ok(!net.contains(addressFromBigInt(first - 1n, net.family)));
    }),
  );
});

test('overlap is symmetric and means a shared address', () => {
  fc.assert(
    fc.property(prefix, prefix, (a, b) => {
      assert.equal(a.overlaps(b), b.overlaps(a));
      const range = (net: Prefix) => [addressToBigInt(net.network), addressToBigInt(net.broadcast)] as const;
      const [[aFirst, aLast], [bFirst, bLast]] = [range(a), range(b)];
      assert.equal(a.overlaps(b), a.family === b.family && aFirst <= bLast && bFirst <= aLast);
    }),
  );
});

test('a prefix survives the way through text, and its parts cover it', () => {
  fc.assert(
    fc.property(prefix, (net) => {
      assert.ok(Prefix.parse(net.toString()).equals(net));
      const length = Math.min(net.length + 2, net.family === 'ipv4' ? 32 : 128);
      const parts = [...net.subnets(length)];
      assert.equal(
        parts.reduce((sum, part) => sum + part.size, 0n),
        net.size,
      );
      assert.ok(parts.every((part) => net.contains(part)));
    }),
  );
});

test('the values one knows by heart', () => {
  const net = Prefix.parse('10.0.1.77/24');
  assert.deepEqual(
    [net.toString(), net.network, net.broadcast, net.netmask, net.size, net.address(1)],
    ['10.0.1.0/24', '10.0.1.0', '10.0.1.255', '255.255.255.0', 256n, '10.0.1.1'],
  );
  assert.equal(Prefix.parse('0.0.0.0/0').netmask, '0.0.0.0');
  assert.equal(Prefix.parse('10.0.0.1').toString(), '10.0.0.1/32');
  assert.equal(Prefix.parse('fd00::/8').contains(Prefix.parse('fd12:3456::/48')), true);
  assert.equal(JSON.stringify({ net }), '{"net":"10.0.1.0/24"}');
});

test('what is not an address or a prefix is refused', () => {
  for (const text of ['', '10.0.0', '10.0.0.256', '1.2.3.4.5', 'fe80::1%eth0', ':::', 'example.org', '10.0.0.01']) {
    assert.throws(() => parseAddress(text), InvalidAddressError, text);
  }
  for (const text of ['10.0.0.0/33', '::/129', '10.0.0.0/', '10.0.0.0/-1', '10.0.0.0/8/8', '10.0.0.0/x', '/8']) {
    assert.throws(() => Prefix.parse(text), InvalidAddressError, text);
  }
});
