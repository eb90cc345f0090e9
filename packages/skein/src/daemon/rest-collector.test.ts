import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { RestCollector } from './rest-collector.ts';

const megabyte = 1024 * 1024;
const intervalMs = 1000;

/** A process whose readings are set by hand. */
function processOf(context: TestContext, heapMegabytes: number) {
  const state = { cpuMs: 0, heap: heapMegabytes * megabyte, collections: 0 };
  const collect = (): void => {
    state.collections += 1;
    state.heap = 30 * megabyte;
  };
  context.mock.timers.enable({ apis: ['setInterval'] });
  const collector = new RestCollector({ cpuMs: () => state.cpuMs, heapBytes: () => state.heap, collect }, intervalMs);
  context.after(() => collector[Symbol.dispose]());
  const pass = (busyMs: number): number => {
    state.cpuMs += busyMs;
    context.mock.timers.tick(intervalMs);
    return state.collections;
  };
  return { state, pass };
}

test('what a burst has left is collected once the daemon rests, not while it works', (context) => {
  const { pass } = processOf(context, 200);
  assert.equal(pass(900), 0, 'at work');
  assert.equal(pass(10), 1, 'at rest');
});

test('a daemon at rest collects again only when there is enough to collect', (context) => {
  const { state, pass } = processOf(context, 200);
  assert.equal(pass(10), 1);
  state.heap += 20 * megabyte;
  assert.equal(pass(10), 1, 'not worth it');
  state.heap += 10 * megabyte;
  assert.equal(pass(10), 2);
});
