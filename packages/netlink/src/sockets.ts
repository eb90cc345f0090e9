/**
 * UDP and TCP sockets of another network namespace, as Node's own objects.
 *
 * A socket belongs for life to the namespace in which it was made. Each function here makes, binds and connects it
 * inside one synchronous `NetworkNamespace.run`, then gives the descriptor to Node, which reads, writes and closes it
 * from then on: whoever holds the returned object closes it, and must not close the descriptor. A descriptor made
 * before an error is closed here.
 */
import { createSocket, type Socket as DatagramSocket, type SocketOptions } from 'node:dgram';
import { lookup } from 'node:dns';
import { once } from 'node:events';
import { closeSync } from 'node:fs';
import { createServer, isIP, type Server, Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode, SystemError } from './errors.ts';
import { familyOf } from './ip.ts';
import {
  AF_INET,
  AF_INET6,
  IPPROTO_IPV6,
  IPV6_V6ONLY,
  POLLOUT,
  SO_ERROR,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
} from './kernel/constants.ts';
import { bind, connect, getSocketOption, listen, poll, setSocketOption, socket } from './kernel/libc.ts';
import { inetAddress } from './kernel/sockaddr.ts';
import type { NetworkNamespace } from './namespace.ts';

export interface BindOptions {
  /** A local address of the namespace, '0.0.0.0' or '::' (which is IPv6 only here). Its family is the socket's. */
  readonly address: string;
  /** 0 lets the kernel choose. */
  readonly port: number;
  /** SO_REUSEADDR. Default false for UDP, true for TCP servers. */
  readonly reuseAddress?: boolean | undefined;
  /** SO_REUSEPORT: several sockets share the port. Default false. */
  readonly reusePort?: boolean | undefined;
}

