import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { diffRows, type LocalView, type Peer, PeerTable, peerOfRecord } from './peers.ts';

const nobody: LocalView = { vtep: '172.31.1.5', addresses: new Set(), macs: new Set() };
const peer = (address: string, vtep: string, mac = `02:42:0a:00:01:0${address.at(-1)}`): Peer => ({
  address,
  mac,
  vtep,
});

test('a record becomes a peer; a malformed one does not', () => {
  const record = { endpointIp: '10.0.1.3/24', endpointMac: '02:42:0A:00:01:03', tunnelEndpointIp: '172.31.1.6' };
  assert.deepEqual(peerOfRecord(record), { address: '10.0.1.3', mac: '02:42:0a:00:01:03', vtep: '172.31.1.6' });
  assert.equal(peerOfRecord({ ...record, tunnelEndpointIp: 'FD00:0::6' })?.vtep, 'fd00::6');
  for (const bad of [
    { endpointIp: 'x' },
    { endpointMac: '02:42' },
    { endpointMac: 'ff:ff:ff:ff:ff:ff' },
    { endpointMac: '00:00:00:00:00:00' },
    { tunnelEndpointIp: '' },
    { tunnelEndpointIp: 'fe80::1%eth0' },
    { tunnelEndpointIp: '[fd00::6]' },
  ]) {
    assert.equal(peerOfRecord({ ...record, ...bad }), undefined, JSON.stringify(bad));
  }
});

test('a record with an IPv6 address gives a row of each family, which go together', () => {
  const record = { endpointIp: '10.0.1.3/24', endpointMac: '02:42:0a:00:01:03', tunnelEndpointIp: '172.31.1.6' };
  const both = peerOfRecord({ ...record, endpointIpv6: 'FD00:0::3/64' }) ?? assert.fail();
  assert.equal(both.ipv6Address, 'fd00::3');
  for (const endpointIpv6 of ['', 'x', 'fe80::1%eth0/64', '10.0.1.3/24'])
    assert.equal(peerOfRecord({ ...record, endpointIpv6 })?.ipv6Address, undefined, endpointIpv6);
  const table = new PeerTable();
  assert.equal(table.set('a', both), true);
  assert.equal(table.set('a', both), false);
  assert.deepEqual([...table.desiredRows(nobody).neighbours.keys()], ['10.0.1.3', 'fd00::3']);
  // Another endpoint has the address now: the newest record wins, and the old one keeps its own.
  table.set('b', { ...peer('10.0.1.4', '172.31.1.7'), ipv6Address: 'fd00::3' });
  assert.equal(table.desiredRows(nobody).neighbours.get('fd00::3'), '02:42:0a:00:01:04');
  table.delete('b');
  assert.equal(table.set('a', peer('10.0.1.3', '172.31.1.6')), true, 'it has lost its address');
  assert.deepEqual([...table.desiredRows(nobody).neighbours.keys()], ['10.0.1.3']);
});

test('whether a host takes large segments is what its newest record says', () => {
  const record = { endpointIp: '10.0.1.3/24', endpointMac: '02:42:0a:00:01:03', tunnelEndpointIp: '172.31.1.6' };
  const table = new PeerTable();
  const set = (id: string, takesLargeSegments?: boolean): boolean =>
    table.set(
      id,
      peerOfRecord({ ...record, ...(takesLargeSegments === undefined ? {} : { takesLargeSegments }) }) ?? assert.fail(),
    );
  set('a', true);
  assert.deepEqual(
    ['172.31.1.6', '172.31.1.7'].map((vtep) => table.takesLargeSegments(vtep)),
    [true, false],
  );
  assert.equal(set('a'), true, 'it does not any more');
  assert.equal(table.takesLargeSegments('172.31.1.6'), false);
  assert.equal(set('a', false), false, 'which is the same as not saying it');
});

test('rows follow the records', () => {
  const table = new PeerTable();
  assert.equal(table.set('a', peer('10.0.1.3', '172.31.1.6')), true);
  assert.equal(table.set('a', peer('10.0.1.3', '172.31.1.6')), false);
  table.set('b', peer('10.0.1.4', '172.31.1.7'));
  assert.deepEqual(
    [...table.desiredRows(nobody).neighbours],
    [
      ['10.0.1.4', '02:42:0a:00:01:04'],
      ['10.0.1.3', '02:42:0a:00:01:03'],
    ],
  );
  assert.deepEqual(table.desiredRows(nobody).forwarding.get('02:42:0a:00:01:04'), '172.31.1.7');
  assert.equal(table.delete('b'), true);
  assert.equal(table.desiredRows(nobody).neighbours.size, 1);
});

test('a moved address belongs to the newest record, and comes back when that one goes', () => {
  const table = new PeerTable();
  table.set('old', peer('10.0.1.3', '172.31.1.6'));
  table.set('new', peer('10.0.1.3', '172.31.1.7'));
  assert.equal(table.desiredRows(nobody).forwarding.get('02:42:0a:00:01:03'), '172.31.1.7');
  table.delete('new');
  assert.equal(table.desiredRows(nobody).forwarding.get('02:42:0a:00:01:03'), '172.31.1.6');
});

