import {
  createSecureServer,
  type Http2SecureServer,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from 'node:http2';
import type { AddressInfo } from 'node:net';
import type { TLSSocket } from 'node:tls';
import type { ConnectRouter, Interceptor } from '@connectrpc/connect';
import { connectNodeAdapter } from '@connectrpc/connect-node';
import type { Logger } from '../../../common/index.ts';
import { managerRole, type NodeIdentity } from '../../identity/index.ts';
import { PeerCache, remoteAddressOf } from './peer.ts';

/** What a manager accepts in one message (swarmkit manager: gRPC's default). */
const readMaxBytes = 4 * 1024 * 1024;
/** How long a closing server lets calls in progress end. */
const closeGraceMs = 1_000;
/** A peer that sends no TLS hello is dropped after this. */
const handshakeTimeoutMs = 10_000;
/** Node's code for a peer's GOAWAY with an error, as clients say that they cancel what is open. */
const endedByPeer = 'ERR_HTTP2_SESSION_ERROR';
/** The whole answer for a service that is not there: "Trailers-Only" with UNIMPLEMENTED (gRPC over HTTP/2). */
const unimplemented = {
  ':status': 200,
  'content-type': 'application/grpc',
  'grpc-status': '12',
  'grpc-message': 'unknown service or method',
};

/** As in Go, either of them stands for all addresses of both families: so does no address at all for Node. */
const allAddresses: readonly string[] = ['0.0.0.0', '::'];

export interface ListenerOptions {
  readonly host: string;
  /** 0 = any free one. */
  readonly port: number;
  readonly identity: NodeIdentity;
  readonly interceptors: Interceptor[];
  readonly routes: (router: ConnectRouter) => void;
  readonly logger: Logger;
}

export interface Listener {
  readonly host: string;
  readonly port: number;
  /** Lets calls end for a second, stops listening, and drops what is still open a second later. */
  close(): Promise<void>;
}

/**
 * Opens the manager's gRPC port: HTTP/2 over TLS 1.2 or newer, with ALPN h2 or without ALPN. A client certificate is asked for and may be
 * left out; one that does not chain to the cluster's root ends the connection (swarmkit ca/config.go:
 * VerifyClientCertIfGiven). New connections see a renewed certificate at once.
 */
export async function listen(options: ListenerOptions): Promise<Listener> {
  const peers = new PeerCache();
  const secureContext = () => {
    const { certificate, key, rootCa } = options.identity.credentials;
    return { cert: certificate, key, ca: rootCa, minVersion: 'TLSv1.2' as const };
  };
  const answer = connectNodeAdapter({
    routes: options.routes,
    interceptors: options.interceptors,
    contextValues: (request) => peers.contextValues('stream' in request ? request.stream.session : undefined),
    fallback: (_request, response) => {
      if ('stream' in response) response.stream.respond(unimplemented, { endStream: true });
      else response.destroy();
    },
    grpcWeb: false,
    connect: false,
    readMaxBytes,
  });
  const server = createSecureServer(
    {
      ...secureContext(),
      requestCert: true,
      rejectUnauthorized: false,
      allowHTTP1: false,
      handshakeTimeout: handshakeTimeoutMs,
    },
    (request, response) => {
      // Clients name what they like, or nothing at all; the adapter throws at what is no host of a URL.
      request.headers[':authority'] = managerRole;
      answer(request, response);
    },
  );
  server.prependListener('secureConnection', (socket: TLSSocket) => {
    // dockerd 20.10 names no protocol once it has renewed its certificate: it speaks HTTP/2 all the same.
    if (socket.alpnProtocol === false) socket.alpnProtocol = 'h2';
    if (socket.authorized || socket.getPeerX509Certificate() === undefined) return;
    options.logger.warn(
      { peer: remoteAddressOf(socket), reason: socket.authorizationError },
      'client certificate refused',
    );
    socket.destroy();
  });
  logRefusals(server, options.logger);
  const traffic = trackTraffic(server);
  const stopFollowing = options.identity.onChange(() => server.setSecureContext(secureContext()));
  const { address, port } = await bind(server, options.host, options.port);
  server.on('error', (error) => options.logger.error({ err: error }, 'manager server'));
  return {
    host: address,
    port,
    close: async () => {
      stopFollowing();
      await closeServer(server, traffic);
    },
  };
}

/** A connection that is not one of a node's is logged with its address and ended. One that ends without a word is not. */
function logRefusals(server: Http2SecureServer, logger: Logger): void {
  const warn = (peer: string, { code, message }: NodeJS.ErrnoException): void =>
    logger.warn({ peer, reason: code ?? message }, 'connection refused');
  server.on('tlsClientError', (error, socket) => {
    if (socket.remoteAddress !== undefined) warn(remoteAddressOf(socket), error);
  });
  server.on('unknownProtocol', (socket: TLSSocket) => {
    warn(remoteAddressOf(socket), new Error('no HTTP/2'));
    socket.destroy();
  });
  server.on('session', (session) => {
    // The address is gone once the session has failed.
    const peer = remoteAddressOf(session.socket);
    session.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === endedByPeer) logger.debug({ peer, reason: error.message }, 'connection ended');
      else warn(peer, error);
    });
  });
}

interface Traffic {
  /** BOUNDED by the process's file descriptors: one entry an open connection. */
  readonly sessions: Set<ServerHttp2Session>;
  /** BOUNDED by the sessions and HTTP/2's limit of streams for each. */
  readonly calls: Set<ServerHttp2Stream>;
}

function trackTraffic(server: Http2SecureServer): Traffic {
  const traffic: Traffic = { sessions: new Set(), calls: new Set() };
  server.on('session', (session) => {
    traffic.sessions.add(session);
    session.once('close', () => traffic.sessions.delete(session));
  });
  server.on('stream', (stream) => {
    traffic.calls.add(stream);
    stream.once('close', () => traffic.calls.delete(stream));
  });
  return traffic;
}

function bind(server: Http2SecureServer, host: string, port: number): Promise<AddressInfo> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ ...(allAddresses.includes(host) ? {} : { host }), port }, () => {
      server.off('error', reject);
      resolve(server.address() as AddressInfo);
    });
  });
}

/** Lets the answers of ended calls out first: a GOAWAY makes some clients drop what they have not read. */
async function closeServer(server: Http2SecureServer, { sessions, calls }: Traffic): Promise<void> {
  const callsEnded = Promise.all([...calls].map((call) => new Promise((resolve) => call.once('close', resolve))));
  await withinGrace(callsEnded);
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  for (const session of sessions) session.close();
  await withinGrace(closed);
  for (const session of sessions) session.destroy();
  await closed;
}

async function withinGrace(promise: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise((resolve) => {
    timer = setTimeout(resolve, closeGraceMs);
  });
  await Promise.race([promise, timeout]);
  clearTimeout(timer);
}
