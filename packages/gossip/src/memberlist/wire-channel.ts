import { type Clock, type Counters, type Logger, Novelty, type Random } from '../runtime/index.ts';
import type { Stream, Transport } from '../transport/index.ts';
import {
  type AckResp,
  type Address,
  decodeFrame,
  decodePacket,
  decodeStreamMessage,
  encodeFrame,
  encodePacket,
  FRAME_HEADER_SIZE,
  formatAddress,
  frameLength,
  type Keyring,
  MAX_FRAME,
  type Part,
  type Ping,
  type PushPull,
  packetBudget,
  type StreamMessage,
  WireError,
} from '../wire/index.ts';
import type { Channel, ChannelHandler } from './channel.ts';

/** Incoming streams at a time; more are dropped (pushPull limit of memberlist). */
const MAX_STREAMS = 128;
/** What incoming streams may have sent together of frames that are not whole yet: strangers may send so much. */
const MAX_INCOMING_BYTES = 4 * MAX_FRAME;

export interface WireChannelOptions {
  readonly transport: Transport;
  readonly keyring: Keyring;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  /** Refused input is counted here, by cause. */
  readonly drops: Counters;
  /** Longest exchange on an incoming stream, in ms. */
  readonly streamTimeout: number;
}

/** The channel that speaks memberlist's bytes over a transport. */
export class WireChannel implements Channel {
  readonly #options: WireChannelOptions;
  readonly #refused: Novelty;
  #incoming = 0;
  readonly #incomingBytes = new Allowance(MAX_INCOMING_BYTES);

  constructor(options: WireChannelOptions) {
    this.#options = options;
    this.#refused = new Novelty(options.clock);
  }

  get address(): Address {
    return this.#options.transport.address;
  }

  get packetBudget(): number {
    return packetBudget(this.#options.keyring);
  }

  receive(handler: ChannelHandler): void {
    this.#options.transport.onPacket((from, bytes) => this.#guard(from, () => this.#packet(handler, from, bytes)));
    this.#options.transport.onStream((stream) => void this.#serve(handler, stream));
  }

  #packet(handler: ChannelHandler, from: Address, bytes: Uint8Array): void {
    const { parts, errors } = decodePacket(bytes, this.#options.keyring);
    for (const error of errors) this.#drop(from, error);
    if (parts.length > 0) handler.packet(from, parts);
  }

  /** Nothing that a peer sends may end the process: what fails is counted and dropped. */
  #guard(from: Address, handle: () => void): void {
    try {
      handle();
    } catch (error) {
      this.#drop(from, error);
    }
  }

  /** Counts what is dropped; what breaks the rules is logged, for each peer and cause once in a while. */
  #drop(from: Address, error: unknown): void {
    const cause = error instanceof WireError ? error.code : 'failed';
    const { drops, logger } = this.#options;
    drops.add(cause);
    const detail = { from: formatAddress(from), cause, error };
    if (error instanceof WireError && this.#refused.isNew(`${cause} ${from.host}`))
      logger.warn('input refused', detail);
    else logger.debug('input dropped', detail);
  }

  send(to: Address, parts: readonly Part[]): void {
    const { transport, keyring, random } = this.#options;
    // An address that a peer made up may be one that the system refuses.
    this.#guard(to, () => transport.sendPacket(to, encodePacket(parts, keyring, random)));
  }

