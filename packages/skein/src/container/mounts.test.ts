import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { unmount } from './mounts.ts';

test('all mounts at a place go, of the same file system and of another, and what is below stays', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'skein mounts-'));
  const [source, place] = [join(directory, 'source'), join(directory, 'place')];
  try {
    for (const each of [source, place]) mkdirSync(each);
    writeFileSync(join(source, 'file'), 'kept');
    execFileSync('mount', ['--bind', source, place]);
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', place]);
    await unmount(place);
    await unmount(place);
    await unmount(join(directory, 'nowhere'));
    assert.ok(!readFileSync('/proc/self/mountinfo', 'utf8').includes(directory.replaceAll(' ', '\\040')));
    rmSync(place, { recursive: true });
    assert.equal(readFileSync(join(source, 'file'), 'utf8'), 'kept');
  } finally {
    execFileSync('sh', ['-c', 'umount --lazy "$1" 2>/dev/null; umount --lazy "$1" 2>/dev/null; true', 'sh', place]);
    rmSync(directory, { recursive: true, force: true });
  }
});
