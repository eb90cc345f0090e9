import { test } from 'node:test';
import fc from 'fast-check';
import { History, step } from './testing/history.ts';
import { checkAtRest, checkNothingLeft, watchSafety } from './testing/invariants.ts';

/** The failing history and its seed are in the error's message: `fc.assert(…, { seed, path })` plays it again. */
const runs = 60;

test('whatever happens, a cluster at rest is as it was asked to be, nothing is given twice and nothing is left', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 25 }), async (steps) => {
      await using history = new History(checkAtRest);
      watchSafety(history.cluster);
      for (const each of steps) {
        await history.apply(each);
        history.cluster.checkFailures();
      }
      history.settle();
      history.removeAll();
      checkNothingLeft(history.cluster);
      history.cluster.checkFailures();
    }),
    { numRuns: runs },
  );
});
