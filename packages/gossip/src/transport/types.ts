import type { Address } from '../wire/index.ts';

/** One TCP connection, or what a simulation takes for it. */
export interface Stream {
  readonly remote: Address;
  /** The next bytes, whatever their number; undefined after the peer's last. Rejects when the connection broke or `destroy` was called. */
  read(): Promise<Uint8Array | undefined>;
  /** Resolves when the bytes are handed over. */
  write(bytes: Uint8Array): Promise<void>;
  /** Sends what was written, then closes. */
  end(): void;
  /** Breaks the connection; pending reads and writes reject with `reason`. */
  destroy(reason?: Error): void;
}

/** Packets and streams between addresses. The protocol above bounds every wait, so a transport needs no time-outs of its own. */
export interface Transport {
  /** Where this node is bound. */
  readonly address: Address;
  /** Sends one datagram; loss is not reported. */
  sendPacket(to: Address, bytes: Uint8Array): void;
  /** Sets the receiver of datagrams. The handler does not throw. */
  onPacket(handler: (from: Address, bytes: Uint8Array) => void): void;
  /** Connects; rejects when that fails or `signal` aborts. */
  dial(to: Address, signal: AbortSignal): Promise<Stream>;
  /** Sets the receiver of incoming connections, which owns them. */
  onStream(handler: (stream: Stream) => void): void;
  /** Stops listening and breaks all connections; may be called again. */
  close(): Promise<void>;
}
