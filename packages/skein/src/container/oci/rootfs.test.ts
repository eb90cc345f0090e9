import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { layerDirectories, readRootFile } from './rootfs.ts';

test('a file is the uppermost layer’s, whiteouts hide it, and links do not lead out of the root', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'skein-rootfs-'));
  try {
    const [upper, lower] = [join(directory, 'upper'), join(directory, 'lower')];
    for (const layer of [upper, lower]) await mkdir(join(layer, 'etc'), { recursive: true });
    await writeFile(join(lower, 'etc/passwd'), 'lower');
    await writeFile(join(lower, 'etc/group'), 'lower');
    await writeFile(join(lower, 'etc/hidden'), 'lower');
    await writeFile(join(upper, 'etc/group'), 'upper');
    execFileSync('mknod', [join(upper, 'etc/hidden'), 'c', '0', '0']);
    await symlink('/etc/passwd', join(upper, 'etc/absolute'));
    await symlink('../../../../etc/group', join(upper, 'etc/climbing'));
    await symlink('loop', join(upper, 'etc/loop'));
    const options = ['index=off', `workdir=${directory}/work`, `upperdir=${upper}`, `lowerdir=${lower}`];
    const layers = layerDirectories([{ type: 'overlay', source: 'overlay', options }]);
    assert.equal(await readRootFile(layers, '/etc/passwd'), 'lower');
    assert.equal(await readRootFile(layers, '/etc/group'), 'upper');
    assert.equal(await readRootFile(layers, '/etc/hidden'), undefined);
    assert.equal(await readRootFile(layers, '/etc/absolute'), 'lower');
    assert.equal(await readRootFile(layers, '/etc/climbing'), 'upper');
    assert.equal(await readRootFile(layers, '/none/passwd'), undefined);
    await assert.rejects(readRootFile(layers, '/etc/loop'), /too many levels of symbolic links/);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('a pipe or a directory in the place of a file is none, and holds nobody up', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'skein-rootfs-'));
  try {
    await mkdir(join(directory, 'etc/group'), { recursive: true });
    const pipe = join(directory, 'etc/passwd');
    execFileSync('mkfifo', [pipe]);
    const text = await Promise.race([readRootFile([directory], '/etc/passwd'), sleep(1000, 'held up')]);
    // Who waits at the pipe is let go.
    if (text === 'held up') await writeFile(pipe, '');
    assert.equal(text, undefined);
    assert.equal(await readRootFile([directory], '/etc/group'), undefined);
  } finally {
    await rm(directory, { recursive: true });
  }
});
