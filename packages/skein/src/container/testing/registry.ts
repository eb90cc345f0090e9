/** A small registry on loopback for tests: token or basic authentication, ranges, and faults on demand. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { gzipSync } from 'node:zlib';
import { digestOf, hostPlatform, mediaTypes } from '../images/manifest.ts';

export const credentials = { username: 'someone', password: 'secret' };
const token = 'the-token';

export interface TestRegistry extends AsyncDisposable {
  /** As in `127.0.0.1:12345`. */
  readonly host: string;
  /** Requests so far, as in `GET /v2/…`. */
  readonly requests: string[];
  /** Adds an image. @returns digests of its index, config and layers. */
  add(name: string, tag: string, layers: readonly Buffer[]): { index: string; config: string; layers: string[] };
  /** Gives other bytes under a digest. */
  corrupt(digest: string): void;
  /** Cuts the first transfer of a blob in half. */
  cutOnce(digest: string): void;
}

export async function startRegistry(authentication: 'none' | 'token' | 'basic'): Promise<TestRegistry> {
  const documents = new Map<string, { mediaType: string; bytes: Buffer }>();
  const blobs = new Map<string, Buffer>();
  const cut = new Set<string>();
  const requests: string[] = [];
  let host = '';

  const authorized = (request: IncomingMessage, response: ServerResponse): boolean => {
    const given = request.headers.authorization;
    const basic = `Basic ${Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64')}`;
    if (authentication === 'none') return true;
    if (authentication === 'basic' && given === basic) return true;
    if (authentication === 'token' && given === `Bearer ${token}`) return true;
    const challenge =
      authentication === 'basic'
        ? 'Basic realm="test"'
        : `Bearer realm="http://${host}/token",service="test",scope="repository:any:pull"`;
    response
      .writeHead(401, { 'www-authenticate': challenge })
      .end('{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}');
    return false;
  };

  const giveToken = (request: IncomingMessage, response: ServerResponse): void => {
    const basic = `Basic ${Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64')}`;
    if (request.headers.authorization !== basic) response.writeHead(401).end();
    else response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ token }));
  };

  const giveBlob = (request: IncomingMessage, response: ServerResponse, digest: string, bytes: Buffer): void => {
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1] ?? 0);
    response.writeHead(from > 0 ? 206 : 200, { 'content-length': bytes.length - from });
    if (!cut.delete(digest)) {
      response.end(bytes.subarray(from));
      return;
    }
    response.write(bytes.subarray(from, Math.floor(bytes.length / 2)), () => setTimeout(() => response.destroy(), 50));
  };

  const server: Server = createServer((request, response) => {
    const url = request.url ?? '';
    requests.push(`${request.method} ${url}`);
    if (url.startsWith('/token')) return giveToken(request, response);
    if (!authorized(request, response)) return undefined;
    const [, name = '', kind = '', reference = ''] = /^\/v2\/(.+)\/(manifests|blobs)\/(.+)$/.exec(url) ?? [];
    const document = documents.get(`${name}/${reference}`);
    if (kind === 'manifests' && document) {
      response.writeHead(200, { 'content-type': document.mediaType }).end(document.bytes);
      return undefined;
    }
    const blob = blobs.get(reference);
    if (kind === 'blobs' && blob) return giveBlob(request, response, reference, blob);
    response.writeHead(404).end('{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}');
    return undefined;
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  host = `127.0.0.1:${(server.address() as AddressInfo).port}`;

  return {
    host,
    requests,
    add: (name, tag, layers) => {
      const image = packImage(layers);
      for (const [digest, bytes] of image.blobs) blobs.set(digest, bytes);
      for (const [digest, document] of image.documents) documents.set(`${name}/${digest}`, document);
      const index = image.documents.get(image.index);
      if (index) documents.set(`${name}/${tag}`, index);
      return image;
    },
    corrupt: (digest) => {
      const bytes = Buffer.from(blobs.get(digest) ?? []);
      bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 0xff;
      blobs.set(digest, bytes);
    },
    cutOnce: (digest) => cut.add(digest),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** An image of gzipped layers: config, manifest and an index with a foreign platform beside this machine's. */
export function packImage(layers: readonly Buffer[]): {
  index: string;
  config: string;
  manifest: string;
  layers: string[];
  blobs: Map<string, Buffer>;
  documents: Map<string, { mediaType: string; bytes: Buffer }>;
} {
  const packed = layers.map((layer) => gzipSync(layer));
  const config = Buffer.from(
    JSON.stringify({
      ...hostPlatform(),
      created: '2026-11-25T00:00:00Z',
      config: { Cmd: ['sh'], Env: ['FROM=registry'] },
      rootfs: { type: 'layers', diff_ids: layers.map(digestOf) },
      history: layers.map((_, number) => ({ created_by: `step ${number}` })),
    }),
  );
  const describe = (mediaType: string, bytes: Buffer): { mediaType: string; digest: string; size: number } => ({
    mediaType,
    digest: digestOf(bytes),
    size: bytes.length,
  });
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.dockerManifest,
      config: describe(mediaTypes.dockerConfig, config),
      layers: packed.map((bytes) => describe(mediaTypes.dockerLayerGzip, bytes)),
    }),
  );
  const entry = describe(mediaTypes.dockerManifest, manifest);
  const foreign = { ...entry, digest: `sha256:${'f'.repeat(64)}`, platform: { os: 'linux', architecture: 's390x' } };
  const index = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.dockerManifestList,
      manifests: [foreign, { ...entry, platform: hostPlatform() }],
    }),
  );
  return {
    index: digestOf(index),
    config: digestOf(config),
    manifest: digestOf(manifest),
    layers: packed.map(digestOf),
    blobs: new Map([config, ...packed].map((bytes) => [digestOf(bytes), bytes])),
    documents: new Map([
      [digestOf(index), { mediaType: mediaTypes.dockerManifestList, bytes: index }],
      [digestOf(manifest), { mediaType: mediaTypes.dockerManifest, bytes: manifest }],
    ]),
  };
}
