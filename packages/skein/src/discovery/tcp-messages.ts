/** DNS over TCP: each message after two bytes of its length (RFC 1035 section 4.2.2). */

const lengthSize = 2;

/** @returns the message with its length before it. */
export function frame(message: Uint8Array): Uint8Array {
  const framed = Buffer.alloc(lengthSize + message.length);
  framed.writeUInt16BE(message.length);
  framed.set(message, lengthSize);
  return framed;
}

/** Cuts a stream into messages. */
export class MessageReader {
  /** BOUNDED: less than one message (64 KiB) and the last chunk. */
  #rest = Buffer.alloc(0);

  /** @returns the messages that are complete with this chunk; what follows them is kept. */
  read(chunk: Uint8Array): Uint8Array[] {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    const messages: Uint8Array[] = [];
    while (this.#rest.length >= lengthSize) {
      const end = lengthSize + this.#rest.readUInt16BE();
      if (this.#rest.length < end) break;
      messages.push(this.#rest.subarray(lengthSize, end));
      this.#rest = this.#rest.subarray(end);
    }
    return messages;
  }
}
