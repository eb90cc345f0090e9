import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pack } from 'tar-stream';
import type { Containerd } from '../containerd/client.ts';
import { loadImages } from './load.ts';

test('an archive of nothing but links is not read without end', async () => {
  const leases = { create: async () => ({}), delete: async () => ({}) };
  const archive = pack();
  for (let number = 0; number <= 20_000; number++) archive.entry({ name: `${number}`, type: 'symlink', linkname: 'x' });
  archive.finalize();
  const loading = loadImages(
    { leases } as unknown as Containerd,
    archive as unknown as Parameters<typeof loadImages>[1],
    () => assert.fail('there is no image in it'),
  );
  await assert.rejects(loading.next(), { code: 'ResourceExhausted' });
});
