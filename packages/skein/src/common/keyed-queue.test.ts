import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { KeyedQueue } from './index.ts';

test('actions of a key follow each other, a failed one stops nothing, other keys do not wait', async () => {
  const queue = new KeyedQueue();
  const done: string[] = [];
  const slow = queue.run('a', async () => {
    await sleep(20);
    done.push('slow');
    return 1;
  });
  const failing = queue.run('a', async () => {
    done.push('failing');
    throw new Error('no');
  });
  const last = queue.run('a', async () => done.push('last'));
  await queue.run('b', async () => done.push('other'));
  await assert.rejects(failing, /no/);
  assert.equal(await slow, 1);
  await queue.settled('a');
  await last;
  assert.deepEqual(done, ['other', 'slow', 'failing', 'last']);
  await queue.settled();
});
