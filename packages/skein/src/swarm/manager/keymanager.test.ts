import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TestCluster } from './testing/cluster.ts';

const hour = 3_600_000;

/** The keys' times by subsystem. */
function times(cluster: TestCluster): Record<string, bigint[]> {
  const keys = cluster.store.view((tx) => tx.list('cluster')[0]?.networkBootstrapKeys) ?? [];
  for (const key of keys) assert.equal(key.key.length, 16);
  assert.equal(new Set(keys.map(({ key }) => Buffer.from(key).toString('hex'))).size, 6, 'all keys differ');
  const groups = Map.groupBy(keys, ({ subsystem }) => subsystem);
  return Object.fromEntries(
    [...groups].map(([subsystem, group]) => [subsystem, group.map(({ lamportTime }) => lamportTime)]),
  );
}

test('a cluster begins with three keys for gossip and three for IPsec, numbered one after the other', async () => {
  await using cluster = new TestCluster();
  const { 'networking:gossip': gossip = [], 'networking:ipsec': ipsec = [] } = times(cluster);
  const first = gossip[0] ?? assert.fail();
  assert.deepEqual(
    [...gossip, ...ipsec],
    [0n, 1n, 2n, 3n, 4n, 5n].map((offset) => first + offset),
  );
});

test('every twelve hours each subsystem loses its oldest key and gets a new one', async () => {
  await using cluster = new TestCluster();
  const before = times(cluster);
  cluster.clock.advance(11 * hour);
  assert.deepEqual(times(cluster), before);
  cluster.clock.advance(2 * hour);
  const after = times(cluster);
  const last = Math.max(...Object.values(before).flat().map(Number));
  for (const [subsystem, [, second, third]] of Object.entries(before)) {
    const [a, b, added] = after[subsystem] ?? [];
    assert.deepEqual([a, b], [second, third]);
    assert.ok(Number(added) > last);
  }
  cluster.clock.advance(12 * hour);
  assert.deepEqual(after['networking:gossip']?.slice(1), times(cluster)['networking:gossip']?.slice(0, 2));
});
