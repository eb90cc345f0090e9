import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BpfMap, formatAddress } from '@skein/netlink';
import { ipKey, OwnedEntries } from './records.ts';

test('an owner writes what is missing or wrong, all anew when asked, and leaves the entries of others alone', () => {
  using map = BpfMap.create({ name: 'owned', type: 'hash', keySize: 4, valueSize: 4, maximumEntries: 8, flags: 0 });
  const entries = new OwnedEntries<{ address: string; vtep: string }>(map, ({ address, vtep }) => [
    ipKey(address),
    ipKey(vtep),
  ]);
  const has = (): string[] =>
    map
      .entries()
      .map((entry) => entry.map(formatAddress).join('>'))
      .sort();
  map.set(ipKey('10.0.0.9'), ipKey('192.0.2.9'));
  const [a, b] = [
    { address: '10.0.0.1', vtep: '192.0.2.5' },
    { address: '10.0.0.2', vtep: '192.0.2.6' },
  ];
  entries.reconcile([a, b]);
  assert.deepEqual(has(), ['10.0.0.1>192.0.2.5', '10.0.0.2>192.0.2.6', '10.0.0.9>192.0.2.9']);
  entries.change(['10.0.0.1', '02:42:0a:00:00:01', '10.0.0.3'], [{ address: '10.0.0.1', vtep: '192.0.2.7' }]);
  assert.deepEqual(has(), ['10.0.0.1>192.0.2.7', '10.0.0.2>192.0.2.6', '10.0.0.9>192.0.2.9']);
  entries.change(['10.0.0.1'], []);
  assert.deepEqual(has(), ['10.0.0.2>192.0.2.6', '10.0.0.9>192.0.2.9']);
  map.delete(ipKey('10.0.0.2'));
  entries.change(['10.0.0.2'], [b]);
  assert.deepEqual(has(), ['10.0.0.9>192.0.2.9'], 'what is known to be there is not written');
  entries.reconcile([b]);
  assert.deepEqual(has(), ['10.0.0.2>192.0.2.6', '10.0.0.9>192.0.2.9']);
  entries.reconcile([]);
  assert.deepEqual(has(), ['10.0.0.9>192.0.2.9']);
});

test('what a full map took of several entries is taken back with the rest', () => {
  using map = BpfMap.create({ name: 'full', type: 'hash', keySize: 4, valueSize: 4, maximumEntries: 2, flags: 0 });
  const entries = new OwnedEntries<{ address: string; vtep: string }>(map, ({ address, vtep }) => [
    ipKey(address),
    ipKey(vtep),
  ]);
  const items = ['10.0.0.1', '10.0.0.2', '10.0.0.3'].map((address) => ({ address, vtep: '192.0.2.5' }));
  assert.throws(() => entries.reconcile(items), { code: 'E2BIG' });
  entries.reconcile([]);
  assert.deepEqual(map.entries(), []);
  assert.throws(() => entries.reconcile(items), { code: 'E2BIG' });
  entries.change(['10.0.0.1', '10.0.0.2'], []);
  entries.change(['10.0.0.3'], items.slice(2));
  assert.deepEqual(
    map.entries().map(([key]) => formatAddress(key)),
    ['10.0.0.3'],
  );
});
