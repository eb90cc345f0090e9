import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { performServerHandshake } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { createServer } from 'node:tls';
import { createClient } from '@connectrpc/connect';
import { silentLogger, systemClock } from '../../common/index.ts';
import { CA } from '../gen/ca_pb.js';
import { connectManager, createRootCa, managerRole, NodeIdentity } from './index.ts';
import { TestClock } from './testing.ts';

async function makeIdentity(t: { after(action: () => void): void }, clock = systemClock) {
  const directory = mkdtempSync(join(tmpdir(), 'skein-identity-'));
  const authority = await createRootCa(clock.now());
  const subject = { organization: 'c', role: managerRole, nodeId: 'n' } as const;
  const identity = await NodeIdentity.issue(
    { directory, clock, logger: silentLogger() },
    authority,
    subject,
    7 * 86_400,
  );
  t.after(() => {
    identity[Symbol.dispose]();
    rmSync(directory, { recursive: true, force: true });
  });
  return identity;
}

test('the client speaks with a server that offers no ALPN, as dockerd 20.10 after its own renewal', async (t) => {
  const { credentials } = await makeIdentity(t);
  const server = createServer({ cert: credentials.certificate, key: credentials.key }, (socket) => {
    const session = performServerHandshake(socket);
    session.on('error', () => {});
    session.on('stream', (stream, headers) => {
      // Enough of an HTTP/2 server for one unary call: the compatibility API needs a server of its own.
      assert.equal(headers[':path'], '/docker.swarmkit.v1.CA/GetRootCACertificate');
      stream.respond({ ':status': 200, 'content-type': 'application/grpc' }, { waitForTrailers: true });
      stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
      stream.end(Buffer.from([0, 0, 0, 0, 6, 0x0a, 4, ...Buffer.from('root')]));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  using connection = connectManager(`127.0.0.1:${port}`, { rootCa: credentials.rootCa, serverName: managerRole });
  const response = await createClient(CA, connection.transport).getRootCACertificate({}, { timeoutMs: 5_000 });
  assert.equal(Buffer.from(response.certificate).toString(), 'root');
});

test('a server whose certificate carries another name, or another root, is refused', async (t) => {
  const { credentials } = await makeIdentity(t);
  const other = await makeIdentity(t);
  const server = createServer({ cert: credentials.certificate, key: credentials.key, ALPNProtocols: ['h2'] });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const attempts = [
    { rootCa: credentials.rootCa, serverName: 'not-the-name', text: /not-the-name/ },
    { rootCa: other.credentials.rootCa, serverName: managerRole, text: /certificate/ },
  ];
  for (const { text, ...security } of attempts) {
    using connection = connectManager(`127.0.0.1:${port}`, security);
    const call = createClient(CA, connection.transport).getRootCACertificate({}, { timeoutMs: 5_000 });
    const error = connection.error(await call.catch((thrown: unknown) => thrown));
    assert.equal(error.code, 'Unavailable', error.message);
    assert.match(error.message, text);
  }
});

test('renewal is tried at half of the validity at the earliest, then again with growing pauses', async (t) => {
  const clock = new TestClock(Date.parse('2026-03-04T05:06:07Z'));
  const identity = await makeIdentity(t, clock);
  const { notBefore, notAfter } = identity.credentials;
  const asked: number[] = [];
  identity.startRenewal(() => {
    asked.push(clock.now());
    return [];
  });
  await clock.advance(notBefore + 0.5 * (notAfter - notBefore) - clock.now() - 1_000);
  assert.deepEqual(asked, []);
  await clock.advance(notBefore + 0.8 * (notAfter - notBefore) - clock.now());
  // Keys are made on real threads, so that each step of the clock is given real time.
  for (let turn = 0; asked.length < 4 && turn < 1_000; turn++) {
    await new Promise((resolve) => setTimeout(resolve, 2));
    await clock.advance(200);
  }
  // A machine that is quick with keys makes more than four.
  const pauses = asked.slice(1, 4).map((at, index) => at - (asked[index] ?? 0));
  assert.equal(pauses.length, 3, `attempts at ${asked}`);
  assert.ok(
    pauses.every((pause, index) => pause >= 1_000 * 2 ** index),
    `pauses ${pauses}`,
  );
});
