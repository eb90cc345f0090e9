import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import { registryCredentials, registryOf } from './credentials.ts';

function withConfig(config: unknown, image: string): unknown {
  const directory = mkdtempSync(join(tmpdir(), 'skein-credentials-'));
  try {
    const text = typeof config === 'string' ? config : JSON.stringify(config);
    if (config !== undefined) writeFileSync(join(directory, 'config.json'), text);
    const header = registryCredentials(image, { DOCKER_CONFIG: directory });
    return header === undefined ? undefined : JSON.parse(Buffer.from(header, 'base64url').toString());
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const encoded = (text: string) => Buffer.from(text).toString('base64');

test("an image's registry is the first part of its name if it looks like a host, else Docker Hub", () => {
  assert.equal(registryOf('ubuntu'), 'docker.io');
  assert.equal(registryOf('library/ubuntu:24.04'), 'docker.io');
  assert.equal(registryOf('index.docker.io/library/ubuntu'), 'docker.io');
  assert.equal(registryOf('localhost/a'), 'localhost');
  assert.equal(registryOf('registry.example:5000/team/a:1@sha256:00'), 'registry.example:5000');
});

test("the credentials of the image's registry are sent, and no others", () => {
  const auths = {
    'registry.example:5000': { auth: encoded('ann:se:cret') },
    'https://index.docker.io/v1/': { auth: encoded('bob:pw') },
    'https://old.example/v1/': { auth: encoded('cy:pw') },
  };
  assert.deepEqual(withConfig({ auths }, 'registry.example:5000/a'), {
    username: 'ann',
    password: 'se:cret',
    serveraddress: 'registry.example:5000',
  });
  assert.deepEqual(withConfig({ auths }, 'ubuntu'), {
    username: 'bob',
    password: 'pw',
    serveraddress: 'https://index.docker.io/v1/',
  });
  assert.equal((withConfig({ auths }, 'old.example/a') as { username: string }).username, 'cy');
  assert.equal(withConfig({ auths }, 'registry.example/a'), undefined, 'another port is another registry');
  assert.equal(withConfig(undefined, 'ubuntu'), undefined, 'no file');
  assert.equal(withConfig({}, 'ubuntu'), undefined);
});

test('an identity token stands for the password', () => {
  const auths = { 'a.example': { auth: encoded('ann:'), identitytoken: 'T' } };
  assert.deepEqual(withConfig({ auths }, 'a.example/x'), {
    username: 'ann',
    password: '',
    identitytoken: 'T',
    serveraddress: 'a.example',
  });
});

test('what a helper keeps is refused with its name, for the registries that it keeps', () => {
  const helped = { credHelpers: { 'a.example': 'pass' } };
  assert.throws(() => withConfig(helped, 'a.example/x'), /kept by the helper docker-credential-pass/);
  assert.equal(withConfig(helped, 'ubuntu'), undefined);
  const stored = { credsStore: 'desktop', auths: { 'a.example': {} } };
  assert.throws(() => withConfig(stored, 'a.example/x'), /kept by the helper docker-credential-desktop/);
  assert.equal(withConfig(stored, 'ubuntu'), undefined, 'nobody logged in there');
});

test('a file that cannot be understood is named', () => {
  assert.throws(() => withConfig('{', 'ubuntu'), /config\.json is no JSON/);
  assert.throws(
    () => withConfig({ auths: { 'a.example': { auth: 'nonsense' } } }, 'a.example/x'),
    /is not base64 of user:password/,
  );
});

test('any user and password arrive as they are', () => {
  const user = fc.string({ minLength: 1 }).filter((text) => !text.includes(':') && !text.includes('\0'));
  const password = fc.string().filter((text) => !text.includes('\0'));
  fc.assert(
    fc.property(user, password, (username, secret) => {
      const sent = withConfig({ auths: { 'a.example': { auth: encoded(`${username}:${secret}`) } } }, 'a.example/x');
      assert.deepEqual(sent, { username, password: secret, serveraddress: 'a.example' });
    }),
    { numRuns: 30 },
  );
});
