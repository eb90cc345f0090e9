import type { Channel, ChannelHandler } from '../memberlist/index.ts';
import type { GossipCodec, GossipMessage } from '../networkdb/index.ts';
import { protobufCodec } from '../networkdb/index.ts';
import { type AckResp, type Address, PACKET_SIZE, type Part, type Ping, type PushPull } from '../wire/index.ts';
import type { SimulatedNetwork } from './network.ts';

/** A channel that hands the messages over as they are: nothing is encoded, so that a thousand nodes fit one core. */
export class ObjectChannel implements Channel {
  readonly address: Address;
  readonly packetBudget = PACKET_SIZE;
  readonly #network: SimulatedNetwork<ChannelHandler>;

  constructor(network: SimulatedNetwork<ChannelHandler>, address: Address) {
    this.#network = network;
    this.address = address;
  }

  receive(handler: ChannelHandler): void {
    this.#network.plug(this.address, handler);
  }

  send(to: Address, parts: readonly Part[]): void {
    this.#network.packet(this.address, to, (port) => port.packet(this.address, parts));
  }

  pushPull(to: Address, local: PushPull, timeout: number): Promise<PushPull> {
    return this.#network.exchange(this.address, to, timeout, (port) => port.pushPull(this.address, local));
  }

  ping(to: Address, ping: Ping, timeout: number): Promise<AckResp> {
    return this.#network.exchange(this.address, to, timeout, (port) => {
      const ack = port.ping(ping);
      if (!ack) throw new Error('the ping was for another node');
      return ack;
    });
  }

  reach(to: Address): Promise<void> {
    return this.#network.connect(this.address, to);
  }

  sendUser(to: Address, data: Uint8Array, timeout: number): Promise<void> {
    return this.#network.exchange(this.address, to, timeout, (port) => port.user(this.address, data));
  }

  async close(): Promise<void> {
    this.#network.unplug(this.address);
  }
}

/**
 * A codec for nodes that share this process: what one of them has encoded the others need not decode. Small messages
 * keep their real bytes, whose size counts; whole states become a mere token.
 */
export function sharedCodec(): GossipCodec {
  const known = new WeakMap<Uint8Array, GossipMessage>();
  return {
    encode(message) {
      const isState = message.type === 'pushPull' || message.type === 'bulkSync' || message.type === 'compound';
      const bytes = isState ? new Uint8Array(1) : protobufCodec.encode(message);
      known.set(bytes, message);
      return bytes;
    },
    decode(bytes) {
      const message = known.get(bytes);
      if (message) return message;
      return protobufCodec.decode(bytes);
    },
  };
}
