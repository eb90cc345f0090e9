import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { detachFilter, parseDetachKeys } from './detach-keys.ts';

async function through(chunks: readonly string[], keys = ''): Promise<{ passed: string; detached: boolean }> {
  let detached = false;
  const filter = detachFilter(parseDetachKeys(keys), () => {
    detached = true;
  });
  for (const chunk of chunks) filter.write(chunk);
  filter.end();
  const passed: Buffer[] = [];
  for await (const chunk of filter) passed.push(chunk as Buffer);
  return { passed: Buffer.concat(passed).toString('latin1'), detached };
}

describe('detach keys', () => {
  it('leave when they come in a row, over any chunks', async () => {
    assert.deepEqual(await through(['ab\x10', '\x11cd']), { passed: 'ab', detached: true });
    assert.deepEqual(await through(['xq'], 'q'), { passed: 'x', detached: true });
    assert.deepEqual(await through(['a\x10b\x10\x10\x11']), { passed: 'a\x10b\x10', detached: true });
  });

  it('lose nothing of other input', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.string({ unit: fc.constantFrom('a', '\x10'), maxLength: 5 }), { maxLength: 5 }),
        async (chunks) => {
          assert.deepEqual(await through(chunks), { passed: chunks.join(''), detached: false });
        },
      ),
      { numRuns: 50 },
    );
  });

  it('are read as docker spells them', () => {
    assert.deepEqual([...parseDetachKeys('')], [16, 17]);
    assert.deepEqual([...parseDetachKeys('ctrl-@,a,ctrl-_')], [0, 97, 31]);
    assert.throws(() => parseDetachKeys('ctrl-1'), /Invalid escape keys/);
  });
});
