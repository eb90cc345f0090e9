import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger } from '../common/index.ts';
import { Collection } from './state.ts';

test('where a value does not fit on the disk the one before it stays', () => {
  const directory = mkdtempSync(join(tmpdir(), 'skein-state-'));
  try {
    const state = new Collection<string>(directory, silentLogger());
    state.put('key', 'small');
    const program = `
      import { Collection } from ${JSON.stringify(import.meta.resolve('./state.ts'))};
      new Collection(${JSON.stringify(directory)}, undefined).put('key', 'x'.repeat(10_000));`;
    // In units of 512 bytes: the kernel writes what fits, as on a full disk, and says how much that was.
    const limited = ['-c', 'ulimit -f 8; exec "$0" "$@"', process.execPath];
    const { status, stderr } = spawnSync(
      'sh',
      [...limited, '--conditions=source', '--input-type=module', '-e', program],
      {
        encoding: 'utf8',
      },
    );
    assert.notEqual(status, 0, 'it is told');
    assert.match(stderr, /EFBIG/);
    assert.deepEqual([...new Collection<string>(directory, silentLogger()).all()], [['key', 'small']]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
