import type { Stream, Transport } from '../transport/index.ts';
import type { Address } from '../wire/index.ts';
import type { SimulatedNetwork } from './network.ts';

/** What a simulated address listens with. */
export interface BytePort {
  packet(from: Address, bytes: Uint8Array): void;
  stream(stream: Stream): void;
}

/** A transport of real bytes over the simulated network. */
export class ByteTransport implements Transport {
  readonly address: Address;
  readonly #network: SimulatedNetwork<BytePort>;
  #packet: (from: Address, bytes: Uint8Array) => void = () => {};
  #stream: (stream: Stream) => void = (stream) => stream.destroy();

  constructor(network: SimulatedNetwork<BytePort>, address: Address) {
    this.#network = network;
    this.address = address;
    network.plug(address, {
      packet: (from, bytes) => this.#packet(from, bytes),
      stream: (stream) => this.#stream(stream),
    });
  }

  sendPacket(to: Address, bytes: Uint8Array): void {
    this.#network.bytes += bytes.length;
    this.#network.packet(this.address, to, (port) => port.packet(this.address, bytes));
  }

  onPacket(handler: (from: Address, bytes: Uint8Array) => void): void {
    this.#packet = handler;
  }

  onStream(handler: (stream: Stream) => void): void {
    this.#stream = handler;
  }

  dial(to: Address, signal: AbortSignal): Promise<Stream> {
    return new Promise((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true });
      this.#network.clock.setTimeout(() => {
        const port = this.#network.port(this.address, to);
        if (!port || signal.aborted) return;
        const [near, far] = streamPair(this.#network, this.address, to);
        this.#network.handOver(to, () => port.stream(far));
        resolve(near);
      }, this.#network.delay());
    });
  }

  async close(): Promise<void> {
    this.#network.unplug(this.address);
  }
}

/** The two ends of a connection; the way there takes as long as a packet's, but order is kept and nothing is lost. */
function streamPair(network: SimulatedNetwork<BytePort>, from: Address, to: Address): [PipeEnd, PipeEnd] {
  const near = new PipeEnd(to);
  const far = new PipeEnd(from);
  const delay = network.delay();
  const link = (a: PipeEnd, b: PipeEnd): void => {
    a.deliver = (chunk) => {
      network.bytes += chunk?.length ?? 0;
      network.clock.setTimeout(() => b.arrive(chunk), delay);
    };
  };
  link(near, far);
  link(far, near);
  return [near, far];
}

class PipeEnd implements Stream {
  readonly remote: Address;
  deliver: (chunk: Uint8Array | undefined) => void = () => {};
  readonly #chunks: (Uint8Array | undefined)[] = [];
  #wake: (() => void) | undefined;
  #broken: Error | undefined;

  constructor(remote: Address) {
    this.remote = remote;
  }

  arrive(chunk: Uint8Array | undefined): void {
    this.#chunks.push(chunk);
    this.#wake?.();
  }

  async read(): Promise<Uint8Array | undefined> {
    while (this.#chunks.length === 0 && !this.#broken) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    if (this.#broken) throw this.#broken;
    return this.#chunks.shift();
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (this.#broken) throw this.#broken;
    this.deliver(bytes);
  }

  end(): void {
    this.deliver(undefined);
  }

  destroy(reason: Error = new Error('the connection broke')): void {
    this.#broken ??= reason;
    this.#wake?.();
    this.deliver(undefined);
  }
}
