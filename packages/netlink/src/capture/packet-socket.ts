/**
 * AF_PACKET capture of a link in any namespace. The kernel queues copies of the frames from the moment the socket is
 * open; `drain` takes what is there without waiting, `frames` goes on until it is told to stop.
 */
import { closeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode, SystemError } from '../errors.ts';
import { AF_PACKET, MSG_DONTWAIT, MSG_TRUNC, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_RAW } from '../kernel/constants.ts';
import {
  bind,
  getSocketOption,
  ioctl,
  receiveFrom,
  setReceiveBuffer,
  setSocketOption,
  socket,
} from '../kernel/libc.ts';
import { decodePacketAddress, packetAddress, SOCKADDR_LL_SIZE } from '../kernel/sockaddr.ts';
import type { NetworkNamespace } from '../namespace.ts';
import { RouteSocket } from '../route/route-socket.ts';
import { littleEndian } from '../wire/struct.ts';

/** linux/if_ether.h */
const ETH_P_ALL = 0x0003;
/** linux/if_packet.h */
const SOL_PACKET = 263;
const PACKET_ADD_MEMBERSHIP = 1;
const PACKET_STATISTICS = 6;
const PACKET_MR_PROMISC = 1;
/** struct packet_mreq: int ifindex; unsigned short type, address length; unsigned char address[8] */
const PACKET_MREQ_SIZE = 16;
const PACKET_OUTGOING = 4;
/** asm-generic/sockios.h: the time of the frame last received, as struct timespec */
const SIOCGSTAMPNS = 0x8907;
const TIMESPEC_SIZE = 16;
const ENODEV = 19;

/** The largest frame a link delivers: 64 KiB of payload (GSO) and its headers. */
const MAX_FRAME = 65_536 + 256;
/** Frames the kernel keeps for us. BOUNDED: more are dropped and counted. */
const RECEIVE_BUFFER_BYTES = 8 * 1024 * 1024;
/** Frames taken in one go, so that a busy link does not hold the event loop. */
const MAX_BATCH = 4096;
const POLL_INTERVAL_MS = 10;

export interface CapturedFrame {
  /** Nanoseconds since 1970, when the kernel saw the frame. */
  readonly timestamp: bigint;
  /** The link it was seen on. */
  readonly index: number;
  /** Sent by this link ('out') or received ('in'). */
  readonly direction: 'in' | 'out';
  /** From the Ethernet header on, at most `snapLength` bytes. */
  readonly data: Uint8Array;
  /** Length of the frame on the wire, in bytes. */
  readonly length: number;
}

export interface CaptureOptions {
  /** Bytes to keep of each frame; default all. */
  readonly snapLength?: number | undefined;
  /**
   * Also frames for other stations, as tcpdump does; default true. A bridge shows what it forwards between its ports
   * only so. Not with 'any'.
   */
  readonly promiscuous?: boolean | undefined;
}

export class PacketSocket implements Disposable {
  readonly #fd: number;
  readonly #buffer: Uint8Array;
  #dropped = 0;
  #open = true;

  private constructor(fd: number, snapLength: number) {
    this.#fd = fd;
    this.#buffer = new Uint8Array(Math.min(snapLength, MAX_FRAME));
  }

