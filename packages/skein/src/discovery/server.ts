/** The DNS server in one container's namespace: 127.0.0.11, UDP and TCP, port 53 by way of `redirect.ts`. */
import type { Socket as DatagramSocket, RemoteInfo } from 'node:dgram';
import type { Server, Socket } from 'node:net';
import { hasCode, type NetworkNamespace, tcpServerIn, udpSocketIn } from '@skein/netlink';
import { errorText, type Logger } from '../common/index.ts';
import type { ManagedTable } from '../nftables/index.ts';
import { resolverAddress } from './files.ts';
import type { Transport } from './forwarder.ts';
import {
  DnsMessageError,
  decodeQuery,
  encodeFailure,
  encodeReply,
  type Query,
  type Reply,
  truncate,
  udpLimit,
} from './message.ts';
import { openRedirect, type Redirection, redirectedPorts } from './redirect.ts';
import { frame, MessageReader } from './tcp-messages.ts';

/** The port at which containers ask. */
const domainPort = 53;
/** Per container: connections, queries under way on one of them, and how long one may be idle. */
const maximumConnections = 128;
const maximumPipelined = 64;
const idleTimeoutMs = 10_000;
/** A TCP message's length has two bytes. */
const tcpLimit = 0xffff;

/** What a query comes to: our own reply, or the bytes that another server answered. */
export type Outcome =
  | { readonly type: 'reply'; readonly reply: Reply }
  | { readonly type: 'forwarded'; readonly message: Uint8Array };

/** Finds what to answer, at once where it is our own to say. */
export type Handler = (
  query: Query,
  message: Uint8Array,
  transport: Transport,
  signal: AbortSignal,
) => Outcome | Promise<Outcome>;

export class DnsServer implements Disposable {
  readonly #udp: DatagramSocket;
  readonly #tcp: Server;
  readonly #redirect: ManagedTable<Redirection>;
  readonly #handler: Handler;
  readonly #logger: Logger;
  readonly #closed = new AbortController();
  /** BOUNDED by `maximumConnections`. */
  readonly #connections = new Set<Socket>();

