import type { AckResp, Address, Part, Ping, PushPull } from '../wire/index.ts';

/** What a memberlist does with what arrives. None of these throws. */
export interface ChannelHandler {
  /** The messages of one packet. */
  packet(from: Address, parts: readonly Part[]): void;
  /** A peer's state; returns ours. */
  pushPull(from: Address, remote: PushPull): PushPull;
  /** A user message that came over a stream. */
  user(from: Address, data: Uint8Array): void;
  /** A ping over a stream; undefined when it was meant for another node. */
  ping(ping: Ping): AckResp | undefined;
}

/**
 * Messages in, messages out: the seam between the protocol and its bytes. `WireChannel` is the one that
 * puts them on a transport; the large simulation hands the objects over as they are.
 */
export interface Channel {
  /** Where this node is bound. */
  readonly address: Address;
  /** Bytes that the parts of one packet may take, each counted with `COMPOUND_PART_OVERHEAD`. */
  readonly packetBudget: number;
  receive(handler: ChannelHandler): void;
  /** Sends one packet; loss is not reported. */
  send(to: Address, parts: readonly Part[]): void;
  /** Exchanges states; rejects within `timeout` ms. */
  pushPull(to: Address, local: PushPull, timeout: number): Promise<PushPull>;
  /** Pings over a stream; rejects within `timeout` ms. */
  ping(to: Address, ping: Ping, timeout: number): Promise<AckResp>;
  /** Tries to connect; resolves when the host answers, and be it with a refusal, as then only its daemon is away. Rejects otherwise. */
  reach(to: Address, signal: AbortSignal): Promise<void>;
  /** Sends a user message over a stream; rejects within `timeout` ms. */
  sendUser(to: Address, data: Uint8Array, timeout: number): Promise<void>;
  close(): Promise<void>;
}
