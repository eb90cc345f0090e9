import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { type Clock, silentLogger } from '../../common/index.ts';
import { NodeSchema } from '../gen/objects_pb.js';
import { openStore } from '../store/index.ts';
import { Loop } from './loop.ts';
import { VirtualClock } from './testing/virtual-clock.ts';

const hourMs = 3_600_000;

test('a loop hears of commits also when the clock was set forward past the time that it waits for', async () => {
  const time = new VirtualClock();
  let setForwardMs = 0;
  const clock: Clock = {
    now: () => time.now() + setForwardMs,
    setTimeout: (action, milliseconds) => time.setTimeout(action, milliseconds),
    clearTimeout: (timer) => time.clearTimeout(timer),
  };
  using store = openStore({ path: ':memory:', logger: silentLogger() });
  let runs = 0;
  const run = (): number => {
    runs++;
    return clock.now() + hourMs;
  };
  await using loop = new Loop({ store, clock, logger: silentLogger() }, { name: 'test', notice: () => true, run });
  loop.start();
  time.advance(1);
  assert.equal(runs, 1);
  setForwardMs = 2 * hourMs;
  store.update((transaction) => transaction.create('node', create(NodeSchema, { id: 'node' })));
  time.advance(1);
  assert.equal(runs, 2);
});
