import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NEVER } from './context.ts';
import { TableStore } from './tables.ts';

const owned = (owner: string, lTime: number, deleted = false) => ({
  owner,
  lTime,
  value: Uint8Array.of(lTime),
  deleted,
  reapAt: deleted ? 1_000 : NEVER,
});

test('a deletion is told once by an owner who is there, also of an entry that was never seen or is hidden', () => {
  const reachable = new Set(['present']);
  const told: string[] = [];
  const store = new TableStore(
    100,
    (owner) => reachable.has(owner),
    ({ type, key, reason = '' }) => told.push(`${type} ${key} ${reason}`.trim()),
  );
  store.set('n', 't', 'unseen', owned('present', 1, true));
  store.set('n', 't', 'unseen', owned('present', 2, true));
  store.set('n', 't', 'hidden', owned('lost', 1));
  store.set('n', 't', 'hidden', owned('present', 2, true));
  store.set('n', 't', 'of a lost one', owned('lost', 1));
  store.set('n', 't', 'of a lost one', owned('lost', 2, true));
  assert.deepEqual(told, ['delete unseen deleted', 'delete hidden deleted']);
});
