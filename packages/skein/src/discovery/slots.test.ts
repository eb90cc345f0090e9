import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Slots } from './slots.ts';

test('a slot given back goes to the one who waits longest; those beyond the bound and the impatient get none', async () => {
  const slots = new Slots({ slots: 1, maximumWaiters: 2, patienceMs: 50 });
  const first = await slots.take();
  assert.ok(first);
  const second = slots.take();
  const third = slots.take();
  assert.equal(await slots.take(), undefined, 'two wait already');
  first();
  first();
  const release = await second;
  assert.ok(release);
  assert.equal(await third, undefined, 'its patience is over');
  release();
  const again = await slots.take();
  assert.ok(again);
  const waiting = slots.take();
  again();
  assert.ok(await waiting);
});
