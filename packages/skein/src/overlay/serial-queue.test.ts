import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { SerialQueue } from './serial-queue.ts';

test('actions run one after the other, an error stops none but its own', async () => {
  const queue = new SerialQueue();
  const log: string[] = [];
  const slow = queue.run(async () => {
    log.push('slow begins');
    await sleep(5);
    log.push('slow ends');
    return 1;
  });
  const failing = queue.run(() => {
    log.push('failing');
    throw new Error('as expected');
  });
  const last = queue.run(() => log.push('last'));
  await assert.rejects(failing, /as expected/);
  assert.deepEqual([await slow, await last], [1, 4]);
  assert.deepEqual(log, ['slow begins', 'slow ends', 'failing', 'last']);
});

test('too many that wait are refused', async () => {
  const queue = new SerialQueue();
  const gate = Promise.withResolvers<void>();
  const first = queue.run(() => gate.promise);
  const waiting = Array.from({ length: 4095 }, () => queue.run(() => undefined));
  await assert.rejects(
    queue.run(() => undefined),
    { code: 'ResourceExhausted' },
  );
  gate.resolve();
  await Promise.all([first, ...waiting]);
});
