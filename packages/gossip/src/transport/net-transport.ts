import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { connect, createServer, isIPv6, type Server, type Socket } from 'node:net';
import { type Logger, silentLogger } from '../runtime/index.ts';
import { type Address, formatAddress } from '../wire/index.ts';
import type { Stream, Transport } from './types.ts';

/** Opens the sockets of a `NetTransport`; another one opens them in another network namespace. */
export interface SocketFactory {
  /** A bound UDP socket, of the address's family only. */
  bindUdp(address: Address): Promise<UdpSocket>;
  /** A listening TCP server, of the address's family only. */
  listenTcp(address: Address): Promise<Server>;
  /** A connecting (or connected) TCP socket. */
  connectTcp(to: Address): Socket;
}

/**
 * Connections that the kernel takes while this process is busy or stopped (Linux: net.core.somaxconn, 4096 by default).
 * When they are too many it answers no more, and peers take the host for dead.
 */
const BACKLOG = 4_096;

/** Sockets in the network namespace of the process. */
export const systemSockets: SocketFactory = {
  async bindUdp({ host, port }) {
    const socket = createSocket({ type: isIPv6(host) ? 'udp6' : 'udp4', ipv6Only: isIPv6(host) });
    try {
      const bound = once(socket, 'listening');
      socket.bind(port, host);
      await bound;
      return socket;
    } catch (error) {
      socket.close();
      throw error;
    }
  },
  async listenTcp({ host, port }) {
    const server = createServer();
    const listening = once(server, 'listening');
    server.listen({ host, port, backlog: BACKLOG, ipv6Only: isIPv6(host) });
    await listening;
    return server;
  },
  connectTcp: (to) => connect({ host: to.host, port: to.port }),
};

/** More open connections than memberlist takes push/pulls at a time (128): the protocol refuses above its own bound. */
const MAX_CONNECTIONS = 256;
/** An ephemeral TCP port that is taken for UDP, or in the other family, is tried again this often. */
const PORT_ATTEMPTS = 10;
/** As in Go, either of them stands for all addresses of both families. */
const ALL_ADDRESSES: readonly string[] = ['0.0.0.0', '::'];

export interface NetTransportOptions {
  /** IP to bind; `0.0.0.0` and `::` are all addresses of both families. */
  readonly host: string;
  /** UDP and TCP port; 0 takes a free one. */
  readonly port: number;
  readonly sockets?: SocketFactory;
  readonly logger?: Logger;
}

/** What one address is listened to with. */
interface Listeners {
  readonly udp: UdpSocket;
  readonly server: Server;
  readonly port: number;
}

/** Real UDP and TCP sockets, all on one port. Make it with `NetTransport.open`; `close` ends it. */
export class NetTransport implements Transport {
  readonly address: Address;
  /** One or two: of each family its own, so that no address is a mapped one. */
  readonly #listeners: readonly Listeners[];
  readonly #sockets: SocketFactory;
  readonly #logger: Logger;
  /** BOUNDED by MAX_CONNECTIONS incoming ones of each family and by what the protocol dials. */
  readonly #open = new Set<Socket>();
  #closed = false;

  private constructor(listeners: readonly Listeners[], address: Address, sockets: SocketFactory, logger: Logger) {
    this.#listeners = listeners;
    this.address = address;
    this.#sockets = sockets;
    this.#logger = logger;
    for (const { udp, server } of listeners) {
      server.maxConnections = MAX_CONNECTIONS;
      udp.on('error', (error) => logger.warn('UDP socket error', { error }));
      server.on('error', (error) => logger.warn('TCP listener error', { error }));
    }
  }

  /** Binds the sockets; rejects with the system's error (EADDRINUSE, EACCES, …) and leaves nothing open then. */
  static async open(options: NetTransportOptions): Promise<NetTransport> {
    const { host, port, sockets = systemSockets, logger = silentLogger } = options;
    for (let attempt = 1; ; attempt++) {
      try {
        const listeners = await listen(sockets, host, port);
        return new NetTransport(listeners, { host, port: listeners[0]?.port ?? port }, sockets, logger);
      } catch (error) {
        if (port !== 0 || attempt >= PORT_ATTEMPTS) throw error;
      }
    }
  }

  sendPacket(to: Address, bytes: Uint8Array): void {
    if (this.#closed) return;
    const family = isIPv6(to.host) ? 'IPv6' : 'IPv4';
    const from = this.#listeners.find(({ udp }) => udp.address().family === family) ?? this.#listeners[0];
    from?.udp.send(bytes, to.port, to.host, (error) => {
      if (error) this.#logger.debug('packet not sent', { to: formatAddress(to), error });
    });
  }

  onPacket(handler: (from: Address, bytes: Uint8Array) => void): void {
    for (const { udp } of this.#listeners)
      udp.on('message', (bytes, from) => handler({ host: from.address, port: from.port }, bytes));
  }

  async dial(to: Address, signal: AbortSignal): Promise<Stream> {
    signal.throwIfAborted();
    if (this.#closed) throw closedError();
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
    for (const { server } of this.#listeners)
      server.on('connection', (socket) => {
        handler(this.#adopt(socket, { host: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 }));
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
    const closed = Promise.all(this.#listeners.map(closeListeners));
    // With an error: without one who waits for a connection would hear nothing.
    for (const socket of this.#open) socket.destroy(closedError());
    await closed;
  }
}

const closedError = (): Error => new Error('the transport is closed');

/** Listens to the address, or to all of both families, one after the other at the same port. */
async function listen(sockets: SocketFactory, host: string, port: number): Promise<Listeners[]> {
  const listeners: Listeners[] = [];
  let missing: unknown;
  try {
    for (const each of ALL_ADDRESSES.includes(host) ? ALL_ADDRESSES : [host]) {
      try {
        listeners.push(await listenAt(sockets, { host: each, port: listeners[0]?.port ?? port }));
      } catch (error) {
        if (!isMissingFamily(error)) throw error;
        missing = error;
      }
    }
    if (listeners.length === 0) throw missing;
    return listeners;
  } catch (error) {
    await Promise.all(listeners.map(closeListeners));
    throw error;
  }
}

async function listenAt(sockets: SocketFactory, { host, port }: Address): Promise<Listeners> {
  const server = await sockets.listenTcp({ host, port });
  // Nobody is taken in before the protocol is there to serve him: he would stay, unknown to `close`.
  server.maxConnections = 0;
  const bound = server.address();
  const boundPort = bound !== null && typeof bound === 'object' ? bound.port : port;
  try {
    return { udp: await sockets.bindUdp({ host, port: boundPort }), server, port: boundPort };
  } catch (error) {
    server.close();
    throw error;
  }
}

/** The kernel has no IPv6, or no IPv4. */
function isMissingFamily(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'EAFNOSUPPORT';
}

async function closeListeners({ udp, server }: Listeners): Promise<void> {
  const closed = Promise.all([once(udp, 'close'), once(server, 'close')]);
  udp.close();
  server.close();
  await closed;
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