export interface ConnectOptions {
  readonly address: string;
  readonly port: number;
  /** Local address to connect from. */
  readonly localAddress?: string | undefined;
  /** Default 10,000. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** Node's default for `server.listen`. */
const DEFAULT_BACKLOG = 511;
const DEFAULT_CONNECT_TIMEOUT_MS = 10_000;
/** A connection is looked for after 1 ms, then after twice as long each time, up to this. */
const MAX_CONNECT_POLL_MS = 25;
const ETIMEDOUT = 110;

/**
 * A UDP socket bound in the namespace, listening when the promise resolves.
 * @throws SystemError EADDRINUSE, EADDRNOTAVAIL
 */
export async function udpSocketIn(namespace: NetworkNamespace, options: BindOptions): Promise<DatagramSocket> {
  const fd = openBound(namespace, SOCK_DGRAM, options);
  const datagrams = createSocket({ type: familyOf(options.address) === 'ipv4' ? 'udp4' : 'udp6', lookup: literal });
  return withDescriptor(fd, async () => {
    const listening = once(datagrams, 'listening');
    datagrams.bind({ fd });
    await listening;
    return datagrams;
  });
}

/** An address is its own name. Node's look-up would put off each datagram to the next tick. */
const literal: NonNullable<SocketOptions['lookup']> = (address, options, callback) => {
  if (isIP(address) === 0) lookup(address, options, callback);
  else callback(null, address, isIP(address));
};

/** A UDP socket in the namespace, connected to one peer: `send(data)` needs no address, and errors arrive. */
export async function udpClientIn(
  namespace: NetworkNamespace,
  remote: { address: string; port: number; localAddress?: string },
): Promise<DatagramSocket> {
  const address = remote.localAddress ?? (familyOf(remote.address) === 'ipv4' ? '0.0.0.0' : '::');
  const datagrams = await udpSocketIn(namespace, { address, port: 0 });
  try {
    const connected = once(datagrams, 'connect');
    datagrams.connect(remote.port, remote.address);
    await connected;
    return datagrams;
  } catch (error) {
    datagrams.close();
    throw error;
  }
}

/**
 * The descriptor of a TCP socket that listens in the namespace, for any server's `listen({ fd })` (net, http, http2,
 * tls), which then owns it, and listens once more: with its own backlog, not this one. Until then the caller owns it.
 * @throws SystemError EADDRINUSE, EADDRNOTAVAIL
 */
export function tcpListenerIn(namespace: NetworkNamespace, options: BindOptions & { backlog?: number }): number {
  const fd = openBound(namespace, SOCK_STREAM, { ...options, reuseAddress: options.reuseAddress ?? true });
  return closeOnError(fd, () => {
    listen(fd, options.backlog ?? DEFAULT_BACKLOG);
    return fd;
  });
}

/** A `net.Server` that listens in the namespace when the promise resolves. */
export async function tcpServerIn(
  namespace: NetworkNamespace,
  options: BindOptions & { backlog?: number },
  onConnection?: (connection: Socket) => void,
): Promise<Server> {
  const fd = tcpListenerIn(namespace, options);
  const server = createServer(onConnection);
  return withDescriptor(fd, async () => {
    const listening = once(server, 'listening');
    // Node listens once more.
    server.listen({ fd }, options.backlog ?? DEFAULT_BACKLOG);
    await listening;
    return server;
  });
}

/**
 * A TCP connection made from the namespace.
 * @throws SystemError ECONNREFUSED, ENETUNREACH, ETIMEDOUT, …; AbortError, with the signal's reason as cause.
 */
export async function connectTcpIn(namespace: NetworkNamespace, options: ConnectOptions): Promise<Socket> {
  const { address, port, localAddress, signal } = options;
  signal?.throwIfAborted();
  const operation = `connect ${address} port ${port}`;
  const fd = namespace.run(() => open(SOCK_STREAM, address));
  return withDescriptor(fd, async () => {
    if (localAddress !== undefined) bind(fd, inetAddress(localAddress, 0), `bind ${localAddress}`);
    try {
      connect(fd, inetAddress(address, port), operation);
    } catch (error) {
      if (!hasCode(error, 'EINPROGRESS')) throw error;
      await connected(fd, operation, Date.now() + (options.timeoutMs ?? DEFAULT_CONNECT_TIMEOUT_MS), signal);
    }
    return new Socket({ fd, readable: true, writable: true });
  });
}

/** Waits until a connection attempt has ended; throws its error. */
async function connected(fd: number, operation: string, deadline: number, signal?: AbortSignal): Promise<void> {
  for (let delay = 1; poll(fd, POLLOUT, 0) === 0; delay = Math.min(delay * 2, MAX_CONNECT_POLL_MS)) {
    const left = deadline - Date.now();
    if (left <= 0) throw new SystemError(operation, ETIMEDOUT);
    await sleep(Math.min(delay, left), undefined, { signal });
  }
  const [errno = 0] = new Int32Array(getSocketOption(fd, SOL_SOCKET, SO_ERROR, 4).slice().buffer);
  if (errno !== 0) throw new SystemError(operation, errno);
}

function open(type: number, address: string): number {
  const domain = familyOf(address) === 'ipv4' ? AF_INET : AF_INET6;
  return socket(domain, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

function openBound(namespace: NetworkNamespace, type: number, options: BindOptions): number {
  const { address, port } = options;
  return namespace.run(() => {
    const fd = open(type, address);
    return closeOnError(fd, () => {
      if (options.reuseAddress) setSocketOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
      if (options.reusePort) setSocketOption(fd, SOL_SOCKET, SO_REUSEPORT, 1);
      if (familyOf(address) === 'ipv6') setSocketOption(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
      bind(fd, inetAddress(address, port), `bind ${address} port ${port}`);
      return fd;
    });
  });
}

function closeOnError<T>(fd: number, action: () => T): T {
  try {
    return action();
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** As closeOnError, for steps that end with Node owning the descriptor. */
async function withDescriptor<T>(fd: number, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}
