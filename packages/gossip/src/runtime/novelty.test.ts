import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Novelty } from './novelty.ts';

test('a kind is new once a period, and no more kinds are new than the bound allows', () => {
  let now = 0;
  const clock = { now: () => now, setTimeout: () => assert.fail(), clearTimeout: () => assert.fail() };
  const novelty = new Novelty(clock, 1_000, 2);
  assert.deepEqual(
    ['a', 'a', 'b', 'c', 'b'].map((kind) => novelty.isNew(kind)),
    [true, false, true, false, false],
  );
  now = 1_000;
  assert.deepEqual(
    ['c', 'a', 'c', 'b'].map((kind) => novelty.isNew(kind)),
    [true, true, false, false],
  );
});
