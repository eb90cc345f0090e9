import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import type { Images, PullProgress, RegistryAuth } from '../container/types.ts';
import { TaskPulls } from './task-pulls.ts';

/** A registry whose pulls end when the test says so. */
class Registry implements Pick<Images, 'pull'> {
  readonly asked: {
    image: string;
    auth: RegistryAuth | undefined;
    signal: AbortSignal | undefined;
    end: () => void;
  }[] = [];

  async *pull(
    image: string,
    { auth, signal }: { auth?: RegistryAuth; signal?: AbortSignal },
  ): AsyncIterable<PullProgress> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.asked.push({ image, auth, signal, end: resolve });
    signal?.addEventListener('abort', () => reject(signal.reason), { once: true });
    yield { status: 'Pulling' };
    await promise;
    if (image.startsWith('missing')) throw new Error(`manifest for ${image} not found`);
  }
}

const never = new AbortController().signal;

test('tasks that want the same image at the same time ask the registry once, and later ones anew', async () => {
  const registry = new Registry();
  const pulls = new TaskPulls(registry);
  const waiting = [1, 2, 3].map(() => pulls.pull('ubuntu:latest', undefined, never));
  await turn();
  assert.equal(registry.asked.length, 1);
  registry.asked[0]?.end();
  await Promise.all(waiting);

  const later = pulls.pull('ubuntu:latest', undefined, never);
  await turn();
  assert.equal(registry.asked.length, 2);
  registry.asked[1]?.end();
  await later;
});

test('another image, or other credentials, are a pull of their own', async () => {
  const registry = new Registry();
  const pulls = new TaskPulls(registry);
  const auth: RegistryAuth = { username: 'somebody', password: 'secret' };
  const waiting = [
    pulls.pull('ubuntu:latest', undefined, never),
    pulls.pull('ubuntu:latest', auth, never),
    pulls.pull('nginx:latest', auth, never),
  ];
  await turn();
  assert.deepEqual(
    registry.asked.map(({ image, auth }) => [image, auth]),
    [
      ['ubuntu:latest', undefined],
      ['ubuntu:latest', auth],
      ['nginx:latest', auth],
    ],
  );
  for (const { end } of registry.asked) end();
  await Promise.all(waiting);
});

test('a failure reaches all who wait, and is not remembered', async () => {
  const registry = new Registry();
  const pulls = new TaskPulls(registry);
  const waiting = [1, 2].map(() => pulls.pull('missing:latest', undefined, never));
  await turn();
  registry.asked[0]?.end();
  for (const { status } of await Promise.allSettled(waiting)) assert.equal(status, 'rejected');
  void pulls.pull('missing:latest', undefined, AbortSignal.abort()).catch(() => undefined);
  const again = pulls.pull('missing:latest', undefined, never);
  await turn();
  assert.equal(registry.asked.length, 2);
  registry.asked[1]?.end();
  await assert.rejects(again, /manifest for missing:latest not found/);
});

test('who leaves does not end the pull of the others; the last one does', async () => {
  const registry = new Registry();
  const pulls = new TaskPulls(registry);
  const [first, second] = [new AbortController(), new AbortController()];
  const waiting = [first, second].map(({ signal }) => pulls.pull('ubuntu:latest', undefined, signal));
  await turn();
  first.abort(new Error('the first one leaves'));
  await assert.rejects(waiting[0] ?? Promise.resolve(), /the first one leaves/);
  assert.equal(registry.asked[0]?.signal?.aborted, false);
  second.abort(new Error('the second one leaves'));
  await assert.rejects(waiting[1] ?? Promise.resolve(), /the second one leaves/);
  assert.equal(registry.asked[0]?.signal?.aborted, true);
});
