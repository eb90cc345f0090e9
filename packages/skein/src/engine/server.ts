/** The HTTP server: sockets, headers that every answer carries, errors, upgraded connections, a bounded close. */
import { createServer, type IncomingMessage, type Server, ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import type { Duplex, Readable } from 'node:stream';
import { errorText, SkeinError } from '../common/index.ts';
import { readJson, splitBody } from './body.ts';
import { httpStatus } from './errors.ts';
import { stringify } from './json.ts';
import { apiVersion, createRouter, parseTarget, type Router } from './router.ts';
import { allRoutes } from './routes/index.ts';
import { claimSocket, listen, shareSocket } from './socket.ts';
import type { Call, Engine, EngineOptions, EngineServer, Reply } from './types.ts';
import { publishClusterEvents } from './views/cluster-events.ts';

/** How long close() waits for answers under way before it cuts the connections. */
const closeGraceMs = 2_000;
/** Bound of connections; each attached client holds one. */
const maxConnections = 4_096;

/**
 * Serves the Docker Engine API.
 * @throws SkeinError FailedPrecondition when another daemon answers on the socket; errors of listen(2) as they come.
 */
export async function startEngine(options: EngineOptions): Promise<EngineServer> {
  const dispatcher = new Dispatcher(options);
  await claimSocket(options.socketPath);
  const servers = [dispatcher.createServer()];
  await listen(servers[0] as Server, { path: options.socketPath });
  shareSocket(options.socketPath);
  let port: number | undefined;
  if (options.tcp !== undefined) {
    const server = dispatcher.createServer();
    servers.push(server);
    await listen(server, options.tcp);
    port = (server.address() as AddressInfo).port;
  }
  const stopEvents = publishClusterEvents(options);
  let closing: Promise<void> | undefined;
  const close = (): Promise<void> => {
    stopEvents();
    closing ??= dispatcher.close(servers);
    return closing;
  };
  return { socketPath: options.socketPath, port, close, [Symbol.asyncDispose]: close };
}

class Dispatcher {
  readonly #engine: Engine;
  readonly #router: Router;
  /** One for each answer under way, aborted when its client hangs up or the server closes. BOUNDED by maxConnections. */
  readonly #underWay = new Set<AbortController>();
  /** Connections taken over from HTTP, which the server no longer knows. BOUNDED by maxConnections. */
  readonly #upgraded = new Set<Socket>();

  constructor(engine: Engine) {
    this.#engine = engine;
    this.#router = createRouter(allRoutes(engine));
  }

  createServer(): Server {
    // requestTimeout would cut the upload of an image; JSON bodies have a time-out of their own (body.ts). Idle
    // connections stay, as with dockerd, so that no client's next request meets one that is just closing; TCP's own
    // keep-alive finds dead peers.
    const options = { requestTimeout: 0, keepAliveTimeout: 0, keepAlive: true };
    const server = createServer(options, (request, response) => {
      void this.#answer(request, response, request, undefined);
    });
    server.maxConnections = maxConnections;
    server.on('upgrade', (request: IncomingMessage, socket: Duplex, head: Buffer) => {
      void this.#upgrade(request, socket as Socket, head);
    });
    server.on('clientError', (error: NodeJS.ErrnoException, socket) => {
      this.#engine.logger.debug({ error: error.message }, 'bad request');
      if (socket.writable) socket.end('HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n');
      else socket.destroy();
    });
    return server;
  }

  async close(servers: readonly Server[]): Promise<void> {
    for (const answer of this.#underWay) answer.abort();
    const closed = servers.map(
      (server) =>
        new Promise<void>((resolve) => {
          server.close(() => resolve());
          server.closeIdleConnections();
        }),
    );
    const cut = setTimeout(() => {
      for (const server of servers) server.closeAllConnections();
      for (const socket of this.#upgraded) socket.destroy();
    }, closeGraceMs);
    await Promise.all(closed);
    clearTimeout(cut);
    for (const socket of this.#upgraded) socket.destroy();
  }

  /** A request with `Upgrade`: answered through a response of our own, so that errors stay plain HTTP. */
  async #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): Promise<void> {
    const response = new ServerResponse(request);
    response.shouldKeepAlive = false;
    this.#upgraded.add(socket);
    socket.once('close', () => this.#upgraded.delete(socket));
    socket.on('error', (error) => this.#engine.logger.debug({ error: error.message }, 'connection failed'));
    response.assignSocket(socket);
    response.once('finish', () => socket.end());
    try {
      const { body, rest } = await splitBody(request, head);
      await this.#answer(request, response, body, { socket, rest });
    } catch (error) {
      this.#refuse(request, response, error);
    }
  }

  async #answer(
    request: IncomingMessage,
    response: ServerResponse,
    body: Readable,
    upgrade: { socket: Socket; rest: Buffer } | undefined,
  ): Promise<void> {
    const underWay = new AbortController();
    const { signal } = underWay;
    this.#underWay.add(underWay);
    // A response that gave its connection away never closes.
    const connection = upgrade?.socket ?? response;
    connection.once('close', () => {
      this.#underWay.delete(underWay);
      if (!response.writableFinished) underWay.abort();
    });
    response.setHeader('Api-Version', apiVersion);
    response.setHeader('Ostype', 'linux');
    response.setHeader('Server', `Skein/${this.#engine.version.version} (linux)`);
    try {
      const target = parseTarget(request.url ?? '/');
      const { route, parameters } = this.#router.find(request.method ?? 'GET', target.path);
      const call: Call = {
        ...target,
        method: route.method,
        parameters,
        headers: request.headers,
        signal,
        json: () => readJson(request.headers['content-type'], body),
        body: () => body,
      };
      await this.#send(await route.handler(call), response, signal, upgrade);
    } catch (error) {
      if (signal.aborted) response.destroy();
      else this.#refuse(request, response, error);
    }
  }

  async #send(
    reply: Reply,
    response: ServerResponse,
    signal: AbortSignal,
    upgrade: { socket: Socket; rest: Buffer } | undefined,
  ): Promise<void> {
    switch (reply.kind) {
      case 'json':
        response.writeHead(reply.status, { 'Content-Type': 'application/json', ...reply.headers });
        response.end(`${stringify(reply.value)}\n`);
        return;
      case 'text':
        response.writeHead(reply.status, { 'Content-Type': 'text/plain; charset=utf-8', ...reply.headers });
        response.end(reply.text);
        return;
      case 'empty':
        response.writeHead(reply.status, reply.headers);
        response.end();
        return;
      case 'hijack':
        if (upgrade !== undefined) {
          await this.#hijack(reply, response, signal, upgrade);
          return;
        }
        break;
    }
    // Nobody else reads a connection that was to be upgraded, and so notices that the client hangs up.
    upgrade?.socket.once('end', () => response.destroy()).resume();
    response.writeHead(200, { 'Content-Type': reply.contentType, ...(reply.kind === 'stream' && reply.headers) });
    response.flushHeaders();
    await reply.write(response, signal);
    response.end();
  }

  async #hijack(
    reply: Reply & { kind: 'hijack' },
    response: ServerResponse,
    signal: AbortSignal,
    { socket, rest }: { socket: Socket; rest: Buffer },
  ): Promise<void> {
    response.detachSocket(socket);
    socket.write(
      `HTTP/1.1 101 UPGRADED\r\nContent-Type: ${reply.contentType}\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nApi-Version: ${apiVersion}\r\nOstype: linux\r\n\r\n`,
    );
    if (rest.length > 0) socket.unshift(rest);
    try {
      await reply.session(socket, signal);
    } catch (error) {
      this.#engine.logger.warn({ error: errorText(error) }, 'attached session failed');
    } finally {
      // A client that has read all and never closes its half would keep the connection.
      socket.end(() => {
        const cut = setTimeout(() => socket.destroy(), closeGraceMs);
        socket.once('close', () => clearTimeout(cut));
      });
    }
  }

  /** Answers with an error; a body under way can only be cut. */
  #refuse(request: IncomingMessage, response: ServerResponse, error: unknown): void {
    const status = httpStatus(error);
    const level = error instanceof SkeinError ? 'debug' : 'error';
    this.#engine.logger[level](
      { method: request.method, url: request.url, status, error: errorText(error) },
      'refused',
    );
    if (response.headersSent || response.destroyed) {
      response.destroy();
      return;
    }
    if (status === 304) {
      response.writeHead(status).end();
      return;
    }
    response.writeHead(status, { 'Content-Type': 'application/json' });
    response.end(`${stringify({ message: errorText(error) })}\n`);
  }
}
