/**
 * A published port for clients of IPv6, where rules do not lead them (ADR 0010): the daemon takes what comes to the host's
 * IPv6 addresses and passes it to an address of IPv4, as Docker's proxy does. What is under way ends with the daemon.
 */
import type { Socket as DatagramSocket, RemoteInfo } from 'node:dgram';
import type { Server, Socket } from 'node:net';
import { pipeline } from 'node:stream';
import { connectTcpIn, type NetworkNamespace, tcpServerIn, udpClientIn, udpSocketIn } from '@skein/netlink';

const connectTimeoutMs = 10_000;
/** A peer that is silent for so long is asked whether it is still there (Go's net.ListenConfig, under Docker's proxy). */
const keepAliveMs = 15_000;
/** A datagram conversation is over after so long a silence, as for the kernel's connection tracking. */
const silenceMs = 120_000;
/** Connections, and conversations, of one port. */
const maximumClients = 4096;

/** An address and a port there. */
export interface RelayEnd {
  /** Plain address. */
  readonly address: string;
  readonly port: number;
}

/** What passes on; it holds its port of the host while it is open. */
export interface Ipv6Relay extends Disposable {
  readonly port: number;
}

/**
 * Passes what comes to `from` (of IPv6; port 0: a free one) on to `to`.
 * @throws SystemError EADDRINUSE when the port is another program's, EADDRNOTAVAIL or EAFNOSUPPORT without IPv6.
 */
export async function openIpv6Relay(
  host: NetworkNamespace,
  protocol: 'tcp' | 'udp',
  from: RelayEnd,
  to: RelayEnd,
): Promise<Ipv6Relay> {
  const relay = protocol === 'tcp' ? new ConnectionRelay(host, to) : new DatagramRelay(host, to);
  await relay.listen(from);
  return relay;
}

class ConnectionRelay implements Ipv6Relay {
  readonly #host: NetworkNamespace;
  readonly #to: RelayEnd;
  #server: Server | undefined;
  /** Both sides. BOUNDED by `maximumClients`. */
  readonly #sockets = new Set<Socket>();

  constructor(host: NetworkNamespace, to: RelayEnd) {
    this.#host = host;
    this.#to = to;
  }

  get port(): number {
    const address = this.#server?.address();
    return typeof address === 'object' ? (address?.port ?? 0) : 0;
  }

  async listen(from: RelayEnd): Promise<void> {
    this.#server = await tcpServerIn(this.#host, from, (client) => {
      void this.#relay(client);
    });
    this.#server.maxConnections = maximumClients;
    this.#server.unref();
  }

  [Symbol.dispose](): void {
    this.#server?.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  async #relay(client: Socket): Promise<void> {
    this.#watch(client);
    try {
      const server = await connectTcpIn(this.#host, { ...this.#to, timeoutMs: connectTimeoutMs });
      this.#watch(server);
      if (client.destroyed) return void server.destroy();
      // The one end's last word is not the other's.
      const end = (error: unknown): void => {
        if (error) for (const socket of [client, server]) socket.destroy();
      };
      pipeline(client, server, end);
      pipeline(server, client, end);
    } catch {
      // Nobody is behind the port: the client is told as without a relay.
      client.resetAndDestroy();
    }
  }

  #watch(socket: Socket): void {
    socket.allowHalfOpen = true;
    socket.setKeepAlive(true, keepAliveMs);
    this.#sockets.add(socket);
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#sockets.delete(socket));
  }
}

/** One client's way to the port of IPv4. */
interface Conversation {
  readonly socket: Promise<DatagramSocket>;
  readonly timer: NodeJS.Timeout;
}

class DatagramRelay implements Ipv6Relay {
  readonly #host: NetworkNamespace;
  readonly #to: RelayEnd;
  #socket: DatagramSocket | undefined;
  /** By the client's address and port. BOUNDED by `maximumClients`. */
  readonly #conversations = new Map<string, Conversation>();

  constructor(host: NetworkNamespace, to: RelayEnd) {
    this.#host = host;
    this.#to = to;
  }

  get port(): number {
    return this.#socket?.address().port ?? 0;
  }

  async listen(from: RelayEnd): Promise<void> {
    this.#socket = await udpSocketIn(this.#host, from);
    this.#socket.on('message', (data, client) => void this.#relay(data, client));
    // An answer that cannot be sent is a lost datagram.
    this.#socket.on('error', () => undefined);
    this.#socket.unref();
  }

  [Symbol.dispose](): void {
    this.#socket?.close();
    this.#socket = undefined;
    for (const key of [...this.#conversations.keys()]) this.#end(key);
  }

  async #relay(data: Buffer, client: RemoteInfo): Promise<void> {
    const key = `${client.address} ${client.port}`;
    const known = this.#conversations.get(key);
    if (known === undefined && this.#conversations.size >= maximumClients) return;
    const conversation = known ?? this.#begin(key, client);
    conversation.timer.refresh();
    try {
      (await conversation.socket).send(data);
    } catch {
      // A datagram may get lost; the next begins anew.
      this.#end(key);
    }
  }

  #begin(key: string, client: RemoteInfo): Conversation {
    const open = async (): Promise<DatagramSocket> => {
      const socket = await udpClientIn(this.#host, this.#to);
      // Who names no port wants no answer (RFC 768); Node throws where one is sent to him.
      if (client.port !== 0) {
        socket.on('message', (answer) => this.#socket?.send(answer, client.port, client.address));
      }
      socket.on('error', () => this.#end(key));
      socket.unref();
      return socket;
    };
    const conversation = { socket: open(), timer: setTimeout(() => this.#end(key), silenceMs).unref() };
    this.#conversations.set(key, conversation);
    return conversation;
  }

  #end(key: string): void {
    const conversation = this.#conversations.get(key);
    if (conversation === undefined) return;
    this.#conversations.delete(key);
    clearTimeout(conversation.timer);
    conversation.socket.then(
      (socket) => socket.close(),
      () => undefined,
    );
  }
}
