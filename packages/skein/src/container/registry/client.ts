/**
 * A registry of the OCI distribution specification (v2): manifests and blobs of one repository, with token and basic
 * authentication, over TLS; plain HTTP only to this machine itself.
 */

import { isIP } from 'node:net';
import { Readable } from 'node:stream';
import { SkeinError } from '../../common/index.ts';
import { type Descriptor, digestOf, maximumDocumentBytes, mediaTypes } from '../images/manifest.ts';
import { defaultDomain, familiarName, fullReference, type Reference } from '../references.ts';
import type { RegistryAuth } from '../types.ts';
import { authorize } from './auth.ts';
import { boundedBytes, boundedText } from './bounded.ts';

/** Docker Hub's registry has another name than its references. */
const hubHost = 'registry-1.docker.io';
/** Until the answer's head is there, in milliseconds. */
const responseTimeoutMs = 15_000;

const acceptedManifests = [
  mediaTypes.ociIndex,
  mediaTypes.dockerManifestList,
  mediaTypes.ociManifest,
  mediaTypes.dockerManifest,
].join(', ');

/** @returns whether a host is this machine: localhost, 127.0.0.0/8, ::1. */
export function isLoopback(hostAndPort: string): boolean {
  const host = hostAndPort.replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** @returns a registry's address for a reference's domain. */
export function registryUrl(domain: string): string {
  if (domain === defaultDomain) return `https://${hubHost}/v2/`;
  return `${isLoopback(domain) ? 'http' : 'https'}://${domain}/v2/`;
}

/** Why a request has failed, in the words of Go's HTTP client. */
function reason(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  const { code, syscall, hostname, address, port } = cause as NodeJS.ErrnoException & {
    hostname?: string;
    address?: string;
    port?: number;
  };
  if (code === 'ENOTFOUND') return `dial tcp: lookup ${hostname}: no such host`;
  if (code === 'EAI_AGAIN') return `dial tcp: lookup ${hostname}: Temporary failure in name resolution`;
  if (code === 'ECONNREFUSED') return `dial tcp ${address}:${port}: connect: connection refused`;
  if (code === 'ENETUNREACH' || code === 'EHOSTUNREACH') {
    return `dial tcp ${address}:${port}: ${syscall}: ${code === 'ENETUNREACH' ? 'network is unreachable' : 'no route to host'}`;
  }
  if (cause instanceof Error && cause.name === 'TimeoutError') {
    return 'net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)';
  }
  return cause instanceof Error ? cause.message : String(cause);
}

export interface Blob {
  readonly size: number;
  readonly body: Readable;
}

export class RepositoryClient {
  readonly #reference: Reference;
  readonly #auth: RegistryAuth | undefined;
  readonly #base: string;
  readonly #signal: AbortSignal | undefined;
  #authorization: string | undefined;

  constructor(reference: Reference, options: { auth?: RegistryAuth; signal?: AbortSignal }) {
    this.#reference = reference;
    this.#auth = options.auth;
    this.#signal = options.signal;
    this.#base = registryUrl(reference.domain);
  }

  async #fetch(url: string, headers: Record<string, string>, method = 'GET'): Promise<Response> {
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(new DOMException('time-out', 'TimeoutError')), responseTimeoutMs);
    const signals = [timeout.signal, ...(this.#signal ? [this.#signal] : [])];
    try {
      return await fetch(url, { method, headers, signal: AbortSignal.any(signals) });
    } catch (error) {
      this.#signal?.throwIfAborted();
      throw new SkeinError(
        'Internal',
        `Get "${this.#base}": ${reason(timeout.signal.aborted ? timeout.signal.reason : error)}`,
        {
          cause: error,
        },
      );
    } finally {
      clearTimeout(timer);
    }
  }

  /** One request; once more with credentials when the registry asks for them. */
  async #request(path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<Response> {
    const url = `${this.#base}${this.#reference.path}/${path}`;
    const send = (): Promise<Response> =>
      this.#fetch(url, { ...headers, ...(this.#authorization && { authorization: this.#authorization }) }, method);
    let response = await send();
    const challenge = response.headers.get('www-authenticate');
    if (response.status === 401 && challenge) {
      await response.body?.cancel();
      this.#authorization = await authorize(challenge, {
        scope: `repository:${this.#reference.path}:pull`,
        ...(this.#auth && { auth: this.#auth }),
        fetch: (address, given) => this.#fetch(address, given),
      });
      response = await send();
    }
    if (response.ok) return response;
    throw await this.#failure(response);
  }

  async #failure(response: Response): Promise<SkeinError> {
    const text = await boundedText(response);
    const name = familiarName(this.#reference);
    if (response.status === 401 || response.status === 403) {
      return new SkeinError(
        'NotFound',
        `pull access denied for ${name}, repository does not exist or may require 'docker login'${detail(text)}`,
      );
    }
    if (response.status === 404) {
      const shown = familiarTagged(this.#reference);
      return new SkeinError('NotFound', `manifest for ${shown} not found: manifest unknown: manifest unknown`);
    }
    if (response.status === 429) return new SkeinError('ResourceExhausted', `toomanyrequests${detail(text)}`);
    return new SkeinError('Unknown', `received unexpected HTTP status: ${response.status} ${response.statusText}`);
  }

  /** @returns a manifest or an index by tag or digest, with the digest of what came. */
  async manifest(tagOrDigest: string): Promise<{ mediaType: string; bytes: Buffer }> {
    const response = await this.#request(`manifests/${tagOrDigest}`, { accept: acceptedManifests });
    const mediaType = (response.headers.get('content-type') ?? '').split(';', 1)[0]?.trim() ?? '';
    return { mediaType, bytes: await boundedBytes(response) };
  }

  /** @param from first byte that is wanted, to go on with a transfer that was cut. */
  async blob(digest: string, from = 0): Promise<Blob> {
    const response = await this.#request(`blobs/${digest}`, from > 0 ? { range: `bytes=${from}-` } : {});
    if (from > 0 && response.status !== 206) {
      await response.body?.cancel();
      throw new SkeinError('Unavailable', `${fullReference(this.#reference)}: the registry cannot resume a transfer`);
    }
    if (!response.body) throw new SkeinError('Unknown', `the registry sent no contents of ${digest}`);
    const body = Readable.fromWeb(response.body as Parameters<typeof Readable.fromWeb>[0]);
    return { size: Number(response.headers.get('content-length') ?? 0) + from, body };
  }

  /** @returns a blob that is read whole, verified: an image's config. */
  async document(descriptor: Descriptor): Promise<Buffer> {
    if (descriptor.size > maximumDocumentBytes)
      throw new SkeinError('ResourceExhausted', 'the image config is too large');
    const chunks: Buffer[] = [];
    let size = 0;
    for await (const chunk of (await this.blob(descriptor.digest)).body as AsyncIterable<Buffer>) {
      size += chunk.length;
      if (size > descriptor.size) break;
      chunks.push(chunk);
    }
    const bytes = Buffer.concat(chunks);
    if (size !== descriptor.size || digestOf(bytes) !== descriptor.digest) {
      throw new SkeinError('InvalidArgument', `filesystem layer verification failed for digest ${descriptor.digest}`);
    }
    return bytes;
  }
}

const familiarTagged = (reference: Reference): string =>
  `${familiarName(reference)}${reference.digest ? `@${reference.digest}` : `:${reference.tag}`}`;

/** @returns the message of a registry's error document, as Docker appends it. */
function detail(text: string): string {
  try {
    const { errors } = JSON.parse(text) as { errors?: { code?: string; message?: string }[] };
    const [first] = errors ?? [];
    if (!first) return '';
    return `: ${first.code === 'UNAUTHORIZED' || first.code === 'DENIED' ? first.code.toLowerCase() : 'error'}: ${first.message}`;
  } catch {
    return '';
  }
}
