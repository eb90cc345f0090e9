import assert from 'node:assert/strict';
import { test } from 'node:test';
import { numberOfNodes } from './lab.ts';

test('a number of nodes that is none, or none that a lab can have, is named with what can be', () => {
  assert.equal(numberOfNodes('3'), 3);
  for (const given of ['abc', '', '1.5', '0', '251'])
    assert.throws(() => numberOfNodes(given), { message: `invalid number of nodes "${given}": use 1 to 250` });
});
