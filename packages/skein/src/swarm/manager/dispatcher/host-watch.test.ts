import assert from 'node:assert/strict';
import { test } from 'node:test';
import { silentLogger } from '../../../common/index.ts';
import { TestClock } from '../../identity/testing.ts';
import { HostWatch } from './host-watch.ts';
import type { RegisteredNode } from './sessions.ts';

const silenceMs = 1_500;

/** Nodes 10.0.0.1 and on, of which the test says what is to be seen. */
function setUp(t: { after(action: () => void): void }, count: number) {
  const clock = new TestClock();
  const lost = new Set<string>();
  const answering = new Set<string>();
  const ponging = new Set<string>();
  const gone: string[] = [];
  const begin = clock.now();
  const nodes = Array.from({ length: count }, (_, index): RegisteredNode => {
    const nodeId = `n${index + 1}`;
    const address = `10.0.0.${index + 1}`;
    const ping = () => Promise.resolve(ponging.has(nodeId));
    return { nodeId, address, ping, sessionId: nodeId, ended: new AbortController().signal };
  });
  const watch = new HostWatch({
    witness: { lost: () => [...lost], answers: (address) => Promise.resolve(answering.has(address)) },
    nodes: () => nodes.filter(({ nodeId }) => !gone.some((each) => each.startsWith(`${nodeId} `))),
    silenceMs: () => silenceMs,
    gone: (nodeId) => gone.push(`${nodeId} ${clock.now() - begin}`),
    clock,
    logger: silentLogger(),
  });
  t.after(() => watch.close());
  return { clock, lost, answering, ponging, gone };
}

test('a host that the gossip has lost and that does not answer for 1.5 s is gone', async (t) => {
  const { clock, lost, gone } = setUp(t, 4);
  await clock.advance(10_000);
  lost.add('10.0.0.2');
  await clock.advance(10_000);
  assert.deepEqual(gone, ['n2 11600']);
});

test('a host whose kernel answers is not gone, nor is one whose daemon does, however long the gossip has lost it', async (t) => {
  const { clock, lost, answering, ponging, gone } = setUp(t, 5);
  for (const address of ['10.0.0.1', '10.0.0.2']) lost.add(address);
  answering.add('10.0.0.1');
  ponging.add('n2');
  await clock.advance(60_000);
  assert.deepEqual(gone, []);
  answering.clear(); // First the daemon is killed, then the host dies.
  await clock.advance(60_000);
  assert.deepEqual(gone, ['n1 61600']);
});

test('silence counts from its last beginning: a host that comes and goes is not gone', async (t) => {
  const { clock, lost, answering, gone } = setUp(t, 3);
  for (let round = 0; round < 10; round++) {
    lost.add('10.0.0.1');
    await clock.advance(1_400);
    if (round % 2 === 0) lost.clear();
    else answering.add('10.0.0.1');
    await clock.advance(200);
    answering.clear();
  }
  assert.deepEqual(gone, []);
});

test('a manager that loses sight of most nodes at once is rather cut off itself', async (t) => {
  const { clock, lost, gone } = setUp(t, 5);
  for (const address of ['10.0.0.1', '10.0.0.2', '10.0.0.3']) lost.add(address);
  await clock.advance(60_000);
  assert.deepEqual(gone, []);
  lost.delete('10.0.0.3');
  await clock.advance(2_000);
  assert.deepEqual(gone, ['n1 61600', 'n2 61600']);
  const alone = setUp(t, 1);
  alone.lost.add('10.0.0.1');
  await alone.clock.advance(60_000);
  assert.deepEqual(alone.gone, []);
});
