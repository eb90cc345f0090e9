import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, isIPv4, isIPv6, type Server, type Socket } from 'node:net';
import { type Logger, silentLogger } from '../runtime/index.ts';
import { type Address, formatAddress } from '../wire/index.ts';
import type { Stream, Transport } from './types.ts';

/** Opens the sockets of a `NetTransport`; another one opens them in another network namespace. */
export interface SocketFactory {
  /** A bound UDP socket. */
  bindUdp(address: Address): Promise<UdpSocket>;
  /** A listening TCP server. */
  listenTcp(address: Address): Promise<Server>;
  /** A connecting (or connected) TCP socket. */
  connectTcp(to: Address): Socket;
}

/** As in Go, either of them stands for all addresses of both families. */
const allAddresses: readonly string[] = ['0.0.0.0', '::'];

/**
 * Connections that the kernel takes while this process is busy or stopped (Linux: net.core.somaxconn, 4096 by default).
 * When they are too many it answers no more, and peers take the host for dead.
 */
const BACKLOG = 4_096;

/** Sockets in the network namespace of the process. */
export const systemSockets: SocketFactory = {
  bindUdp: ({ host, port }) => bindEither(host, (address) => bindUdp(address, port)),
  listenTcp: ({ host, port }) => bindEither(host, (address) => listenTcp(address, port)),
  connectTcp: (to) => connect({ host: to.host, port: to.port }),
};

/** A socket for all addresses is of IPv6 and takes IPv4 as well, unless the kernel has no IPv6. */
async function bindEither<T>(host: string, bind: (host: string) => Promise<T>): Promise<T> {
  if (!allAddresses.includes(host)) return bind(host);
  try {
    return await bind('::');
  } catch (error) {
    if (!(error instanceof Error && 'code' in error && error.code === 'EAFNOSUPPORT')) throw error;
    return bind('0.0.0.0');
  }
}

async function bindUdp(host: string, port: number): Promise<UdpSocket> {
  const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4');
  try {
    const bound = once(socket, 'listening');
    socket.bind(port, host);
    await bound;
    return socket;
  } catch (error) {
    socket.close();
    throw error;
  }
}

async function listenTcp(host: string, port: number): Promise<Server> {
  const server = createServer();
  const listening = once(server, 'listening');
  server.listen({ host, port, backlog: BACKLOG });
  await listening;
  return server;
}

/** What stands before an IPv4 address in a socket of IPv6 (RFC 4291 section 2.5.5.2). */
const mappedPrefix = '::ffff:';

const toMapped = (host: string): string => (isIPv4(host) ? `${mappedPrefix}${host}` : host);

function fromMapped(host: string): string {
  const plain = host.startsWith(mappedPrefix) ? host.slice(mappedPrefix.length) : host;
  return isIPv4(plain) ? plain : host;
}

/** More open connections than memberlist takes push/pulls at a time (128): the protocol refuses above its own bound. */
const MAX_CONNECTIONS = 256;
/** An ephemeral TCP port whose UDP twin is taken is tried again this often. */
const PORT_ATTEMPTS = 10;

export interface NetTransportOptions {
  /** IP to bind; `0.0.0.0` and `::` are all addresses of both families. */
  readonly host: string;
  /** UDP and TCP port; 0 takes a free one. */
  readonly port: number;
  readonly sockets?: SocketFactory;
  readonly logger?: Logger;
}

/** Real UDP and TCP sockets, both on one port. Make it with `NetTransport.open`; `close` ends it. */
export class NetTransport implements Transport {
  readonly address: Address;
  readonly #udp: UdpSocket;
  readonly #isUdp6: boolean;
  readonly #server: Server;
  readonly #sockets: SocketFactory;
  readonly #logger: Logger;
  /** BOUNDED by MAX_CONNECTIONS incoming ones and by what the protocol dials. */
  readonly #open = new Set<Socket>();
  #closed = false;

