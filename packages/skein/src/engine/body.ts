/** Reading a request's body, with a bound. */
import type { IncomingMessage } from 'node:http';
import { Readable } from 'node:stream';
import { invalid } from './errors.ts';
import { parse } from './json.ts';

/** Largest JSON body: secrets and configs are at most 1 MB of base64. */
const maxJsonBytes = 8 * 1024 * 1024;
/** How long a client may take to send a JSON body. */
const jsonTimeoutMs = 60_000;

/** @returns the parsed JSON. @throws SkeinError InvalidArgument in the words of dockerd (httputils.ReadJSON). */
export async function readJson(contentType: string | undefined, source: Readable): Promise<unknown> {
  if (contentType !== undefined && contentType.split(';')[0]?.trim().toLowerCase() !== 'application/json') {
    throw invalid(`unsupported Content-Type header (${contentType}): must be 'application/json'`);
  }
  return parse((await readAll(source)).toString('utf8'));
}

async function readAll(source: Readable): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let length = 0;
  const timer = setTimeout(() => source.destroy(invalid('time-out while reading the request body')), jsonTimeoutMs);
  try {
    for await (const chunk of source) {
      length += (chunk as Buffer).length;
      if (length > maxJsonBytes) throw invalid('http: request body too large');
      chunks.push(chunk as Buffer);
    }
  } finally {
    clearTimeout(timer);
  }
  return Buffer.concat(chunks);
}

/**
 * The body of an upgraded request: Node's parser stops at the headers, so the first `Content-Length` bytes of the
 * connection are the body and the rest belongs to the session.
 * @returns the body and the bytes behind it.
 */
export async function splitBody(
  request: IncomingMessage,
  head: Buffer,
): Promise<{ readonly body: Readable; readonly rest: Buffer }> {
  const length = Number(request.headers['content-length'] ?? 0);
  if (request.headers['transfer-encoding'] !== undefined) throw invalid('an upgraded request needs a Content-Length');
  if (length > maxJsonBytes) throw invalid('http: request body too large');
  const chunks = [head];
  let received = head.length;
  if (received < length) {
    request.socket.setTimeout(jsonTimeoutMs, () => request.socket.destroy());
    for await (const chunk of request.socket.iterator({ destroyOnReturn: false })) {
      chunks.push(chunk as Buffer);
      received += (chunk as Buffer).length;
      if (received >= length) break;
    }
    request.socket.setTimeout(0);
    if (received < length) throw invalid('unexpected EOF');
  }
  const all = Buffer.concat(chunks);
  return { body: Readable.from([all.subarray(0, length)]), rest: all.subarray(length) };
}
