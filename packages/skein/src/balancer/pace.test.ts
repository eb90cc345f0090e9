import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Pace } from './pace.ts';

test('single short passes never wait, and what they owe is forgiven by time', () => {
  const pace = new Pace();
  assert.equal(pace.waitMs(0), 0);
  for (let now = 0; now < 10_000; now += 200) {
    pace.spend(30, now);
    assert.equal(pace.waitMs(now), 0, `at ${now} ms`);
  }
});

test('passes that follow each other rest for four times as long as they take', () => {
  const pace = new Pace();
  let [now, busy] = [0, 0];
  while (now < 20_000) {
    now += pace.waitMs(now) + 60;
    busy += 60;
    pace.spend(60, now);
  }
  assert.ok(busy / now > 0.19 && busy / now < 0.22, `${busy} ms of ${now}`);
});

test('nothing waits for more than a second', () => {
  const pace = new Pace();
  pace.spend(60_000, 5);
  assert.equal(pace.waitMs(5), 1000);
  assert.equal(pace.waitMs(905), 100);
  assert.equal(pace.waitMs(2000), 0);
});
