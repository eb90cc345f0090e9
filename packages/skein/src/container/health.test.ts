import assert from 'node:assert/strict';
import { test } from 'node:test';
import { nextHealth, pauseMs, probeCommand } from './health.ts';

const result = (exitCode: number): { exitCode: number; output: string; start: string; end: string } => ({
  exitCode,
  output: 'o',
  start: 's',
  end: 'e',
});
const starting = { Status: 'starting', FailingStreak: 0, Log: [] };

/** Exit codes one after the other → status, with 2 retries; the first `grace` are in the start period. */
const stories: [string, number[], number, string, number][] = [
  ['one success is healthy', [0], 0, 'healthy', 0],
  ['one failure is not yet unhealthy', [1], 0, 'starting', 1],
  ['failures in a row are', [1, 1], 0, 'unhealthy', 2],
  ['a success ends the row', [1, 0, 1], 0, 'healthy', 1],
  ['failures in the start period do not count', [1, 1, 1], 3, 'starting', 0],
  ['a success in the start period ends it', [0, 1, 1], 3, 'unhealthy', 2],
];
for (const [name, codes, grace, status, streak] of stories) {
  test(`health: ${name}`, () => {
    const health = codes.reduce<Parameters<typeof nextHealth>[0]>(
      (state, code, position) => nextHealth(state, result(code), { retries: 2, inStartPeriod: position < grace }),
      starting,
    );
    assert.deepEqual([health.Status, health.FailingStreak, health.Log.length], [status, streak, codes.length]);
  });
}

test('the last five results are kept', () => {
  let health: Parameters<typeof nextHealth>[0] = starting;
  for (let count = 0; count < 9; count++)
    health = nextHealth(health, result(count), { retries: 3, inStartPeriod: false });
  assert.deepEqual(
    health.Log.map(({ ExitCode }) => ExitCode),
    [4, 5, 6, 7, 8],
  );
});

test('a probe is a command, a shell’s line, or none', () => {
  assert.deepEqual(probeCommand(['CMD', 'a', 'b']), ['a', 'b']);
  assert.deepEqual(probeCommand(['CMD-SHELL', 'a b']), ['/bin/sh', '-c', 'a b']);
  for (const test of [['NONE'], [], ['CMD']]) assert.equal(probeCommand(test), undefined);
});

test('within the start period probes follow each other by the start interval, until one succeeds', () => {
  const check = { Test: ['CMD', 'true'], Interval: 10e9, StartPeriod: 60e9, StartInterval: 1e9 };
  const pauses: [string, number, number][] = [
    ['starting', 0, 1000],
    ['starting', 59_999, 1000],
    ['starting', 60_000, 10_000],
    ['healthy', 1000, 10_000],
    ['unhealthy', 1000, 10_000],
  ];
  for (const [status, sinceStartMs, pause] of pauses) assert.equal(pauseMs(check, status, sinceStartMs), pause);
  assert.equal(
    pauseMs({ ...check, Interval: 100 * 86_400e9 }, 'healthy', 0),
    2 ** 31 - 1,
    'as long as timers can wait',
  );
  const { StartPeriod: _, ...plain } = check;
  assert.equal(pauseMs(plain, 'starting', 0), 10_000, 'no start period');
  assert.equal(pauseMs({ Test: [], StartPeriod: 60e9 }, 'starting', 0), 5000, "Docker's default");
  assert.equal(pauseMs({ Test: [] }, 'starting', 0), 30_000, "Docker's default");
});
