/**
 * Event-driven reading of datagram sockets of families that Node does not know (netlink).
 *
 * Node's event loop reads whatever descriptor its UDP handle has, but its public API accepts UDP descriptors only. So
 * a UDP socket is opened and handed over, and then its descriptor is made to name our socket (dup3) before the loop
 * first looks at it. The alternatives are a thread that sits in poll(2), and a timer.
 */
import { createSocket, type Socket } from 'node:dgram';
import { closeSync } from 'node:fs';
import { hasCode } from './errors.ts';
import { AF_INET, MSG_DONTWAIT, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK } from './kernel/constants.ts';
import { duplicateTo, receive, socket } from './kernel/libc.ts';

/** Datagrams thrown away after one overrun. BOUNDED: a sender that never pauses must not hold the event loop. */
const MAX_DISCARDED = 100_000;

export interface DatagramHandlers {
  message(datagram: Uint8Array): void;
  /** Datagrams were lost (ENOBUFS); those still queued have been thrown away. */
  overrun(): void;
  /** The socket failed; it stays open until `close`. */
  failed(error: Error): void;
}

/** Owns a descriptor and delivers what it receives. */
export class DatagramReader {
  readonly #reader: Socket;
  readonly #fd: number;

  private constructor(reader: Socket, fd: number, handlers: DatagramHandlers) {
    this.#reader = reader;
    this.#fd = fd;
    reader.on('message', (datagram) => handlers.message(datagram));
    reader.on('error', (error) => {
      if (!hasCode(error, 'ENOBUFS')) return handlers.failed(error);
      this.#discard();
      handlers.overrun();
    });
  }

  /** Takes over a bound, non-blocking socket; `fd` is closed also when this throws. */
  static open(fd: number, handlers: DatagramHandlers): DatagramReader {
    const reader = createSocket('udp4');
    try {
      const stand = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
      try {
        reader.bind({ fd: stand });
      } catch (error) {
        closeSync(stand);
        throw error;
      }
      duplicateTo(fd, stand);
      return new DatagramReader(reader, stand, handlers);
    } catch (error) {
      reader.close();
      throw error;
    } finally {
      closeSync(fd);
    }
  }

  /**
   * After an overrun the kernel queues nothing more, and says nothing more, until the queue has been empty: only then
   * is a table dumped afterwards complete with the notifications that follow.
   */
  #discard(): void {
    const scratch = new Uint8Array(1);
    for (let count = 0; count < MAX_DISCARDED; count++) {
      try {
        receive(this.#fd, scratch, MSG_DONTWAIT);
      } catch (error) {
        if (hasCode(error, 'EAGAIN')) return;
        // ENOBUFS: the queue was empty, and has overrun once more since.
        if (!hasCode(error, 'ENOBUFS')) throw error;
      }
    }
  }

  unref(): void {
    this.#reader.unref();
  }

  /** Closes the socket. To be called once. */
  close(): void {
    this.#reader.close();
  }
}
