/** Frames of a link in any namespace, captured while something happens. */
import { setTimeout as sleep } from 'node:timers/promises';
import { NetworkNamespace, PacketSocket } from '@skein/netlink';
import { describeFrame, type Frame, readFrame } from './frames.ts';

/** Frames that are still on their way when the action has ended. */
const settleMs = 200;

/** A capture that runs from `start` to `stop`; the kernel queues the frames meanwhile. */
export class Capture {
  readonly #socket: PacketSocket;

  private constructor(socket: PacketSocket) {
    this.#socket = socket;
  }

  /** @param namespace path of a network namespace. */
  static start(namespace: string, link: string): Capture {
    using handle = NetworkNamespace.open(namespace);
    return new Capture(PacketSocket.open(handle, link));
  }

  /** @returns the frames since the start, decoded. */
  async stop(): Promise<Frame[]> {
    await sleep(settleMs);
    using socket = this.#socket;
    return socket.drain().map((frame) => readFrame(frame.data));
  }
}

/** @returns the frames as text, for a failing check. */
export function captured(frames: readonly Frame[]): string {
  return frames.length === 0 ? 'no frame was captured' : frames.map(describeFrame).join('\n');
}
