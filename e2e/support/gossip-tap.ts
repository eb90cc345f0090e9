/** What gossip a host sends and hears, read off its link and decrypted with the swarm's own keys. */

import { type CapturedFrame, NetworkNamespace, PacketSocket } from '@skein/netlink';
import { protobufCodec } from '../../packages/gossip/src/networkdb/codec.ts';
import {
  decodeFrame,
  decodePacket,
  FRAME_HEADER_SIZE,
  frameLength,
  Keyring,
  type Message,
  type StreamMessage,
} from '../../packages/gossip/src/wire/index.ts';

const gossipPort = 7946;
const protocol = { tcp: 6, udp: 17 } as const;
const ethernetHeader = 14;
const settleMs = 300;

/** One packet, or one side of a stream, as it was on the wire and as it reads. */
export interface Heard {
  readonly from: string;
  readonly to: string;
  readonly transport: 'udp' | 'tcp';
  readonly bytes: Uint8Array;
  readonly messages: readonly (Message | StreamMessage)[];
}

/** A capture of UDP and TCP port 7946 from `start` to `stop`. */
export class GossipTap {
  readonly #socket: PacketSocket;
  readonly #keyring: Keyring;

  private constructor(socket: PacketSocket, keyring: Keyring) {
    this.#socket = socket;
    this.#keyring = keyring;
  }

  /** @param namespace path of the host's network namespace. @param keys the swarm's gossip keys. */
  static start(namespace: string, keys: readonly Uint8Array[]): GossipTap {
    using handle = NetworkNamespace.open(namespace);
    return new GossipTap(PacketSocket.open(handle, 'eth0'), new Keyring(keys));
  }

  /** @returns what was said since the start, in order of packets, streams last. @throws WireError for a packet no key opens. */
  async stop(): Promise<Heard[]> {
    await new Promise((resolve) => setTimeout(resolve, settleMs));
    using socket = this.#socket;
    const packets: Heard[] = [];
    const streams = new Map<string, Segment[]>();
    for (const { data } of drain(socket)) {
      const segment = parse(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
      if (!segment || segment.bytes.length === 0) continue;
      const { from, to, bytes } = segment;
      if (segment.transport === 'udp') {
        const { parts } = decodePacket(bytes, this.#keyring);
        packets.push({ from, to, transport: 'udp', bytes, messages: parts.map(({ message }) => message) });
      } else streams.set(segment.flow, [...(streams.get(segment.flow) ?? []), segment]);
    }
    return [...packets, ...[...streams.values()].flatMap((segments) => this.#stream(segments))];
  }

  /** One frame each way on a connection; what began before the capture or goes on after it is left out. */
  #stream(segments: readonly Segment[]): Heard[] {
    const [first] = [...segments].sort((a, b) => a.sequence - b.sequence);
    if (!first) return [];
    const pieces = new Map(segments.map(({ sequence, bytes }) => [sequence - first.sequence, bytes]));
    const length = Math.max(...[...pieces].map(([at, bytes]) => at + bytes.length));
    const bytes = Buffer.alloc(length);
    for (const [at, piece] of pieces) bytes.set(piece, at);
    const header = bytes.subarray(0, FRAME_HEADER_SIZE);
    if (header[0] !== 10 || bytes.length - FRAME_HEADER_SIZE !== frameLength(header)) return [];
    const message = decodeFrame(header, bytes.subarray(FRAME_HEADER_SIZE), this.#keyring);
    return [{ from: first.from, to: first.to, transport: 'tcp', bytes, messages: [message] }];
  }
}

function* drain(socket: PacketSocket): Generator<CapturedFrame> {
  for (let frames = socket.drain(); frames.length > 0; frames = socket.drain()) yield* frames;
}

interface Segment {
  readonly from: string;
  readonly to: string;
  readonly transport: 'udp' | 'tcp';
  readonly flow: string;
  readonly sequence: number;
  readonly bytes: Buffer;
}

function parse(frame: Buffer): Segment | undefined {
  if (frame.length < ethernetHeader + 28 || frame.readUInt16BE(12) !== 0x0800) return undefined;
  const ip = frame.subarray(ethernetHeader, ethernetHeader + frame.readUInt16BE(ethernetHeader + 2));
  const payload = ip.subarray(((ip[0] ?? 0) & 0x0f) * 4);
  const [from, to] = [12, 16].map((at) => [...ip.subarray(at, at + 4)].join('.'));
  if (payload.length < 8 || from === undefined || to === undefined) return undefined;
  const [source, destination] = [payload.readUInt16BE(0), payload.readUInt16BE(2)];
  if (source !== gossipPort && destination !== gossipPort) return undefined;
  const common = { from, to, flow: `${from}:${source} ${to}:${destination}` };
  if (ip[9] === protocol.udp) return { ...common, transport: 'udp', sequence: 0, bytes: payload.subarray(8) };
  if (ip[9] !== protocol.tcp || payload.length < 20) return undefined;
  const headerLength = ((payload[12] ?? 0) >> 4) * 4;
  return { ...common, transport: 'tcp', sequence: payload.readUInt32BE(4), bytes: payload.subarray(headerLength) };
}

/** @returns the networks of which table entries are told in these messages. */
export function networksTold(heard: readonly Heard[]): Set<string> {
  const networks = new Set<string>();
  const read = (data: Uint8Array): void => {
    const message = protobufCodec.decode(data);
    if (message.type === 'table') networks.add(message.body.networkId);
    if (message.type === 'bulkSync') for (const network of message.body.networks) networks.add(network);
    if (message.type === 'compound') message.body.forEach(read);
    if (message.type === 'bulkSync') message.body.events.forEach(read);
  };
  for (const { messages } of heard) for (const message of messages) if (message.type === 'user') read(message.body);
  return networks;
}
