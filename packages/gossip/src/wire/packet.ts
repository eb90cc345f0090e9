/**
 * A UDP packet, from outside to inside:
 *
 *     [244 label]  encryption  [12 crc32 u32]  [9 compress]  [7 count u8, count × u16 length, bodies]  message
 *
 * We send encryption, compound and message; every layer is read, but a label, which Docker never sets, is refused.
 */
import { crc32 } from 'node:zlib';
import type { Random } from '../runtime/index.ts';
import { decrypt, ENCRYPTION_OVERHEAD, encrypt } from './crypt.ts';
import { WireError } from './errors.ts';
import type { Keyring } from './keyring.ts';
import { decompress } from './lzw.ts';
import { compressed, MessageType, type Part, parsePart } from './messages.ts';
import { Reader } from './msgpack.ts';

/** networkdb's UDPBufferSize: `network-control-plane-mtu` 1500 less 100. */
export const PACKET_SIZE = 1400;
/** Type byte and count of a compound. */
export const COMPOUND_OVERHEAD = 2;
/** The length of each part of a compound. */
export const COMPOUND_PART_OVERHEAD = 2;
const MAX_COMPOUND_PARTS = 255;
/** Most that a compressed message may unfold to (maxDecompressedSize upstream). */
export const MAX_DECOMPRESSED = 40 * 1024 * 1024;
/** crc, compress and compound may nest; nobody nests deeper. */
const MAX_LAYERS = 4;
const LZW = 0;

/** Bytes left in a packet for parts, each of which costs `COMPOUND_PART_OVERHEAD` more. */
export function packetBudget(keyring: Keyring): number {
  return PACKET_SIZE - COMPOUND_OVERHEAD - (keyring.enabled ? ENCRYPTION_OVERHEAD : 0);
}

/** Packs 1 to 255 messages into one packet. */
export function encodePacket(parts: readonly Part[], keyring: Keyring, random: Random): Uint8Array {
  const [first] = parts;
  const plain = parts.length === 1 && first ? first.bytes : compound(parts);
  return keyring.primary ? encrypt(plain, keyring.primary, random) : plain;
}

function compound(parts: readonly Part[]): Uint8Array {
  if (parts.length === 0 || parts.length > MAX_COMPOUND_PARTS)
    throw new RangeError(`${parts.length} parts in a packet`);
  const header = Buffer.alloc(COMPOUND_OVERHEAD + parts.length * COMPOUND_PART_OVERHEAD);
  header[0] = MessageType.compound;
  header[1] = parts.length;
  for (const [index, part] of parts.entries()) {
    header.writeUInt16BE(part.bytes.length, COMPOUND_OVERHEAD + index * COMPOUND_PART_OVERHEAD);
  }
  return Buffer.concat([header, ...parts.map((part) => part.bytes)]);
}

/** The outcome of reading a packet: what could be read, and why the rest was not. */
export interface DecodedPacket {
  readonly parts: readonly Part[];
  readonly errors: readonly WireError[];
}

/** Unpacks a packet. Throws `WireError` when nothing of it can be read; a bad part of a compound does not spoil the others. */
export function decodePacket(bytes: Uint8Array, keyring: Keyring): DecodedPacket {
  if (bytes[0] === MessageType.label) throw new WireError('label', 'a labelled packet');
  const parts: Part[] = [];
  const errors: WireError[] = [];
  unwrap(keyring.enabled ? decrypt(bytes, keyring) : bytes, parts, errors, 0);
  return { parts, errors };
}

function unwrap(bytes: Uint8Array, parts: Part[], errors: WireError[], depth: number): void {
  if (depth > MAX_LAYERS) throw new WireError('malformed', `more than ${MAX_LAYERS} layers`);
  switch (bytes[0]) {
    case MessageType.hasCrc: {
      const reader = new Reader(bytes, 1);
      const expected = reader.big(4);
      const rest = reader.take(reader.remaining);
      if (crc32(rest) !== expected) throw new WireError('checksum', 'the checksum does not match');
      unwrap(rest, parts, errors, depth + 1);
      return;
    }
    case MessageType.compress:
      unwrap(decompressMessage(bytes), parts, errors, depth + 1);
      return;
    case MessageType.compound:
      unwrapCompound(new Reader(bytes, 1), parts, errors, depth + 1);
      return;
    default:
      parts.push(parsePart(bytes));
  }
}

function unwrapCompound(reader: Reader, parts: Part[], errors: WireError[], depth: number): void {
  const lengths = Array.from({ length: reader.byte() }, () => 0).map(() => reader.big(2));
  for (const length of lengths) {
    const body = reader.take(length);
    try {
      unwrap(body, parts, errors, depth);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      errors.push(error);
    }
  }
}

/** Opens a `[9]` message. */
export function decompressMessage(bytes: Uint8Array): Uint8Array {
  const { algo, buf } = compressed.decode(new Reader(bytes, 1));
  if (algo !== LZW) throw new WireError('unsupported', `compression algorithm ${algo}`);
  return decompress(buf, MAX_DECOMPRESSED);
}