  /**
   * Starts to capture. Equivalent to `tcpdump -i link`.
   * @param link a name, or 'any' for every link of the namespace.
   * @throws SystemError ENODEV when there is no such link.
   */
  static open(namespace: NetworkNamespace, link: string, options: CaptureOptions = {}): PacketSocket {
    const index = link === 'any' ? 0 : linkIndex(namespace, link);
    // Protocol 0: nothing is queued until bind has chosen the link.
    const fd = namespace.run(() => socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    try {
      setReceiveBuffer(fd, RECEIVE_BUFFER_BYTES);
      enableTimestamps(fd);
      bind(fd, packetAddress(index, ETH_P_ALL), `capture on ${link}`);
      if (index !== 0 && options.promiscuous !== false) setPromiscuous(fd, index);
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    return new PacketSocket(fd, options.snapLength ?? MAX_FRAME);
  }

  /** Takes the frames that have arrived, at most `limit`, without waiting. */
  drain(limit = MAX_BATCH): CapturedFrame[] {
    if (!this.#open) throw new TypeError('the capture is closed');
    const frames: CapturedFrame[] = [];
    while (frames.length < limit) {
      const frame = this.#receive();
      if (frame === undefined) break;
      frames.push(frame);
    }
    return frames;
  }

  #receive(): CapturedFrame | undefined {
    const address = new Uint8Array(SOCKADDR_LL_SIZE);
    try {
      const length = receiveFrom(this.#fd, this.#buffer, MSG_DONTWAIT | MSG_TRUNC, address);
      const { index, packetType } = decodePacketAddress(address);
      const data = this.#buffer.slice(0, Math.min(length, this.#buffer.length));
      const direction = packetType === PACKET_OUTGOING ? 'out' : 'in';
      return { timestamp: this.#timestamp(), index, direction, data, length };
    } catch (error) {
      if (hasCode(error, 'EAGAIN')) return undefined;
      throw error;
    }
  }

  #timestamp(): bigint {
    const timespec = new Uint8Array(TIMESPEC_SIZE);
    ioctl(this.#fd, SIOCGSTAMPNS, timespec, 'time of a frame');
    const view = new DataView(timespec.buffer);
    return view.getBigInt64(0, littleEndian) * 1_000_000_000n + view.getBigInt64(8, littleEndian);
  }

  /** Frames as they arrive (within 10 ms) until the signal aborts or the capture is closed. */
  async *frames(signal: AbortSignal): AsyncGenerator<CapturedFrame, void, undefined> {
    while (this.#open && !signal.aborted) {
      const batch = this.drain();
      yield* batch;
      if (batch.length === 0) await pause(signal);
    }
  }

  /** Frames that were lost since the socket was opened, because nobody took them in time. */
  get dropped(): number {
    if (this.#open) {
      // struct tpacket_stats { tp_packets; tp_drops }: reading it sets the kernel's counters to 0
      const statistics = getSocketOption(this.#fd, SOL_PACKET, PACKET_STATISTICS, 8);
      this.#dropped += new DataView(statistics.buffer, statistics.byteOffset).getUint32(4, littleEndian);
    }
    return this.#dropped;
  }

  /** Ends the capture. Safe to repeat. */
  [Symbol.dispose](): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.#fd);
  }
}

/** The kernel notes the time of frames from the first question for it; there is no frame yet to answer with. */
function enableTimestamps(fd: number): void {
  try {
    ioctl(fd, SIOCGSTAMPNS, new Uint8Array(TIMESPEC_SIZE), 'time of a frame');
  } catch (error) {
    if (!hasCode(error, 'ENOENT')) throw error;
  }
}

/** The kernel takes it back when the socket is closed. */
function setPromiscuous(fd: number, index: number): void {
  const request = new DataView(new ArrayBuffer(PACKET_MREQ_SIZE));
  request.setInt32(0, index, littleEndian);
  request.setUint16(4, PACKET_MR_PROMISC, littleEndian);
  setSocketOption(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, new Uint8Array(request.buffer));
}

function linkIndex(namespace: NetworkNamespace, name: string): number {
  using routes = RouteSocket.open(namespace);
  const link = routes.links.get(name);
  if (!link) throw new SystemError(`capture on ${name}`, ENODEV);
  return link.index;
}

/** Sleeps for a moment; an abort ends it early, without an error. */
async function pause(signal: AbortSignal): Promise<void> {
  try {
    await sleep(POLL_INTERVAL_MS, undefined, { signal });
  } catch (error) {
    if (!signal.aborted) throw error;
  }
}
