import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type ContainerRecord, ContainerStore } from './state.ts';

test('saves of one record that come at once all succeed, the last one stays, and a removal is final', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'skein-records-'));
  try {
    const store = new ContainerStore(directory);
    const save = (restartCount: number) => store.save({ id: 'one', restartCount } as ContainerRecord);
    await Promise.all(Array.from({ length: 20 }, (_, count) => save(count)));
    const kept = JSON.parse(readFileSync(join(store.directoryOf('one'), 'config.json'), 'utf8')) as ContainerRecord;
    assert.equal(kept.restartCount, 19);
    await Promise.all([save(20), store.remove('one')]);
    assert.equal(existsSync(store.directoryOf('one')), false);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});
