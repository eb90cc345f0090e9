import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { maximumDocumentBytes, mediaTypes } from '../images/manifest.ts';
import { parseReference } from '../references.ts';
import { authorize, parseChallenge } from './auth.ts';
import { isLoopback, registryUrl } from './client.ts';
import { resolveReference } from './resolve.ts';

test('a challenge is read with quoted and plain parameters', () => {
  assert.deepEqual(parseChallenge('Bearer realm="https://a/token",service=reg,scope="repository:x:pull,push"'), {
    scheme: 'bearer',
    parameters: { realm: 'https://a/token', service: 'reg', scope: 'repository:x:pull,push' },
  });
  assert.deepEqual(parseChallenge('Basic realm="a \\"b\\""'), { scheme: 'basic', parameters: { realm: 'a "b"' } });
});

test('plain HTTP goes to this machine only', () => {
  for (const host of ['localhost', 'localhost:5000', '127.0.0.1:1', '127.9.9.9', '[::1]:5000'])
    assert.ok(isLoopback(host), host);
  for (const host of ['127.example.com', '10.0.0.1:5000', 'localhost.evil.com', '[fe80::1]'])
    assert.ok(!isLoopback(host), host);
  assert.equal(registryUrl('docker.io'), 'https://registry-1.docker.io/v2/');
  assert.equal(registryUrl('quay.io'), 'https://quay.io/v2/');
  assert.equal(registryUrl('localhost:5000'), 'http://localhost:5000/v2/');
});

test('an unknown scheme is refused', async () => {
  const fetch = (): Promise<Response> => assert.fail('no request is due');
  await assert.rejects(authorize('Digest realm="x"', { scope: '', fetch }), /does not know/);
});

test('a registry that sends a config or a token without end is not listened to without end', async () => {
  const config = { mediaType: mediaTypes.dockerConfig, digest: `sha256:${'a'.repeat(64)}`, size: 100 };
  const manifest = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers: [] };
  let sent = 0;
  const flood = async (response: ServerResponse): Promise<void> => {
    for (; sent < maximumDocumentBytes * 8 && !response.destroyed; sent += 65_536) {
      if (!response.write(Buffer.alloc(65_536, ' '))) await once(response, 'drain').catch(() => undefined);
    }
    response.end();
  };
  let challenge = false;
  const server = createServer((request, response) => {
    if (request.url?.startsWith('/token') || request.url?.includes('/blobs/')) void flood(response);
    else if (challenge) response.writeHead(401, { 'www-authenticate': `Bearer realm="http://${host}/token"` }).end();
    else response.writeHead(200, { 'content-type': mediaTypes.ociManifest }).end(JSON.stringify(manifest));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  try {
    for (challenge of [false, true]) {
      sent = 0;
      await assert.rejects(resolveReference(parseReference(`${host}/any:tag`)));
      assert.ok(sent < maximumDocumentBytes * 4, `${sent} bytes were taken`);
    }
  } finally {
    server.closeAllConnections();
    server.close();
  }
});
