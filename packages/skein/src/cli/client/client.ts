import {
  type ClientRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type RequestOptions,
  request,
} from 'node:http';
import type { Duplex, Readable } from 'node:stream';
import { text as readText } from 'node:stream/consumers';
import { CommandError } from '../command/errors.ts';
import { clientApiVersion } from '../version.ts';
import type { Host } from './host.ts';
import { type Json, parseJson } from './json.ts';

/** The newest API version this client speaks; the engine's own is taken if it is older. */
const newestApiVersion = clientApiVersion;
/** An engine that reports no version speaks this one (Docker's client: pre-negotiation fallback). */
const fallbackApiVersion = '1.24';
/** How long a connection may take before the engine counts as down. */
const connectTimeoutMs = 30_000;

export type QueryValue = string | number | boolean | undefined | readonly string[];
export type Query = Readonly<Record<string, QueryValue>>;

/** What a call sends besides its method and path. */
export interface CallOptions {
  readonly query?: Query;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Sent as it is, `application/x-tar`. */
  readonly stream?: Readable;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

/** The engine refused: its message in its words. */
export class EngineError extends CommandError {
  override readonly name = 'EngineError';
  readonly status: number;
  /** The message without `Error response from daemon: `. */
  readonly reason: string;

  constructor(status: number, reason: string) {
    super(`Error response from daemon: ${reason}`);
    this.status = status;
    this.reason = reason;
  }
}

/** A reply whose body nobody has read yet. */
export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: IncomingMessage;
}

/** A connection that left HTTP: raw bytes both ways (exec, attach). */
export interface Hijacked {
  readonly socket: Duplex;
  /** The stream's media type: raw (with a TTY) or multiplexed. Empty from engines before API 1.42. */
  readonly contentType: string;
}

/** The Docker Engine API over a unix socket or TCP. */
export class Client {
  readonly host: Host;
  #version: Promise<string> | undefined;
  /** The reply's headers of the first ping. */
  #ping: IncomingHttpHeaders = {};

  constructor(host: Host) {
    this.host = host;
  }

  /** @returns the API version that both sides speak, agreed on by `GET /_ping` with the first call. */
  version(): Promise<string> {
    this.#version ??= this.#negotiate();
    return this.#version;
  }

  /** @returns the engine's headers on `/_ping`. */
  async pingHeaders(): Promise<IncomingHttpHeaders> {
    await this.version();
    return this.#ping;
  }

