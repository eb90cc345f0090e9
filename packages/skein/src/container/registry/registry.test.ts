import assert from 'node:assert/strict';
import { test } from 'node:test';
import { authorize, parseChallenge } from './auth.ts';
import { isLoopback, registryUrl } from './client.ts';

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