  private constructor(
    udp: DatagramSocket,
    tcp: Server,
    redirect: ManagedTable<Redirection>,
    handler: Handler,
    logger: Logger,
  ) {
    this.#udp = udp;
    this.#tcp = tcp;
    this.#redirect = redirect;
    this.#handler = handler;
    this.#logger = logger;
    tcp.maxConnections = maximumConnections;
    udp.on('message', (message, sender) => this.#answerDatagram(message, sender));
    udp.on('error', (error) => logger.warn({ error: errorText(error) }, 'DNS socket'));
    tcp.on('error', (error) => logger.warn({ error: errorText(error) }, 'DNS listener'));
    tcp.on('connection', (connection) => this.#serve(connection));
  }

  /**
   * Binds in the namespace, at the ports of an earlier server there if they are free, and leads queries to them. The
   * namespace must be open until the server is disposed.
   * @throws SystemError, NftablesError.
   */
  static async listen(namespace: NetworkNamespace, handler: Handler, logger: Logger): Promise<DnsServer> {
    await using made = new AsyncDisposableStack();
    const redirect = made.use(openRedirect(namespace));
    const known = redirectedPorts(redirect.read());
    const udp = await bindAt(known?.udp, (port) => udpSocketIn(namespace, { address: resolverAddress, port }));
    made.defer(() => void udp.close());
    const tcp = await bindAt(known?.tcp, (port) => tcpServerIn(namespace, { address: resolverAddress, port }));
    made.defer(() => void tcp.close());
    const server = new DnsServer(udp, tcp, redirect, handler, logger);
    server.ensureRedirect();
    made.move();
    return server;
  }

  /** Leads queries in the namespace to this server, if they are not led there already. */
  ensureRedirect(): void {
    const server = { udp: this.#udp.address().port, tcp: portOf(this.#tcp) };
    this.#redirect.apply({ address: resolverAddress, port: domainPort, server });
  }

  removeRedirect(): void {
    this.#redirect.remove();
  }

  /** Puts right what somebody else did to the rules. @returns whether there was something. */
  repair(): boolean {
    return this.#redirect.repair();
  }

  [Symbol.dispose](): void {
    if (this.#closed.signal.aborted) return;
    this.#closed.abort();
    this.#udp.close();
    this.#tcp.close();
    this.#redirect[Symbol.dispose]();
    for (const connection of this.#connections) connection.destroy();
  }

  #answerDatagram(message: Uint8Array, sender: RemoteInfo): void {
    // Who names no port wants no answer (RFC 768); Node throws where one is sent to him.
    if (sender.port === 0) return;
    this.#answer(message, 'udp', (answer) => {
      if (answer !== undefined && !this.#closed.signal.aborted) this.#udp.send(answer, sender.port, sender.address);
    });
  }

  #serve(connection: Socket): void {
    this.#connections.add(connection);
    connection.on('close', () => this.#connections.delete(connection));
    connection.on('error', () => connection.destroy());
    connection.setTimeout(idleTimeoutMs, () => connection.destroy());
    const reader = new MessageReader();
    /** BOUNDED by what one chunk holds: nothing is read while there are any. */
    const waiting: Uint8Array[] = [];
    let pending = 0;
    let isProceeding = false;
    /** Answers as long as the client takes the answers, then reads on. */
    const proceed = (): void => {
      if (isProceeding) return;
      isProceeding = true;
      while (pending < maximumPipelined && !connection.writableNeedDrain) {
        const message = waiting.shift();
        if (message === undefined) break;
        pending += 1;
        this.#answer(message, 'tcp', (answer) => {
          pending -= 1;
          if (answer !== undefined && connection.writable) connection.write(frame(answer));
          proceed();
        });
      }
      isProceeding = false;
      if (waiting.length > 0 || pending >= maximumPipelined) connection.pause();
      else connection.resume();
    };
    connection.on('drain', proceed);
    connection.on('data', (chunk) => {
      waiting.push(...reader.read(chunk));
      proceed();
    });
  }

  /** Calls `send` once with the answer, undefined for a message that deserves none. */
  #answer(message: Uint8Array, transport: Transport, send: (answer: Uint8Array | undefined) => void): void {
    let query: Query;
    try {
      query = decodeQuery(message);
    } catch (error) {
      if (!(error instanceof DnsMessageError)) throw error;
      send(error.code === undefined ? undefined : encodeFailure(message, error.code));
      return;
    }
    const limit = transport === 'udp' ? udpLimit(query) : tcpLimit;
    const fail = (error: unknown): void =>
      this.#logger.error({ name: query.question.name, error: errorText(error) }, 'DNS answer failed');
    try {
      const outcome = this.#handler(query, message, transport, this.#closed.signal);
      if (outcome instanceof Promise) outcome.then((late) => send(encodeOutcome(query, late, limit))).catch(fail);
      else send(encodeOutcome(query, outcome, limit));
    } catch (error) {
      fail(error);
    }
  }
}

function encodeOutcome(query: Query, outcome: Outcome, limit: number): Uint8Array {
  if (outcome.type === 'reply') return encodeReply(query, outcome.reply, limit);
  return outcome.message.length > limit ? truncate(outcome.message, query) : outcome.message;
}

/** Binds to the port wished for, or to any if that is taken. */
async function bindAt<T>(wished: number | undefined, bind: (port: number) => Promise<T>): Promise<T> {
  if (wished === undefined) return bind(0);
  try {
    return await bind(wished);
  } catch (error) {
    if (!hasCode(error, 'EADDRINUSE')) throw error;
    return bind(0);
  }
}

function portOf(server: Server): number {
  const bound = server.address();
  if (bound === null || typeof bound === 'string') throw new Error('a TCP server without a port');
  return bound.port;
}
