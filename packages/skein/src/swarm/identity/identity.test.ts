import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  createCertificateRequest,
  createRootCa,
  formatJoinToken,
  generateJoinToken,
  parseJoinToken,
  readIdentity,
  renewalDelay,
  rootDigest,
  signNodeCertificate,
  verifyNodeCertificate,
  writeIdentity,
} from './index.ts';

const now = Date.parse('2026-03-04T05:06:07Z');
const subject = { organization: 'cluster0', role: 'swarm-manager', nodeId: 'node0' } as const;

function temporaryDirectory(t: { after(f: () => void): void }): string {
  const directory = mkdtempSync(join(tmpdir(), 'skein-identity-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

test('a join token printed by dockerd parses, and prints again as it was', () => {
  const text = 'SWMTKN-1-02auyoeprwz3qylv72dwuyrh3n9la1xtobob5n1r78w5un0tr7-a12cyf2spleljvcxotevoyxhp';
  const token = parseJoinToken(text);
  assert.equal(token.secret, 'a12cyf2spleljvcxotevoyxhp');
  assert.match(token.digest, /^[0-9a-f]{64}$/);
  assert.equal(formatJoinToken(token), text);
});

test('every generated token carries the digest of its root, version 2 only for FIPS', () => {
  fc.assert(
    fc.property(fc.string(), fc.boolean(), (root, fips) => {
      const text = generateJoinToken(root, fips);
      assert.match(text, fips ? /^SWMTKN-2-1-.{50}-.{25}$/ : /^SWMTKN-1-.{50}-.{25}$/);
      const token = parseJoinToken(text);
      assert.equal(token.digest, rootDigest(root));
      assert.equal(token.fips, fips);
      assert.equal(formatJoinToken(token), text);
    }),
  );
});

test("what is not a token is refused with Docker's words", () => {
  const good = generateJoinToken('root');
  const bad = ['', 'bad', good.slice(1), `${good}x`, `${good}-1`, good.replace('-1-', '-3-'), good.toUpperCase()];
  bad.push(`SWMTKN-1-${'z'.repeat(50)}-${'0'.repeat(25)}`);
  for (const text of bad) assert.throws(() => parseJoinToken(text), { message: 'invalid join token' }, text);
});

test('the root and node certificates have the fields that swarmkit writes', async (t) => {
  const authority = await createRootCa(now);
  const root = new X509Certificate(authority.certificate);
  assert.equal(root.subject, 'CN=swarm-ca');
  assert.ok(root.ca && root.verify(root.publicKey));
  assert.equal(root.validFromDate.toISOString(), '2026-03-04T05:01:00.000Z');
  assert.equal(root.validToDate.getTime() - root.validFromDate.getTime(), 630_720_000_000);
  assert.match(authority.certificate, /\n-----END CERTIFICATE-----\n$/);

  const { csr, key } = await createCertificateRequest();
  const pem = await signNodeCertificate(authority, csr, subject, 7200, now);
  const leaf = verifyNodeCertificate(pem, authority.certificate, key, now);
  assert.equal(leaf.subject, 'O=cluster0\nOU=swarm-manager\nCN=node0');
  assert.equal(leaf.subjectAltName, 'DNS:swarm-manager, DNS:node0, DNS:swarm-ca');
  assert.deepEqual(leaf.keyUsage, ['1.3.6.1.5.5.7.3.1', '1.3.6.1.5.5.7.3.2']);
  assert.equal(leaf.validFromDate.getTime(), Math.floor((now - 3_600_000) / 1000) * 1000);
  assert.equal(leaf.validToDate.getTime() - leaf.validFromDate.getTime(), (7200 + 3600) * 1000);

  const directory = temporaryDirectory(t);
  writeFileSync(join(directory, 'ca'), authority.certificate);
  writeFileSync(join(directory, 'leaf'), pem);
  const openssl = (...parameters: string[]) =>
    execFileSync('openssl', parameters, { cwd: directory, encoding: 'utf8' });
  assert.match(
    openssl('verify', '-attime', String(now / 1000), '-purpose', 'sslclient', '-CAfile', 'ca', 'leaf'),
    /OK/,
  );
  const text = openssl('x509', '-in', 'leaf', '-noout', '-text');
  assert.match(text, /Digital Signature, Key Encipherment/);
  assert.match(text, /CA:FALSE/);
  assert.match(text, /Signature Algorithm: ecdsa-with-SHA256/);
  assert.match(openssl('x509', '-in', 'ca', '-noout', '-text'), /CA:TRUE\n[\s\S]*Certificate Sign, CRL Sign/);
});

test('a certificate of another root, an expired one and one for another key are refused', async () => {
  const [authority, stranger] = [await createRootCa(now), await createRootCa(now)];
  const { csr, key } = await createCertificateRequest();
  const other = await createCertificateRequest();
  const pem = await signNodeCertificate(authority, csr, subject, 3600, now);
  assert.throws(() => verifyNodeCertificate(pem, stranger.certificate, key, now), /unknown authority/);
  assert.throws(() => verifyNodeCertificate(pem, authority.certificate, key, now + 3_600_001), /expired/);
  assert.throws(() => verifyNodeCertificate(pem, authority.certificate, other.key, now), /key mismatch/);
  await assert.rejects(signNodeCertificate(authority, 'no request', subject, 3600, now));
});

test('the identity on disk survives a crash between the renames of key and certificate', async (t) => {
  const directory = temporaryDirectory(t);
  const authority = await createRootCa(now);
  const make = async () => {
    const { csr, key } = await createCertificateRequest();
    return {
      rootCa: authority.certificate,
      key,
      certificate: await signNodeCertificate(authority, csr, subject, 3600, now),
    };
  };
  assert.equal(await readIdentity(directory), undefined);
  const [first, second] = [await make(), await make()];
  await writeIdentity(directory, first);
  assert.deepEqual(await readIdentity(directory), first);
  assert.equal(statSync(join(directory, 'swarm-node.key')).mode & 0o777, 0o600);

  await writeFile(join(directory, 'swarm-node.crt.tmp'), second.certificate);
  assert.deepEqual(await readIdentity(directory), first, 'crash before the key');
  await writeFile(join(directory, 'key'), second.key);
  await rename(join(directory, 'key'), join(directory, 'swarm-node.key'));
  assert.deepEqual(await readIdentity(directory), second, 'crash after the key');
  assert.equal(await readFile(join(directory, 'swarm-node.crt'), 'utf8'), second.certificate);
});

test('renewal falls between 50 and 80 percent of the validity, and at once when that is past', () => {
  assert.equal(renewalDelay(0, 1000, 0, 0), 500);
  assert.ok(renewalDelay(0, 1000, 0, 0.999) < 800);
  assert.equal(renewalDelay(0, 1000, 900, 0.5), 0);
});
