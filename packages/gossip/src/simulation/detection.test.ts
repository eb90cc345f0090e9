import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SimulatedCluster, type SimulatedNode } from './index.ts';

const NODES = 20;
const SECOND = 1_000;
/** How exactly a death's time is taken, in ms. */
const STEP = 20;

/** A cluster at 1 % loss that has come to rest; where it stands in its probes is left to chance. */
async function cluster(seed: number, size = NODES): Promise<SimulatedCluster> {
  const formed = new SimulatedCluster(seed, 'objects');
  Object.assign(formed.network.conditions, { loss: 0.01, minDelay: 1, maxDelay: 20 });
  for (let index = 0; index < size; index++) await formed.add(index);
  for (const { db } of formed.nodes) void db.bootstrap([formed.addressOf(0).host]);
  const isWhole = (): boolean => formed.nodes.every(({ db }) => db.stats().members === size);
  assert.ok(await formed.clock.until(isWhole, 60 * SECOND), `seed ${seed}: not formed`);
  await formed.clock.advance((10 + formed.random.next()) * SECOND);
  return formed;
}

function failures({ nodes }: SimulatedCluster): number {
  return nodes.reduce((sum, { db }) => sum + db.stats().failures, 0);
}

/** When each of the nodes first counts so few members, in ms from now. */
async function noticed({ clock }: SimulatedCluster, nodes: readonly SimulatedNode[]): Promise<number[]> {
  const times = new Map<SimulatedNode, number>();
  const begin = clock.now();
  const haveAll = (): boolean => {
    for (const node of nodes)
      if (node.db.stats().failures > 0 && !times.has(node)) times.set(node, clock.now() - begin);
    return times.size === nodes.length;
  };
  assert.ok(await clock.until(haveAll, 60 * SECOND, STEP), `${nodes.length - times.size} nodes have not noticed`);
  return [...times.values()];
}

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

test('a host that dies is noticed by half of 20 nodes within 2.5 s, and by all but one in a hundred within 5 s', async (t) => {
  const times: number[] = [];
  for (let seed = 1; seed <= 25; seed++) {
    await using whole = await cluster(seed);
    const [victim, ...others] = whole.nodes;
    assert.ok(victim);
    await whole.crash(victim);
    times.push(...(await noticed(whole, others)));
  }
  const [p50, p99] = [quantile(times, 0.5), quantile(times, 0.99)];
  t.diagnostic(`first ${Math.min(...times)} ms, p50 ${p50}, p90 ${quantile(times, 0.9)}, p99 ${p99}`);
  assert.ok(p50 <= 2.5 * SECOND, `p50 ${p50} ms`);
  assert.ok(p99 <= 5 * SECOND, `p99 ${p99} ms`);
  assert.ok(Math.min(...times) >= 1.4 * SECOND, 'a host that is away for a second is missed by nobody');
});

test('3 of 20 processes stop for 2 s of every 5, at 1 % loss: none of their nodes is held for dead', async () => {
  for (let seed = 1; seed <= 12; seed++) {
    await using whole = await cluster(seed);
    const victims = whole.nodes.slice(-3);
    for (let round = 0; round < 6; round++) {
      for (const victim of victims) whole.stop(victim);
      await whole.clock.advance(2 * SECOND);
      for (const victim of victims) whole.continue(victim);
      await whole.clock.advance(3 * SECOND);
    }
    assert.equal(failures(whole), 0, `seed ${seed}`);
  }
});

test("a daemon that ends while its host answers has upstream's time, one that stops for good too", async (t) => {
  for (const end of ['killed', 'stopped'] as const) {
    const times: number[] = [];
    for (let seed = 1; seed <= 5; seed++) {
      await using whole = await cluster(seed);
      const [victim, ...others] = whole.nodes;
      assert.ok(victim);
      if (end === 'stopped') whole.stop(victim);
      else {
        await whole.crash(victim);
        whole.network.refuse(victim.address);
      }
      times.push(...(await noticed(whole, others)));
    }
    t.diagnostic(`${end}: first ${Math.min(...times)} ms, p50 ${quantile(times, 0.5)}`);
    assert.ok(Math.min(...times) > 5.2 * SECOND, `${end}: ${Math.min(...times)} ms`);
    assert.ok(quantile(times, 0.5) < 9 * SECOND, `${end}: p50 ${quantile(times, 0.5)} ms`);
  }
});

test('a node that was cut off for three seconds, and held for dead by those who could not see it, is back at once', async () => {
  await using whole = await cluster(7);
  const [victim, ...others] = whole.nodes;
  assert.ok(victim);
  whole.network.partition([victim.address]);
  await whole.clock.advance(3 * SECOND);
  assert.deepEqual(others[0]?.db.failedHosts(), [victim.address.host]);
  const whoKnowsAll = (): boolean => whole.nodes.every(({ db }) => db.stats().members === NODES);
  whole.network.heal();
  assert.ok(await whole.clock.until(whoKnowsAll, 5 * SECOND, STEP), 'whole again within 5 s');
  assert.deepEqual(others[0]?.db.failedHosts(), []);
  // It could not tell who was cut off, but nobody confirmed its suspicions.
  assert.equal(victim.db.stats().failures, 0);
});

test('a node of 20 at rest sends less than 550 bytes of gossip a second', async (t) => {
  await using whole = new SimulatedCluster(1, 'bytes');
  const keys = [1, 2, 3].map((byte) => new Uint8Array(16).fill(byte));
  for (let index = 0; index < NODES; index++) await whole.add(index, { keys });
  for (const { db } of whole.nodes) void db.bootstrap([whole.addressOf(0).host]);
  await whole.clock.advance(30 * SECOND);
  for (const { db } of whole.nodes) {
    void db.joinNetwork('network');
    db.createEntry('overlay_peer_table', 'network', db.nodeName, new Uint8Array(60));
  }
  await whole.clock.advance(30 * SECOND);
  const before = whole.network.bytes;
  await whole.clock.advance(60 * SECOND);
  const rate = (whole.network.bytes - before) / 60 / NODES;
  t.diagnostic(`${Math.round(rate)} B/s`);
  assert.ok(rate < 550, `${rate} B/s`);
});
