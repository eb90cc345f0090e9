/**
 * One netlink socket and the request/answer discipline on it. All calls are synchronous: a request costs about 20 µs,
 * the kernel answers before `send` returns.
 */
import { closeSync } from 'node:fs';
import { NetlinkError, SystemError } from '../errors.ts';
import { AF_NETLINK, MSG_TRUNC, SO_RCVTIMEO, SOCK_CLOEXEC, SOCK_RAW, SOL_SOCKET } from '../kernel/constants.ts';
import { receive, send, setSocketOption, socket } from '../kernel/libc.ts';
import type { NetworkNamespace } from '../namespace.ts';
import {
  decodeDone,
  decodeError,
  decodeMessages,
  encodeMessage,
  type Message,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_OVERRUN,
  type Outcome,
} from '../wire/message.ts';

// linux/netlink.h
export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;
export const SOL_NETLINK = 270;
const NETLINK_CAP_ACK = 10;
const NETLINK_EXT_ACK = 11;
const NETLINK_GET_STRICT_CHK = 12;

/** The kernel's dumps come in datagrams of at most 32 KiB; a link with very many attributes may be larger. */
const RECEIVE_BUFFER = 256 * 1024;
/** A dump that changes under our hands is read again this many times before the caller hears of it. */
const MAX_DUMP_ATTEMPTS = 10;
/** The kernel answers at once; this is the bound for a broken kernel or filter. */
const ANSWER_TIMEOUT_SECONDS = 5n;
const EINTR = 4;
const EMSGSIZE = 90;
const ENOBUFS = 105;

/** Shared by all connections of the thread: between send and the last answer no other code runs. */
const buffer = new Uint8Array(RECEIVE_BUFFER);

export interface Request {
  /** Message type: RTM_…, or subsystem and message of netfilter. */
  readonly type: number;
  /** NLM_F_REPLACE, NLM_F_CREATE, …; NLM_F_REQUEST and NLM_F_ACK are added. */
  readonly flags?: number;
  readonly payload: Uint8Array;
  /** For errors: 'RTM_NEWLINK br0'. */
  readonly operation: string;
}

export class NetlinkConnection implements Disposable {
  readonly #fd: number;
  #sequence = 0;
  #open = true;

  private constructor(fd: number) {
    this.#fd = fd;
  }

  /** Opens a netlink socket in the namespace (default: the calling thread's), for life. @param protocol NETLINK_… */
  static open(namespace?: NetworkNamespace, protocol = NETLINK_ROUTE): NetlinkConnection {
    const create = () => socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
    const fd = namespace ? namespace.run(create) : create();
    try {
      setSocketOption(fd, SOL_NETLINK, NETLINK_CAP_ACK, 1);
      setSocketOption(fd, SOL_NETLINK, NETLINK_EXT_ACK, 1);
      setSocketOption(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1);
      // struct timeval { long seconds; long microseconds; }
      const timeval = new BigInt64Array([ANSWER_TIMEOUT_SECONDS, 0n]);
      setSocketOption(fd, SOL_SOCKET, SO_RCVTIMEO, new Uint8Array(timeval.buffer));
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    return new NetlinkConnection(fd);
  }

  /** Sends a request and returns the messages that answer it (none, for a change). Throws NetlinkError. */
  request(request: Request): Message[] {
    const sequence = this.#send(request, NLM_F_ACK);
    const answers: Message[] = [];
    for (;;) {
      for (const message of this.#receive(request.operation, sequence)) {
        if (message.type === NLMSG_ERROR) {
          check(request.operation, decodeError(message));
          return answers;
        }
        answers.push({ ...message, payload: new Uint8Array(message.payload) });
      }
    }
  }

  /**
   * Dumps a table. A dump during which the table changed is inconsistent; it is repeated, a bounded number of times,
   * and then fails with EINTR. Throws NetlinkError.
   */
  dump(request: Request): Message[] {
    for (let attempt = 0; attempt < MAX_DUMP_ATTEMPTS; attempt++) {
      const answers = this.#dumpOnce(request);
      if (answers) return answers;
    }
    throw new NetlinkError(request.operation, EINTR, `the table changed during ${MAX_DUMP_ATTEMPTS} dumps`);
  }

  #dumpOnce(request: Request): Message[] | undefined {
    const sequence = this.#send(request, NLM_F_DUMP);
    const answers: Message[] = [];
    let interrupted = false;
    for (;;) {
      for (const message of this.#receive(request.operation, sequence)) {
        if ((message.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true;
        if (message.type === NLMSG_ERROR) check(request.operation, decodeError(message));
        else if (message.type === NLMSG_DONE) {
          check(request.operation, decodeDone(message));
          return interrupted ? undefined : answers;
        } else answers.push({ ...message, payload: new Uint8Array(message.payload) });
      }
    }
  }

  #send(request: Request, flags: number): number {
    if (!this.#open) throw new TypeError('the netlink connection is closed');
    this.#sequence = (this.#sequence + 1) >>> 0;
    const message = {
      ...request,
      flags: NLM_F_REQUEST | flags | (request.flags ?? 0),
      sequence: this.#sequence,
      port: 0,
    };
    send(this.#fd, encodeMessage(message));
    return this.#sequence;
  }

  /** The messages of one datagram that belong to the request; late answers to an abandoned one are dropped. */
  #receive(operation: string, sequence: number): Message[] {
    const length = this.#receiveDatagram(operation);
    if (length > buffer.length) throw new NetlinkError(operation, EMSGSIZE, `the kernel's answer has ${length} bytes`);
    const messages = decodeMessages(buffer.subarray(0, length)).filter((message) => message.sequence === sequence);
    if (messages.some((message) => message.type === NLMSG_OVERRUN)) throw new NetlinkError(operation, ENOBUFS);
    return messages;
  }

  #receiveDatagram(operation: string): number {
    try {
      return receive(this.#fd, buffer, MSG_TRUNC);
    } catch (error) {
      throw error instanceof SystemError ? new NetlinkError(operation, error.errno) : error;
    }
  }

  /** Closes the socket. Safe to repeat. */
  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.#fd);
  }
}

function check(operation: string, { errno, extendedAck, offset }: Outcome): void {
  if (errno !== 0) throw new NetlinkError(operation, errno, extendedAck, offset);
}
