/** Images under a containerd of its own: pulled from a registry on loopback, loaded from archives of both kinds. */
import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { EventBus, silentLogger } from '../../common/index.ts';
import {
  type ContainerRuntime,
  type Images,
  openContainerRuntime,
  type PullProgress,
  type RegistryAuth,
} from '../index.ts';
import { streamOf, tarOf } from '../testing/image.ts';
import { credentials, packImage, startRegistry } from '../testing/registry.ts';
import { digestOf, mediaTypes } from './manifest.ts';

describe('images', { timeout: 60_000 }, () => {
  let directory: string;
  let runtime: ContainerRuntime;
  let images: Images;
  let bottom: Buffer;
  let top: Buffer;

  before(async () => {
    directory = await mkdtemp(join(tmpdir(), 'skein-images-'));
    const managed = { root: join(directory, 'root'), state: join(directory, 'run'), socket: join(directory, 'c.sock') };
    runtime = await openContainerRuntime({
      stateDirectory: join(directory, 'state'),
      runDirectory: join(directory, 'fifos'),
      containerd: { managed },
      events: new EventBus(),
      logger: silentLogger(),
      cgroupParent: '/skein-images-test',
    });
    images = runtime.images;
    bottom = await tarOf({ 'etc/a': 'a'.repeat(100_000) });
    top = await tarOf({ 'etc/b': 'b' });
  });

  after(async () => {
    await runtime?.[Symbol.asyncDispose]();
    await rm(directory, { recursive: true, force: true });
  });

  async function pull(reference: string, auth?: RegistryAuth): Promise<string[]> {
    const lines: PullProgress[] = [];
    for await (const line of images.pull(reference, auth ? { auth } : {})) lines.push(line);
    return lines.map(({ id, status }) => (id ? `${id}: ${status}` : status));
  }

  async function load(archive: Buffer): Promise<string> {
    let text = '';
    for await (const { stream } of images.load(streamOf(archive))) text += stream;
    return text;
  }

  async function clear(): Promise<void> {
    for (const { Id } of await images.list({}, { all: true, digests: true })) {
      await images.remove(Id, { force: true, noPrune: false });
    }
  }

  test('pulls the platform’s image with a token, and its layers only once', async () => {
    await using registry = await startRegistry('token');
    const added = registry.add('team/app', 'v1', [bottom, top]);
    const reference = `${registry.host}/team/app:v1`;
    await assert.rejects(pull(reference), /unauthorized: incorrect username or password/);
    const lines = await pull(reference, credentials);
    assert.deepEqual(lines.slice(-2), [`Digest: ${added.index}`, `Status: Downloaded newer image for ${reference}`]);
    assert.equal(lines[0], `v1: Pulling from ${registry.host}/team/app`);
    const inspected = await images.inspect(reference);
    assert.equal(inspected.Id, added.config);
    assert.deepEqual(inspected.RepoTags, [reference]);
    assert.deepEqual(inspected.RepoDigests, [`${registry.host}/team/app@${added.index}`]);
    const history = await images.history(reference);
    assert.deepEqual(
      history.map((step) => step.CreatedBy),
      ['step 1', 'step 0'],
    );
    registry.requests.length = 0;
    const again = await pull(reference, credentials);
    assert.equal(again.at(-1), `Status: Image is up to date for ${reference}`);
    assert.ok(again.includes(`${added.layers[0]?.slice(7, 19)}: Already exists`), again.join('\n'));
    assert.ok(!again.some((line) => /Extracting|Pull complete/.test(line)), again.join('\n'));
    assert.deepEqual(
      registry.requests.filter((line) => added.layers.some((layer) => line.includes(layer))),
      [],
    );
    const byDigest = await pull(`${registry.host}/team/app@${added.index}`, credentials);
    assert.match(byDigest.at(-1) ?? '', /Status: /);
    const resolved = await images.resolve(reference, credentials);
    assert.equal(resolved.descriptor.digest, added.index);
    assert.deepEqual(resolved.platforms.map(({ architecture }) => architecture).includes('s390x'), true);
    const removed = await images.remove(reference, { force: false, noPrune: false });
    assert.deepEqual(
      removed.slice(0, 3).map((line) => Object.keys(line)[0]),
      ['Untagged', 'Untagged', 'Deleted'],
    );
    assert.deepEqual(await images.list({}, { all: true, digests: true }), []);
  });

  test('pulls with basic authentication, and takes up a transfer that was cut', async () => {
    await using registry = await startRegistry('basic');
    const added = registry.add('app', 'latest', [bottom]);
    registry.cutOnce(added.layers[0] ?? '');
    await assert.rejects(pull(`${registry.host}/app`), /no basic auth credentials/);
    await pull(`${registry.host}/app`, credentials);
    assert.equal((await images.inspect(`${registry.host}/app`)).Id, added.config);
    await clear();
  });

  test('refuses contents that are not those of the digest', async () => {
    await using registry = await startRegistry('none');
    const added = registry.add('app', 'latest', [bottom]);
    registry.corrupt(added.layers[0] ?? '');
    await assert.rejects(pull(`${registry.host}/app`), /unexpected commit digest/);
    await assert.rejects(images.inspect(`${registry.host}/app`), /No such image/);
  });

  test('says in Docker’s words what a registry does not have, and that it does not answer', async () => {
    await using registry = await startRegistry('none');
    await assert.rejects(pull(`${registry.host}/none:v9`), {
      code: 'NotFound',
      message: `manifest for ${registry.host}/none:v9 not found: manifest unknown: manifest unknown`,
    });
    await registry[Symbol.asyncDispose]();
    await assert.rejects(
      pull(`${registry.host}/none`),
      /Get "http:.*": dial tcp 127\.0\.0\.1:\d+: connect: connection refused/,
    );
  });

  test('loads an archive of docker save', async () => {
    const config = {
      os: 'linux',
      architecture: 'amd64',
      rootfs: { type: 'layers', diff_ids: [digestOf(bottom), digestOf(top)] },
    };
    const archive = await tarOf({
      'one/layer.tar': bottom,
      'two/layer.tar': gzipSync(top),
      'config.json': JSON.stringify(config),
      'manifest.json': JSON.stringify([
        { Config: 'config.json', RepoTags: ['saved:1', 'saved:2'], Layers: ['one/layer.tar', 'two/layer.tar'] },
      ]),
    });
    assert.equal(await load(gzipSync(archive)), 'Loaded image: saved:1\nLoaded image: saved:2\n');
    assert.deepEqual((await images.inspect('saved:1')).RepoTags, ['saved:1', 'saved:2']);
    await images.tag('saved:1', 'other/name:v1');
    const [asked] = await images.list({ reference: ['other/*'] }, { all: false, digests: false });
    assert.deepEqual(asked?.RepoTags, ['other/name:v1']);
    await assert.rejects(load(archive.subarray(0, 700)), { code: 'InvalidArgument', message: 'unexpected EOF' });
    await assert.rejects(load(await tarOf({ 'manifest.json': '[{"Config":"none","Layers":[]}]' })), /none is missing/);
    await assert.rejects(load(await tarOf({ other: 'x' })), /open manifest.json: no such file or directory/);
    await clear();
  });

  test('loads an OCI archive, of an index of platforms or of one image', async () => {
    const image = packImage([bottom, top]);
    const blobs = new Map([
      ...image.blobs,
      ...[...image.documents].map(([digest, { bytes }]) => [digest, bytes] as const),
    ]);
    const files = Object.fromEntries([...blobs].map(([digest, bytes]) => [`blobs/${digest.replace(':', '/')}`, bytes]));
    const layout = (digest: string, mediaType: string, name?: string): Promise<Buffer> =>
      tarOf({
        'oci-layout': '{"imageLayoutVersion":"1.0.0"}',
        ...files,
        'index.json': JSON.stringify({
          schemaVersion: 2,
          manifests: [
            {
              mediaType,
              digest,
              size: blobs.get(digest)?.length,
              annotations: name && { 'io.containerd.image.name': name },
            },
          ],
        }),
      });
    const named = await layout(image.index, mediaTypes.dockerManifestList, 'docker.io/library/oci:v1');
    assert.equal(await load(named), 'Loaded image: oci:v1\n');
    const unnamed = await layout(image.manifest, mediaTypes.dockerManifest);
    assert.equal(await load(unnamed), `Loaded image ID: ${image.config}\n`);
    assert.equal((await images.inspect('oci:v1')).Id, image.config);
    await clear();
  });

  test('a removed image’s layers are gone from containerd', async () => {
    await images.import(streamOf(bottom), { reference: 'gone', changes: ['CMD ["a", "b"]'], message: 'why' });
    const { Id, Comment, Config } = await images.inspect('gone');
    assert.equal(Comment, 'why');
    assert.deepEqual((Config as { Cmd: string[] }).Cmd, ['a', 'b']);
    const removed = await images.remove('gone', { force: false, noPrune: false });
    assert.deepEqual(removed, [{ Untagged: 'gone:latest' }, { Deleted: Id }, { Deleted: digestOf(bottom) }]);
    await assert.rejects(
      images.import(streamOf(top), { changes: ['RUN x'], message: '' }),
      /run is not a valid change command/,
    );
  });
});