  async #negotiate(): Promise<string> {
    const reply = await this.#send('GET', '/_ping', {});
    reply.body.resume();
    this.#ping = reply.headers;
    const offered = String(reply.headers['api-version'] ?? fallbackApiVersion);
    return olderVersion(offered, newestApiVersion);
  }

  /** Calls the engine and reads the JSON it answers; undefined where it answers nothing. */
  async json(method: string, path: string, options: CallOptions = {}): Promise<Json> {
    return parseJson((await this.text(method, path, options)) || 'null');
  }

  /** Calls the engine and reads the body as text. */
  async text(method: string, path: string, options: CallOptions = {}): Promise<string> {
    const reply = await this.call(method, path, options);
    return await readText(reply.body);
  }

  /** Calls the engine; the caller reads the body. @throws EngineError if the status is 400 or more. */
  async call(method: string, path: string, options: CallOptions = {}): Promise<Reply> {
    const reply = await this.#send(method, `/v${await this.version()}${path}`, options);
    if (reply.status >= 400) throw new EngineError(reply.status, errorReason(reply.status, await readText(reply.body)));
    return reply;
  }

  /** Calls the engine with `Upgrade: tcp` and takes over the connection. */
  async hijack(path: string, options: CallOptions = {}): Promise<Hijacked> {
    const outgoing = this.#request('POST', `/v${await this.version()}${path}`, {
      ...options,
      headers: { ...options.headers, Connection: 'Upgrade', Upgrade: 'tcp' },
    });
    return await new Promise<Hijacked>((resolve, reject) => {
      outgoing.once('error', (error) => reject(this.#explain(error)));
      outgoing.once('upgrade', (incoming: IncomingMessage, socket: Duplex, head: Buffer) => {
        if (head.length > 0) socket.unshift(head);
        resolve({ socket, contentType: String(incoming.headers['content-type'] ?? '') });
      });
      outgoing.once('response', (incoming) => {
        const status = incoming.statusCode ?? 0;
        readText(incoming).then((body) => reject(new EngineError(status, errorReason(status, body))), reject);
      });
      outgoing.end(options.body === undefined ? undefined : JSON.stringify(options.body));
    });
  }

  #request(method: string, path: string, options: CallOptions): ClientRequest {
    const target: RequestOptions =
      this.host.kind === 'unix'
        ? { socketPath: this.host.socketPath, headers: { Host: 'skein' } }
        : { host: this.host.address, port: this.host.port };
    const type = options.stream ? 'application/x-tar' : options.body === undefined ? undefined : 'application/json';
    return request({
      ...target,
      method,
      path: path + queryText(options.query ?? {}),
      agent: false,
      headers: { ...target.headers, ...(type && { 'Content-Type': type }), ...options.headers },
      ...(options.signal && { signal: options.signal }),
    });
  }

  async #send(method: string, path: string, options: CallOptions): Promise<Reply> {
    const outgoing = this.#request(method, path, options);
    return await new Promise<Reply>((resolve, reject) => {
      const timer = setTimeout(() => outgoing.destroy(new Error('connection timed out')), connectTimeoutMs);
      outgoing.once('socket', (socket) => {
        if (!socket.connecting) clearTimeout(timer);
        socket.once('connect', () => clearTimeout(timer));
      });
      outgoing.once('error', (error) => {
        clearTimeout(timer);
        reject(this.#explain(error));
      });
      outgoing.once('response', (body) => resolve({ status: body.statusCode ?? 0, headers: body.headers, body }));
      if (options.stream) options.stream.once('error', (error) => outgoing.destroy(error)).pipe(outgoing);
      else outgoing.end(options.body === undefined ? undefined : JSON.stringify(options.body));
    });
  }

  /** Says what a failed connection means to the user and what to do. */
  #explain(error: Error & { code?: string }): Error {
    if (error.name === 'AbortError') return error;
    if (error.code === 'EACCES' && this.host.kind === 'unix') {
      return new CommandError(
        `permission denied on the Skein daemon socket at ${this.host.text}: run as root or join the group docker`,
        1,
        { cause: error },
      );
    }
    if (error.code && ['ENOENT', 'ECONNREFUSED', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENOTFOUND'].includes(error.code)) {
      return new CommandError(
        `Cannot connect to the Skein daemon at ${this.host.text}. Is the daemon running? Start it with: skein daemon`,
        1,
        { cause: error },
      );
    }
    return new CommandError(`error during connect to ${this.host.text}: ${error.message}`, 1, { cause: error });
  }
}

/** @returns `?a=b&c=d`, or nothing; undefined, empty and false values are left out, lists are repeated. */
function queryText(query: Query): string {
  const pairs = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined || value === '' || value === false) continue;
    for (const item of Array.isArray(value) ? value : [value === true ? '1' : String(value)]) pairs.append(name, item);
  }
  const text = pairs.toString();
  return text && `?${text}`;
}

function errorReason(status: number, body: string): string {
  try {
    const parsed: unknown = JSON.parse(body);
    if (parsed && typeof parsed === 'object' && 'message' in parsed) return String(parsed.message).trim();
  } catch {
    // Not JSON: a proxy's or an old engine's plain text is the message.
  }
  return body.trim() || `the engine answered status ${status} without a message`;
}

/** @returns the older of two API versions. */
export function olderVersion(left: string, right: string): string {
  return versionAtLeast(left, right) ? right : left;
}

/** @returns whether an API version is not older than another. */
export function versionAtLeast(version: string, other: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [otherMajor = 0, otherMinor = 0] = other.split('.').map(Number);
  return major !== otherMajor ? major > otherMajor : minor >= otherMinor;
}
