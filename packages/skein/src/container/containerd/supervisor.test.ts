import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { silentLogger } from '../../common/index.ts';
import { connectContainerd } from './client.ts';
import { ContainerdSupervisor, isListening, stopManagedContainerd } from './supervisor.ts';

test('a second supervisor finds the running containerd; stopping it is safe to repeat', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'skein-supervisor-'));
  const paths = { root: join(directory, 'root'), state: join(directory, 'state'), socket: join(directory, 'c.sock') };
  try {
    using first = await ContainerdSupervisor.start(paths, silentLogger());
    using second = await ContainerdSupervisor.start(paths, silentLogger());
    assert.notEqual(first, second);
    using containerd = connectContainerd(paths.socket);
    assert.match((await containerd.version.version({})).version, /^v?\d+\.\d+/);
  } finally {
    await stopManagedContainerd(paths);
    await stopManagedContainerd(paths);
    assert.equal(await isListening(paths.socket), false);
    await rm(directory, { recursive: true });
  }
});

test('a socket path that the kernel would cut is refused', async () => {
  const paths = { root: '/nowhere', state: '/nowhere', socket: `/${'long/'.repeat(25)}c.sock` };
  await assert.rejects(
    ContainerdSupervisor.start(paths, silentLogger()),
    /is too long: a Unix socket's path has at most 101 bytes/,
  );
});