test('records of a lost host stay for their time, and yield to whoever claims their address', () => {
  const table = new PeerTable();
  table.set('a', peer('10.0.1.3', '172.31.1.6'));
  table.set('b', peer('10.0.1.4', '172.31.1.6'));
  table.set('c', peer('10.0.1.5', '172.31.1.6'));
  for (const id of ['a', 'b', 'c']) table.orphan(id, 100);
  table.expire(99);
  assert.equal(table.desiredRows(nobody).neighbours.size, 3);
  table.set('b', peer('10.0.1.4', '172.31.1.6'));
  table.set('d', peer('10.0.1.3', '172.31.1.7'));
  table.delete('d');
  assert.equal(table.desiredRows(nobody).neighbours.has('10.0.1.3'), false, 'the claimed record has gone for good');
  table.expire(100);
  assert.deepEqual([...table.desiredRows(nobody).neighbours.keys()], ['10.0.1.4']);
});

test('records of this host and claims on its endpoints give no rows', () => {
  const table = new PeerTable();
  table.set('own', peer('10.0.1.3', '172.31.1.5'));
  table.set('claim', peer('10.0.1.4', '172.31.1.6'));
  table.set('mac', peer('10.0.1.5', '172.31.1.6'));
  const local = { vtep: '172.31.1.5', addresses: new Set(['10.0.1.4']), macs: new Set(['02:42:0a:00:01:05']) };
  assert.equal(table.desiredRows(local).neighbours.size, 0);
});

test('changes taken one after the other end in the rows that the records ask for', () => {
  const arbitraryPeer = fc.record({
    address: fc.integer({ min: 2, max: 6 }).map((host) => `10.0.1.${host}`),
    ipv6Address: fc.option(fc.constantFrom('fd00::2', 'fd00::3'), { nil: undefined }),
    mac: fc.integer({ min: 2, max: 6 }).map((host) => `02:42:0a:00:01:0${host}`),
    vtep: fc.integer({ min: 5, max: 8 }).map((host) => `172.31.1.${host}`),
  });
  const step = fc.tuple(fc.constantFrom('a', 'b', 'c', 'd', 'e'), fc.option(arbitraryPeer), fc.boolean());
  const local = { vtep: '172.31.1.5', addresses: new Set(['10.0.1.2']), macs: new Set(['02:42:0a:00:01:03']) };
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const table = new PeerTable();
      const rows = { neighbours: new Map<string, string>(), forwarding: new Map<string, string>() };
      const take = (): void => {
        const changed = table.takeChanges(local);
        for (const kind of ['neighbours', 'forwarding'] as const) {
          for (const key of changed.keys) rows[kind].delete(key);
          for (const [key, value] of changed.rows[kind]) rows[kind].set(key, value);
        }
      };
      for (const [id, value, takes] of steps) {
        if (value === null) table.delete(id);
        else table.set(id, value);
        if (takes) take();
      }
      take();
      const desired = table.desiredRows(local);
      assert.deepEqual(new Map([...rows.neighbours].sort()), new Map([...desired.neighbours].sort()));
      assert.deepEqual(new Map([...rows.forwarding].sort()), new Map([...desired.forwarding].sort()));
    }),
    { numRuns: 1000 },
  );
});

test('whatever the records are, each address has one MAC with a place, and each place is of a record', () => {
  const arbitraryPeer = fc.record({
    address: fc.integer({ min: 2, max: 9 }).map((host) => `10.0.1.${host}`),
    mac: fc.integer({ min: 2, max: 9 }).map((host) => `02:42:0a:00:01:0${host}`),
    vtep: fc.integer({ min: 5, max: 8 }).map((host) => `172.31.1.${host}`),
  });
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.constantFrom('a', 'b', 'c', 'd', 'e'), fc.option(arbitraryPeer))), (steps) => {
      const table = new PeerTable();
      const model = new Map<string, Peer>();
      for (const [id, value] of steps) {
        if (value === null) {
          table.delete(id);
          model.delete(id);
        } else {
          table.set(id, value);
          model.set(id, value);
        }
      }
      const rows = table.desiredRows(nobody);
      for (const [address, mac] of rows.neighbours) {
        const vtep = rows.forwarding.get(mac);
        assert.ok([...model.values()].some((p) => p.address === address && p.mac === mac && p.vtep === vtep));
      }
      for (const mac of rows.forwarding.keys()) assert.ok([...rows.neighbours.values()].includes(mac));
    }),
  );
});

test('applying a diff makes the rows equal; without pruning nothing goes', () => {
  const rows = fc
    .dictionary(fc.constantFrom('a', 'b', 'c', 'd'), fc.constantFrom('1', '2'))
    .map((o) => new Map(Object.entries(o)));
  fc.assert(
    fc.property(rows, rows, fc.boolean(), (desired, actual, prune) => {
      const result = new Map<string, string>(actual);
      const changes = diffRows(desired, actual, prune);
      for (const [key, value] of changes.replace) result.set(key, value);
      for (const key of changes.remove) result.delete(key);
      const expected = prune ? desired : new Map([...actual, ...desired]);
      assert.deepEqual(new Map([...result].sort()), new Map([...expected].sort()));
      assert.deepEqual(diffRows(desired, result, prune), { replace: [], remove: [] });
    }),
  );
});
