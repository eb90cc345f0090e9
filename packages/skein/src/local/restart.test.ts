import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { RestartBackoff, restarts } from './restart.ts';

const policy = (Name: string, MaximumRetryCount = 0) => ({ Name, MaximumRetryCount });

test('a policy starts what it names again, and what its user stopped only with the daemon and always', () => {
  const table: readonly [string, number, number, boolean, boolean, boolean][] = [
    // policy, exit code, starts so far, stopped, boot → starts again
    ['no', 1, 0, false, false, false],
    ['', 1, 0, false, true, false],
    ['always', 0, 9, false, false, true],
    ['always', 0, 0, true, false, false],
    ['always', 0, 0, true, true, true],
    ['unless-stopped', 1, 0, false, true, true],
    ['unless-stopped', 1, 0, true, true, false],
    ['on-failure', 0, 0, false, false, false],
    ['on-failure', 1, 5, false, false, true],
    ['on-failure', 1, 5, true, false, false],
  ];
  for (const [name, exitCode, count, stopped, boot, expected] of table) {
    const row = JSON.stringify([name, exitCode, count, stopped, boot]);
    assert.equal(restarts(policy(name), exitCode, count, stopped, boot), expected, row);
  }
  assert.equal(restarts(undefined, 1, 0, false, false), false);
});

test('on-failure ends after its number of tries', () => {
  const tries = [0, 1, 2, 3].map((count) => restarts(policy('on-failure', 2), 1, count, false, false));
  assert.deepEqual(tries, [true, true, false, false]);
});

test('pauses double, and are short again after a run that lasted', (context) => {
  mock.timers.enable({ apis: ['setTimeout'] });
  context.after(() => mock.timers.reset());
  const backoff = new RestartBackoff();
  const startsAfter = (ranMs: number): number => {
    let started = false;
    backoff.schedule(ranMs, () => {
      started = true;
    });
    for (let waited = 1; ; waited++) {
      mock.timers.tick(1);
      if (started) return waited;
    }
  };
  assert.deepEqual([0, 0, 0, 20_000].map(startsAfter), [100, 200, 400, 100]);
});
