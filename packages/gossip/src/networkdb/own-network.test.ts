import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TableEvent } from './codec.ts';
import { keepEarly, newOwnNetwork } from './own-network.ts';

const eventOf = (nodeName: string, lTime = 1): TableEvent => ({
  type: 'create',
  lTime,
  nodeName,
  networkId: 'net',
  tableName: 'endpoint_table',
  key: 'key',
  value: new Uint8Array(0),
  residualReapTime: 0,
});

test('early events are kept by owner, within bounds: who has waited longest gives way to a new one', () => {
  const network = newOwnNetwork('net', 16, 0);
  assert.equal(keepEarly(network, eventOf('first'), 0), true);
  for (let lTime = 2; lTime < 500; lTime++) assert.equal(keepEarly(network, eventOf('first', lTime), 0), false);
  assert.deepEqual(network.early.get('first')?.events.slice(0, 2), [eventOf('first', 1), eventOf('first', 2)]);
  assert.equal(network.early.get('first')?.events.length, 64);
  for (let index = 1; index < 256; index++) assert.equal(keepEarly(network, eventOf(`node${index}`), 0), true);
  assert.ok(network.early.has('first'));
  assert.equal(keepEarly(network, eventOf('last'), 0), true);
  assert.deepEqual([network.early.size, network.early.has('first'), network.early.has('last')], [256, false, true]);
});
