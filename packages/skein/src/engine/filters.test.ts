import assert from 'node:assert/strict';
import { test } from 'node:test';
import { matchesLabels } from './filters.ts';

test('a label filter finds the labels that are there, and nothing that every object has', () => {
  const labels = { color: 'blue' };
  const matching = ['color', 'color=blue', 'color=red', 'constructor', 'toString'].filter((label) =>
    matchesLabels({ label: [label] }, labels),
  );
  assert.deepEqual(matching, ['color', 'color=blue']);
});
