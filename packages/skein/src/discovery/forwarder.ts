/**
 * Asks other servers what is not ours: the client's bytes under an ID of our own, from a port of our own, with a
 * time-out for each server and a bound on all (docs/protocols.md, "Forwarding").
 */
import { randomInt } from 'node:crypto';
import { connectTcpIn, type NetworkNamespace, udpClientIn } from '@skein/netlink';
import { headerSize, isResponseTo, type Query, responseCode, responseCodeOf, withId } from './message.ts';
import { Slots } from './slots.ts';
import { frame, MessageReader } from './tcp-messages.ts';

export type Transport = 'udp' | 'tcp';

/** A server to ask, and the namespace to ask it from. */
export interface Upstream {
  readonly address: string;
  readonly port: number;
  readonly namespace: NetworkNamespace;
}

/** What became of a query. */
export type ForwardResult =
  | { readonly type: 'answer'; readonly message: Uint8Array }
  /** No server answered, or there is none. */
  | { readonly type: 'failed' }
  /** Too many are under way. */
  | { readonly type: 'busy' };

/** As many servers as a resolv.conf can name (resolv.conf(5)). */
const maximumServers = 3;
/** libnetwork resolver.go: extIOTimeout and maxConcurrent. */
const defaultTimeoutMs = 4000;
const maximumInFlight = 1024;
const idRange = 0x10000;

export class Forwarder {
  readonly #timeoutMs: number;
  readonly #slots: Slots;

  constructor(timeoutMs = defaultTimeoutMs) {
    this.#timeoutMs = timeoutMs;
    this.#slots = new Slots({ slots: maximumInFlight, maximumWaiters: maximumInFlight, patienceMs: timeoutMs });
  }

  /**
   * Asks the servers in order, by the client's own transport. The next one is asked when a server does not answer in
   * time, fails (SERVFAIL) or refuses; every other answer is the answer, and carries the query's ID.
   */
  async forward(
    query: Query,
    message: Uint8Array,
    upstreams: readonly Upstream[],
    transport: Transport,
    signal: AbortSignal,
  ): Promise<ForwardResult> {
    if (upstreams.length === 0) return { type: 'failed' };
    const release = await this.#slots.take();
    if (release === undefined) return { type: 'busy' };
    try {
      for (const upstream of upstreams.slice(0, maximumServers)) {
        if (signal.aborted) break;
        const answer = await this.#ask(upstream, query, message, transport, signal);
        if (answer !== undefined && !isRefusal(answer)) return { type: 'answer', message: withId(answer, query.id) };
      }
      return { type: 'failed' };
    } finally {
      release();
    }
  }

  /** @returns the server's answer, undefined if there was none in time. */
  async #ask(
    upstream: Upstream,
    query: Query,
    message: Uint8Array,
    transport: Transport,
    signal: AbortSignal,
  ): Promise<Uint8Array | undefined> {
    const id = randomInt(idRange);
    const exchange = transport === 'udp' ? askByUdp : askByTcp;
    const limit = AbortSignal.any([signal, AbortSignal.timeout(this.#timeoutMs)]);
    try {
      return await exchange(
        upstream,
        withId(message, id),
        (answer) => isResponseTo(answer, id, query.questionBytes),
        limit,
      );
    } catch {
      // Unreachable, refused, broken off or too late: all the same to the caller, who asks the next server.
      return undefined;
    }
  }
}

function isRefusal(answer: Uint8Array): boolean {
  const code = responseCodeOf(answer);
  return code === responseCode.serverFailure || code === responseCode.refused;
}

/** The socket is connected, so the kernel drops what others send to it. */
async function askByUdp(
  { address, port, namespace }: Upstream,
  message: Uint8Array,
  isAnswer: (answer: Uint8Array) => boolean,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const socket = await udpClientIn(namespace, { address, port });
  try {
    const { promise, resolve, reject } = Promise.withResolvers<Uint8Array>();
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    socket.on('error', reject);
    socket.on('message', (answer) => {
      if (isAnswer(answer)) resolve(answer);
    });
    signal.throwIfAborted();
    socket.send(message);
    return await promise;
  } finally {
    socket.close();
  }
}

async function askByTcp(
  { address, port, namespace }: Upstream,
  message: Uint8Array,
  isAnswer: (answer: Uint8Array) => boolean,
  signal: AbortSignal,
): Promise<Uint8Array> {
  const socket = await connectTcpIn(namespace, { address, port, signal });
  const abort = (): void => void socket.destroy(new Error('too late'));
  signal.addEventListener('abort', abort, { once: true });
  try {
    signal.throwIfAborted();
    socket.write(frame(message));
    const reader = new MessageReader();
    for await (const chunk of socket) {
      for (const answer of reader.read(chunk as Uint8Array))
        if (answer.length >= headerSize && isAnswer(answer)) return answer;
    }
    throw new Error('the server closed the connection');
  } finally {
    signal.removeEventListener('abort', abort);
    socket.destroy();
  }
}
