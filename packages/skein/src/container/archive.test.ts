import assert from 'node:assert/strict';
import { lstatSync, mkdirSync, mkdtempSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Header, pack } from 'tar-stream';
import { writeArchive } from './archive.ts';
import { RootDirectory } from './root-directory.ts';

/** Unpacks entries at `/` of a root beside which there is a file of the host that must stay as it is. */
async function unpackBeside(
  entries: readonly (Partial<Header> & { name: string; content?: string })[],
  check: (folder: { root: string; outside: string }) => void,
): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'skein-archive-'));
  try {
    const [root, outside] = [join(folder, 'root'), join(folder, 'outside')];
    mkdirSync(root);
    writeFileSync(outside, 'of the host', { mode: 0o600 });
    const archive = pack();
    for (const { content, ...header } of entries) {
      const linkname = header.linkname?.replace('OUTSIDE', outside);
      archive.entry({ ...header, ...(linkname !== undefined && { linkname }) }, content ?? '');
    }
    archive.finalize();
    await using directory = await RootDirectory.open(root);
    await writeArchive(directory, '/', archive as unknown as Parameters<typeof writeArchive>[2], { keepKinds: false });
    check({ root, outside });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test('a hard link to a symbolic link leads no change of mode out of the root', async () => {
  await unpackBeside(
    [
      { name: 'link', type: 'symlink', linkname: 'OUTSIDE' },
      { name: 'again', type: 'link', linkname: 'link', mode: 0o666 },
    ],
    ({ root, outside }) => {
      assert.equal(statSync(outside).mode & 0o777, 0o600);
      assert.equal(readlinkSync(join(root, 'again')), outside);
    },
  );
});

test('files and directories get the mode of the archive, also what nobody may read', async () => {
  await unpackBeside(
    [
      { name: 'folder', type: 'directory', mode: 0o1750 },
      { name: 'folder/file', type: 'file', mode: 0o4711, content: 'text' },
      { name: 'folder/other', type: 'link', linkname: 'folder/file', mode: 0o600 },
      { name: 'closed', type: 'file', mode: 0o200 },
    ],
    ({ root }) => {
      const modeOf = (name: string): number => lstatSync(join(root, name)).mode & 0o7777;
      assert.deepEqual(['folder', 'folder/file', 'folder/other', 'closed'].map(modeOf), [0o1750, 0o600, 0o600, 0o200]);
    },
  );
});
