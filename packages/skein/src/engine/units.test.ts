import assert from 'node:assert/strict';
import { it } from 'node:test';
import { humanDuration, timestampParameter } from './units.ts';

const second = 1_000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

it('says spans of time as go-units does', () => {
  // go-units duration_test.go, the same spans.
  const cases: readonly (readonly [number, string])[] = [
    [450, 'Less than a second'],
    [1 * second, '1 second'],
    [45 * second, '45 seconds'],
    [46 * second, '46 seconds'],
    [59 * second, '59 seconds'],
    [60 * second, 'About a minute'],
    [1 * minute + 59 * second, 'About a minute'],
    [3 * minute, '3 minutes'],
    [59 * minute + 59 * second, '59 minutes'],
    [1 * hour, 'About an hour'],
    [1 * hour + 29 * minute, 'About an hour'],
    [1 * hour + 31 * minute, '2 hours'],
    [3 * hour, '3 hours'],
    [47 * hour, '47 hours'],
    [49 * hour, '2 days'],
    [13 * day, '13 days'],
    [15 * day, '2 weeks'],
    [59 * day, '8 weeks'],
    [61 * day, '2 months'],
    [23 * 30 * day, '23 months'],
    [3 * 365 * day, '3 years'],
  ];
  for (const [span, words] of cases) assert.equal(humanDuration(span), words, `${span} ms`);
});

it('reads times as seconds, seconds with a fraction, and RFC 3339', () => {
  assert.equal(timestampParameter('1136073600'), 1_136_073_600_000_000_000n);
  assert.equal(timestampParameter('1136073600.000000001'), 1_136_073_600_000_000_001n);
  assert.equal(timestampParameter('2006-01-01T00:00:00Z'), 1_136_073_600_000_000_000n);
  assert.equal(timestampParameter(''), undefined);
  assert.equal(timestampParameter('yesterday'), 'invalid');
});
