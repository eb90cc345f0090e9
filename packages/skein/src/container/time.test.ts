import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { signalNumber } from './signals.ts';
import { formatTime, nowNanoseconds, parseTime } from './time.ts';

test('times have nanoseconds without trailing zeros, as Go prints them', () => {
  assert.equal(formatTime(1_795_477_847_866_535_383n), '2026-11-23T23:50:47.866535383Z');
  assert.equal(formatTime(1_795_477_847_500_000_000n), '2026-11-23T23:50:47.5Z');
  assert.equal(formatTime(1_795_477_847_000_000_000n), '2026-11-23T23:50:47Z');
  assert.equal(parseTime('2026-11-24T01:50:47.5+02:00'), 1_795_477_847_500_000_000n);
  for (const text of ['', 'yesterday', '2026-11-24', '2026-13-24T00:00:00Z'])
    assert.throws(() => parseTime(text), RangeError);
});

test('times survive the way into text and back', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 4_000_000_000_000_000_000n }), (time) => {
      assert.equal(parseTime(formatTime(time)), time);
    }),
  );
});

test('the clock is close to the wall’s and does not go back', () => {
  const times = Array.from({ length: 100 }, nowNanoseconds);
  assert.deepEqual(
    times,
    times.toSorted((a, b) => (a < b ? -1 : 1)),
  );
  assert.ok(Math.abs(Number(nowNanoseconds() / 1_000_000n) - Date.now()) < 100);
});

test('signals have names with and without SIG, and numbers', () => {
  for (const text of ['SIGTERM', 'term', 'TERM', '15']) assert.equal(signalNumber(text), 15);
  assert.equal(signalNumber('RTMIN+3'), 37);
  for (const text of ['', 'SIGNONE', '0', '65', 'RTMIN+99']) assert.throws(() => signalNumber(text), /invalid signal/);
});
