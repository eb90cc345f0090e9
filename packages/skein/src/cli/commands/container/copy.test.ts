import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { type Header, pack } from 'tar-stream';
import { splitName } from './copy.ts';
import { packLocal, unpackLocal } from './copy-archive.ts';
import { type End, placeOf, renamed } from './copy-place.ts';

const [directory, other, none] = ['directory', 'other', 'none'] as const;
const end = (path: string, kind: End['kind']): End => ({ path, kind });

/** Source, destination → where it is unpacked and under which name, or what is wrong: as `docker cp --help` tells. */
const places: readonly (readonly [End, End, string])[] = [
  [end('/a/f', other), end('/b/new', none), '/b new'],
  [end('/a/f', other), end('/b/new/', none), 'no such directory'],
  [end('/a/f', other), end('/b/g', other), '/b g'],
  [end('/a/f', other), end('/b', directory), '/b f'],
  [end('/a/d', directory), end('/b/new', none), '/b new'],
  [end('/a/d/.', directory), end('/b/new', none), '/b new'],
  [end('/a/d', directory), end('/b/g', other), 'cannot copy directory'],
  [end('/a/d', directory), end('/b', directory), '/b d'],
  [end('/a/d/', directory), end('/b/', directory), '/b d'],
  [end('/a/d/.', directory), end('/b', directory), '/b .'],
  [end('/', directory), end('/b', directory), '/b .'],
  [end('/a/f/', other), end('/b', directory), 'not a directory'],
  [end('/a/f', other), end('/b/g/', other), 'not a directory'],
];
for (const [source, destination, expected] of places) {
  test(`cp ${source.path} (${source.kind}) to ${destination.path} (${destination.kind}): ${expected}`, () => {
    let found: string;
    try {
      const place = placeOf(source, destination);
      found = `${place.directory} ${place.name}`;
    } catch (error) {
      found = (error as Error).message;
    }
    assert.equal(found, expected);
  });
}

test("an archive's entries get another uppermost name", () => {
  assert.equal(renamed('d/x/y', 'new'), 'new/x/y');
  assert.equal(renamed('d/', 'new'), 'new/');
  assert.equal(renamed('f', 'new'), 'new');
  assert.equal(renamed('./x/y', 'new'), 'new/x/y');
  assert.equal(renamed('./', '.'), './');
  assert.equal(renamed('./x', '.'), './x');
});

test('a name before a colon is a container, unless the word says that it is a path', () => {
  assert.deepEqual(splitName('web:/etc/x:y'), { container: 'web', path: '/etc/x:y' });
  for (const path of ['/a:b', './a:b', 'plain']) assert.deepEqual(splitName(path), { container: '', path });
});

test('a tree comes out as it went in', async (context) => {
  const folder = mkdtempSync(join(tmpdir(), 'skein-cp-'));
  context.after(() => rmSync(folder, { recursive: true, force: true }));
  const source = join(folder, 'tree');
  mkdirSync(join(source, 'deep/er'), { recursive: true });
  writeFileSync(join(source, 'deep/er/file'), 'x'.repeat(100_000), { mode: 0o640 });
  writeFileSync(join(source, 'empty'), '', { mode: 0o4755 });
  symlinkSync('../nowhere', join(source, 'deep/link'));
  const target = join(folder, 'out');
  mkdirSync(target);
  await unpackLocal(packLocal(source, 'tree'), target, 'again');
  const at = (path: string) => join(target, 'again', path);
  assert.equal(readFileSync(at('deep/er/file'), 'utf8').length, 100_000);
  assert.equal(statSync(at('deep/er/file')).mode & 0o7777, 0o640);
  assert.equal(readlinkSync(at('deep/link')), '../nowhere');
  assert.equal(statSync(at('empty')).size, 0);
  await assert.rejects(unpackLocal(packLocal(join(source, 'empty'), 'deep'), at('.'), 'deep'), /cannot overwrite/);
});

for (const [what, entries] of [
  ['by its name', [{ name: 'd/../../out', type: 'file' }]],
  [
    'through a link that came with it',
    [
      { name: 'd', type: 'symlink', linkname: '/tmp' },
      { name: 'd/out', type: 'file' },
    ],
  ],
  ['by a hard link', [{ name: 'd', type: 'link', linkname: 'x/../../secret' }]],
] satisfies [string, (Partial<Header> & { name: string })[]][]) {
  test(`an archive cannot lead out of its directory ${what}`, async (context) => {
    const folder = mkdtempSync(join(tmpdir(), 'skein-cp-'));
    context.after(() => rmSync(folder, { recursive: true, force: true }));
    const target = join(folder, 'in/side');
    mkdirSync(target, { recursive: true });
    writeFileSync(join(folder, 'in/secret'), 'words');
    const archive = pack();
    for (const entry of entries) archive.entry(entry, '');
    archive.finalize();
    const unpacked = unpackLocal(Readable.from(archive, { objectMode: false }), target, 'd');
    await assert.rejects(unpacked, /invalid path in archive|not a directory/);
    assert.ok(!existsSync(join(folder, 'in/out')) && !existsSync(join(folder, 'out')) && !existsSync('/tmp/out'));
  });
}
