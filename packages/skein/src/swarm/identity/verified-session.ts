import { X509Certificate } from 'node:crypto';
import type { ClientHttp2Stream } from 'node:http2';
import { connect, type DetailedPeerCertificate, type TLSSocket } from 'node:tls';
import { Code, ConnectError } from '@connectrpc/connect';
import { Http2SessionManager } from '@connectrpc/connect-node';
import { verifyServer } from './verification.ts';

/** What the client shows and trusts. */
export interface ConnectionSecurity {
  /** PEM roots that the server must chain to; undefined = any server (only to fetch the root itself). */
  readonly rootCa: string | undefined;
  /** The name that the server's certificate must carry: `swarm-ca` or `swarm-manager`. */
  readonly serverName: string;
  /** The client's certificate, for mutual TLS. */
  readonly client?: { readonly certificate: string; readonly key: string };
}

/** A server's certificate, and the roots that signed each other while one is rotated. */
const maxChain = 8;
/** What a URL leaves out. */
const httpsPort = 443;

/**
 * Opens TLS and checks the server by our own rules (see `verifyServer`), before HTTP/2 says its first word. One
 * connection at a time, opened when it is wanted.
 */
export class VerifiedSessionManager extends Http2SessionManager {
  readonly #security: ConnectionSecurity;
  readonly #sockets: { next: TLSSocket | undefined };
  readonly #closing = new AbortController();
  #opening: Promise<void> | undefined;

  constructor(baseUrl: string, security: ConnectionSecurity) {
    const sockets: { next: TLSSocket | undefined } = { next: undefined };
    const createConnection = (): TLSSocket => {
      const socket = sockets.next;
      sockets.next = undefined;
      if (socket === undefined) throw new ConnectError('connection lost', Code.Unavailable);
      return socket;
    };
    super(baseUrl, {}, { createConnection });
    this.#security = security;
    this.#sockets = sockets;
  }

  override async request(
    ...[method, path, headers, options]: Parameters<Http2SessionManager['request']>
  ): Promise<ClientHttp2Stream> {
    if (this.state() === 'closed' || this.state() === 'error') {
      this.#opening ??= this.#open().finally(() => {
        this.#opening = undefined;
      });
      await this.#opening;
    }
    // Node leaves out the brackets of an IPv6 address.
    const { host } = new URL(this.authority);
    return super.request(method, path, { ...headers, ':authority': host }, options);
  }

  override abort(reason?: Error): void {
    this.#closing.abort(reason);
    super.abort(reason);
  }

  async #open(): Promise<void> {
    const url = new URL(this.authority);
    const to = { host: url.hostname.replace(/^\[|\]$/g, ''), port: Number(url.port || httpsPort) };
    this.#sockets.next = await connectTls(to, this.#security, this.#closing.signal);
    await this.connect();
  }
}

/** @throws the system's error, or SkeinError when the server is not one that we trust. */
function connectTls(
  to: { host: string; port: number },
  { rootCa, serverName, client }: ConnectionSecurity,
  signal: AbortSignal,
): Promise<TLSSocket> {
  const socket = connect({
    ...to,
    servername: serverName,
    ALPNProtocols: ['h2'],
    minVersion: 'TLSv1.2',
    rejectUnauthorized: false,
    ...(client && { cert: client.certificate, key: client.key }),
  });
  return new Promise((resolve, reject) => {
    const abort = (): void => {
      socket.destroy(signal.reason instanceof Error ? signal.reason : undefined);
    };
    const settle = (): void => {
      signal.removeEventListener('abort', abort);
      socket.off('error', reject);
    };
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    socket.once('error', reject);
    socket.once('close', () => reject(new ConnectError('connection closed', Code.Unavailable)));
    socket.once('secureConnect', () => {
      try {
        if (rootCa !== undefined) verifyServer(presentedChain(socket), rootCa, serverName, Date.now());
        settle();
        resolve(socket);
      } catch (error) {
        socket.destroy();
        reject(error);
      }
    });
  });
}

/** The server's certificate and those it sent with it, leaf first. */
function presentedChain(socket: TLSSocket): X509Certificate[] {
  const chain: X509Certificate[] = [];
  let current: DetailedPeerCertificate | undefined = socket.getPeerCertificate(true);
  while (current?.raw !== undefined && chain.length < maxChain) {
    chain.push(new X509Certificate(current.raw));
    const { issuerCertificate: issuer }: DetailedPeerCertificate = current;
    // The last one is given as its own issuer.
    current = issuer === current ? undefined : issuer;
  }
  return chain;
}