  private constructor(udp: UdpSocket, server: Server, address: Address, sockets: SocketFactory, logger: Logger) {
    this.#udp = udp;
    this.#isUdp6 = udp.address().family === 'IPv6';
    this.#server = server;
    this.address = address;
    this.#sockets = sockets;
    this.#logger = logger;
    server.maxConnections = MAX_CONNECTIONS;
    udp.on('error', (error) => logger.warn('UDP socket error', { error }));
    server.on('error', (error) => logger.warn('TCP listener error', { error }));
  }

  /** Binds both sockets; rejects with the system's error (EADDRINUSE, EACCES, …) and leaves nothing open then. */
  static async open(options: NetTransportOptions): Promise<NetTransport> {
    const { host, port, sockets = systemSockets, logger = silentLogger } = options;
    for (let attempt = 1; ; attempt++) {
      const server = await sockets.listenTcp({ host, port });
      const bound = server.address();
      const address = { host, port: bound !== null && typeof bound === 'object' ? bound.port : port };
      try {
        const udp = await sockets.bindUdp(address);
        return new NetTransport(udp, server, address, sockets, logger);
      } catch (error) {
        server.close();
        if (port !== 0 || attempt >= PORT_ATTEMPTS) throw error;
      }
    }
  }

  sendPacket(to: Address, bytes: Uint8Array): void {
    if (this.#closed) return;
    this.#udp.send(bytes, to.port, this.#isUdp6 ? toMapped(to.host) : to.host, (error) => {
      if (error) this.#logger.debug('packet not sent', { to: formatAddress(to), error });
    });
  }

  onPacket(handler: (from: Address, bytes: Uint8Array) => void): void {
    this.#udp.on('message', (bytes, from) => handler({ host: fromMapped(from.address), port: from.port }, bytes));
  }

  async dial(to: Address, signal: AbortSignal): Promise<Stream> {
    signal.throwIfAborted();
    const socket = this.#sockets.connectTcp(to);
    const stream = this.#adopt(socket, to);
    const abort = (): void => stream.destroy(signal.reason as Error);
    signal.addEventListener('abort', abort, { once: true });
    try {
      if (socket.connecting) await once(socket, 'connect');
      return stream;
    } catch (error) {
      socket.destroy();
      throw error;
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  onStream(handler: (stream: Stream) => void): void {
    this.#server.on('connection', (socket) => {
      handler(this.#adopt(socket, { host: fromMapped(socket.remoteAddress ?? ''), port: socket.remotePort ?? 0 }));
    });
  }

  #adopt(socket: Socket, remote: Address): Stream {
    this.#open.add(socket);
    socket.setNoDelay(true);
    socket.once('close', () => this.#open.delete(socket));
    return new SocketStream(socket, remote);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    const closed = Promise.all([once(this.#udp, 'close'), once(this.#server, 'close')]);
    this.#udp.close();
    this.#server.close();
    for (const socket of this.#open) socket.destroy();
    await closed;
  }
}

class SocketStream implements Stream {
  readonly remote: Address;
  readonly #socket: Socket;
  readonly #chunks: AsyncIterator<Buffer>;

  constructor(socket: Socket, remote: Address) {
    this.#socket = socket;
    this.remote = remote;
    // Reads and writes report the error; without a listener it would end the process.
    socket.on('error', () => {});
    this.#chunks = socket[Symbol.asyncIterator]();
  }

  async read(): Promise<Uint8Array | undefined> {
    const { done, value } = await this.#chunks.next();
    return done ? undefined : value;
  }

  write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.write(bytes, (error) => (error ? reject(error) : resolve()));
    });
  }

  end(): void {
    // Not `end`: a socket that nobody reads any more would never see the peer's end, and stay open.
    this.#socket.destroySoon();
  }

  destroy(reason?: Error): void {
    this.#socket.destroy(reason);
  }
}
