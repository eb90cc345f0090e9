/** A cluster of NetworkDBs in one process, under one virtual clock and one seed. For tests. */
import type { ChannelHandler } from '../memberlist/index.ts';
import { NetworkDB, type NetworkDBOptions } from '../networkdb/index.ts';
import type { Random } from '../runtime/index.ts';
import type { Address } from '../wire/index.ts';
import { type BytePort, ByteTransport } from './byte-transport.ts';
import { SimulatedNetwork } from './network.ts';
import { ObjectChannel, sharedCodec } from './object-channel.ts';
import { ProcessClock } from './process-clock.ts';
import { seededRandom } from './seeded-random.ts';
import { VirtualClock } from './virtual-clock.ts';

const PORT = 7946;

export interface SimulatedNode {
  readonly db: NetworkDB;
  readonly address: Address;
  readonly clock: ProcessClock;
}

/** `bytes`: everything is encoded, and encrypted where keys are given; `objects`: fast. */
export type Fidelity = 'bytes' | 'objects';

export class SimulatedCluster implements AsyncDisposable {
  readonly clock = new VirtualClock();
  readonly random: Random;
  readonly network: SimulatedNetwork<ChannelHandler> | SimulatedNetwork<BytePort>;
  readonly nodes: SimulatedNode[] = [];
  readonly #make: (address: Address) => Partial<NetworkDBOptions>;

  constructor(seed: number, fidelity: Fidelity) {
    this.random = seededRandom(seed);
    if (fidelity === 'objects') {
      const network = new SimulatedNetwork<ChannelHandler>(this.clock, this.random);
      const codec = sharedCodec();
      this.network = network;
      this.#make = (address) => ({ channel: new ObjectChannel(network, address), codec });
    } else {
      const network = new SimulatedNetwork<BytePort>(this.clock, this.random);
      this.network = network;
      this.#make = (address) => ({ transport: new ByteTransport(network, address) });
    }
  }

  /** The address of the node with this number. */
  addressOf(index: number): Address {
    return { host: `10.${(index >> 16) & 0xff}.${(index >> 8) & 0xff}.${index & 0xff}`, port: PORT };
  }

  /** Starts a node at an address that is free. */
  async add(index: number, options: NetworkDBOptions = {}): Promise<SimulatedNode> {
    const address = this.addressOf(index);
    const { random } = this;
    const clock = new ProcessClock(this.clock);
    const db = new NetworkDB({ clock, random, ...this.#make(address), ...options });
    const node = { db, address, clock };
    this.nodes.push(node);
    await db.start();
    return node;
  }

  /** Stops a node's process (SIGSTOP); its kernel goes on. */
  stop({ clock, address }: SimulatedNode): void {
    clock.stop();
    this.network.stop(address);
  }

  /** Lets it go on: what came due is late, and is done before what has arrived is read, as an event loop does it. */
  continue({ clock, address }: SimulatedNode): void {
    clock.continue();
    this.network.continue(address);
  }

  /** Ends a node without a word. */
  async crash(node: SimulatedNode): Promise<void> {
    this.nodes.splice(this.nodes.indexOf(node), 1);
    await node.db[Symbol.asyncDispose]();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.nodes.map(({ db }) => db[Symbol.asyncDispose]()));
  }
}