  async #serve(handler: ChannelHandler, stream: Stream): Promise<void> {
    if (this.#incoming >= MAX_STREAMS) {
      this.#options.drops.add('too-many-streams');
      stream.destroy();
      return;
    }
    this.#incoming++;
    const deadline = this.#deadline(stream, this.#options.streamTimeout);
    try {
      const reply = this.#answer(handler, stream.remote, await this.#read(stream, this.#incomingBytes));
      if (reply) await this.#write(stream, reply);
      stream.end();
    } catch (error) {
      if (!(error instanceof SilentStream)) this.#drop(stream.remote, error);
      stream.destroy();
    } finally {
      deadline.cancel();
      this.#incoming--;
    }
  }

  #answer(handler: ChannelHandler, from: Address, message: StreamMessage): StreamMessage | undefined {
    switch (message.type) {
      case 'pushPull':
        return { type: 'pushPull', body: handler.pushPull(from, message.body) };
      case 'user':
        handler.user(from, message.body);
        return undefined;
      case 'ping': {
        const body = handler.ping(message.body);
        return body && { type: 'ackResp', body };
      }
      default:
        throw new WireError('unsupported', `${message.type} opens no exchange`);
    }
  }

  async pushPull(to: Address, local: PushPull, timeout: number): Promise<PushPull> {
    const reply = await this.#exchange(to, { type: 'pushPull', body: local }, timeout);
    if (reply.type !== 'pushPull') throw unexpected(to, reply);
    return reply.body;
  }

  async ping(to: Address, ping: Ping, timeout: number): Promise<AckResp> {
    const reply = await this.#exchange(to, { type: 'ping', body: ping }, timeout);
    if (reply.type !== 'ackResp') throw unexpected(to, reply);
    return reply.body;
  }

  async reach(to: Address, signal: AbortSignal): Promise<void> {
    try {
      const stream = await this.#options.transport.dial(to, signal);
      stream.destroy();
    } catch (error) {
      if (!isRefusal(error)) throw error;
    }
  }

  async #exchange(to: Address, request: StreamMessage, timeout: number): Promise<StreamMessage> {
    return this.#dial(to, timeout, async (stream) => {
      await this.#write(stream, request);
      return this.#read(stream, new Allowance(MAX_FRAME + FRAME_HEADER_SIZE));
    });
  }

  async sendUser(to: Address, data: Uint8Array, timeout: number): Promise<void> {
    await this.#dial(to, timeout, (stream) => this.#write(stream, { type: 'user', body: data }));
  }

  async #dial<T>(to: Address, timeout: number, talk: (stream: Stream) => Promise<T>): Promise<T> {
    const { clock, transport } = this.#options;
    const controller = new AbortController();
    const expired = timedOut(to, timeout);
    const timer = clock.setTimeout(() => controller.abort(expired), timeout);
    try {
      const stream = await transport.dial(to, controller.signal);
      const abort = (): void => stream.destroy(expired);
      controller.signal.addEventListener('abort', abort, { once: true });
      try {
        const result = await talk(stream);
        stream.end();
        return result;
      } catch (error) {
        stream.destroy();
        throw controller.signal.aborted ? expired : error;
      } finally {
        controller.signal.removeEventListener('abort', abort);
      }
    } finally {
      clock.clearTimeout(timer);
    }
  }

  #deadline(stream: Stream, timeout: number): { cancel(): void } {
    const { clock } = this.#options;
    const timer = clock.setTimeout(() => stream.destroy(timedOut(stream.remote, timeout)), timeout);
    return { cancel: () => clock.clearTimeout(timer) };
  }

  #write(stream: Stream, message: StreamMessage): Promise<void> {
    return stream.write(encodeFrame(message, this.#options.keyring, this.#options.random));
  }

  async #read(stream: Stream, allowance: Allowance): Promise<StreamMessage> {
    using buffered = new BufferedReader(stream, allowance);
    if (!this.#options.keyring.enabled) return await buffered.message();
    const header = await buffered.exactly(FRAME_HEADER_SIZE);
    return decodeFrame(header, await buffered.exactly(frameLength(header)), this.#options.keyring);
  }

  close(): Promise<void> {
    return this.#options.transport.close();
  }
}

function timedOut(to: Address, timeout: number): Error {
  return new Error(`${formatAddress(to)} did not finish the exchange within ${timeout} ms`);
}

function unexpected(to: Address, { type, body }: StreamMessage): WireError {
  const detail = type === 'error' ? `the error "${(body as { error: string }).error}"` : `an unexpected ${type}`;
  return new WireError('unsupported', `${formatAddress(to)} answered with ${detail}`);
}

/** Nothing was said: somebody only wanted to know whether this host answers. */
class SilentStream extends Error {
  override readonly name = 'SilentStream';
}

/** Whether the other kernel has answered that nobody listens. */
function isRefusal(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ECONNREFUSED' || error.code === 'ECONNRESET');
}

/** Bytes that may be held. */
class Allowance {
  #left: number;

  constructor(bytes: number) {
    this.#left = bytes;
  }

  take(bytes: number): void {
    if (bytes > this.#left) throw new WireError('too-large', 'more bytes of frames than are held');
    this.#left -= bytes;
  }

  give(bytes: number): void {
    this.#left += bytes;
  }
}

/** Collects a stream's chunks. BOUNDED by MAX_FRAME and by the allowance, which gets back what was taken at the end. */
class BufferedReader implements Disposable {
  readonly #stream: Stream;
  readonly #allowance: Allowance;
  #chunks: Uint8Array[] = [];
  #length = 0;
  #taken = 0;

  constructor(stream: Stream, allowance: Allowance) {
    this.#stream = stream;
    this.#allowance = allowance;
  }

  async #more(): Promise<void> {
    const chunk = await this.#stream.read();
    if (!chunk && this.#length === 0) throw new SilentStream('the stream ended without a word');
    if (!chunk) throw new WireError('truncated', 'the stream ended within a message');
    if (this.#length + chunk.length > MAX_FRAME + FRAME_HEADER_SIZE)
      throw new WireError('too-large', 'a frame too large');
    this.#allowance.take(chunk.length);
    this.#taken += chunk.length;
    this.#chunks.push(chunk);
    this.#length += chunk.length;
  }

  [Symbol.dispose](): void {
    this.#allowance.give(this.#taken);
    this.#taken = 0;
  }

  #all(): Uint8Array {
    const [only] = this.#chunks;
    const all = this.#chunks.length === 1 && only ? only : Buffer.concat(this.#chunks);
    this.#chunks = [all];
    return all;
  }

  async exactly(size: number): Promise<Uint8Array> {
    while (this.#length < size) await this.#more();
    const all = this.#all();
    this.#chunks = [all.subarray(size)];
    this.#length = all.length - size;
    return all.subarray(0, size);
  }

  /** A plain message, which only its own decoder can tell the end of. */
  async message(): Promise<StreamMessage> {
    for (;;) {
      await this.#more();
      try {
        return decodeStreamMessage(this.#all());
      } catch (error) {
        if (!(error instanceof WireError && error.code === 'truncated')) throw error;
      }
    }
  }
}
