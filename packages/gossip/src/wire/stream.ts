/**
 * A TCP exchange: one frame each way on a connection of its own.
 *
 *     encrypted   [10][length u32][encryption of the message]     the 5 header bytes are authenticated with it
 *     plain       message
 *     message     [9] compress of a message
 *                 [6] header, header.nodes × pushNodeState, user state
 *                 [8] header, user message
 *                 [0] ping    [2] ack    [13] error
 */
import type { Random } from '../runtime/index.ts';
import { decrypt, ENCRYPTION_OVERHEAD, encrypt } from './crypt.ts';
import { WireError } from './errors.ts';
import type { Keyring } from './keyring.ts';
import { compress } from './lzw.ts';
import {
  type AckResp,
  compressed,
  errorResponse,
  MessageType,
  type Ping,
  type PushNodeState,
  parsePart,
  pushNodeState,
  pushPullHeader,
  toPart,
  userHeader,
} from './messages.ts';
import { Reader, Writer } from './msgpack.ts';
import { decompressMessage } from './packet.ts';

/** Most bytes of one frame (maxPushStateBytes upstream). */
export const MAX_FRAME = 20 * 1024 * 1024;
export const FRAME_HEADER_SIZE = 5;
/** Smaller messages are not worth compressing. */
const COMPRESSION_THRESHOLD = 256;

/** What two nodes tell each other about everybody. */
export interface PushPull {
  readonly join: boolean;
  readonly nodes: readonly PushNodeState[];
  readonly userState: Uint8Array;
}

export type StreamMessage =
  | { readonly type: 'pushPull'; readonly body: PushPull }
  | { readonly type: 'user'; readonly body: Uint8Array }
  | { readonly type: 'ping'; readonly body: Ping }
  | { readonly type: 'ackResp'; readonly body: AckResp }
  | { readonly type: 'error'; readonly body: { readonly error: string } };

function encodeMessage(message: StreamMessage): Uint8Array {
  if (message.type === 'ping' || message.type === 'ackResp') return toPart(message).bytes;
  const writer = new Writer();
  writer.byte(MessageType[message.type]);
  switch (message.type) {
    case 'pushPull': {
      const { nodes, userState, join } = message.body;
      pushPullHeader.encode({ nodes: nodes.length, userStateLen: userState.length, join }, writer);
      for (const node of nodes) pushNodeState.encode(node, writer);
      writer.append(userState);
      break;
    }
    case 'user':
      userHeader.encode({ userMsgLen: message.body.length }, writer);
      writer.append(message.body);
      break;
    case 'error':
      errorResponse.encode(message.body, writer);
  }
  return writer.finish();
}

/** Encodes, compresses where it gains, and encrypts one frame. Throws `WireError` 'too-large' beyond the bound that peers keep. */
export function encodeFrame(message: StreamMessage, keyring: Keyring, random: Random): Uint8Array {
  const payload = maybeCompress(encodeMessage(message));
  if (payload.length > MAX_FRAME) throw new WireError('too-large', `a frame of ${payload.length} bytes`);
  if (!keyring.primary) return payload;
  const header = Buffer.alloc(FRAME_HEADER_SIZE);
  header[0] = MessageType.encrypt;
  // The length is authenticated, so it has to be known first: encryption adds the same to every message.
  const sealedLength = payload.length + ENCRYPTION_OVERHEAD;
  header.writeUInt32BE(sealedLength, 1);
  return Buffer.concat([header, encrypt(payload, keyring.primary, random, header)]);
}

function maybeCompress(payload: Uint8Array): Uint8Array {
  if (payload.length < COMPRESSION_THRESHOLD) return payload;
  const writer = new Writer();
  writer.byte(MessageType.compress);
  compressed.encode({ algo: 0, buf: compress(payload) }, writer);
  const small = writer.finish();
  return small.length < payload.length ? small : payload;
}

/** Bytes of an encrypted frame's body, from its header. Throws `WireError` for anything that is not such a header. */
export function frameLength(header: Uint8Array): number {
  if (header[0] !== MessageType.encrypt) throw new WireError('unencrypted', 'a plain stream though keys are set');
  const length = new Reader(header, 1).big(4);
  if (length > MAX_FRAME) throw new WireError('too-large', `a frame of ${length} bytes`);
  return length;
}

/** Decrypts and decodes a frame whose header `frameLength` has read. */
export function decodeFrame(header: Uint8Array, body: Uint8Array, keyring: Keyring): StreamMessage {
  return decodeStreamMessage(decrypt(body, keyring, header));
}

/** Decodes a message; throws `WireError` 'truncated' while bytes are missing, so that a plain stream can wait for more. */
export function decodeStreamMessage(bytes: Uint8Array, mayBeCompressed = true): StreamMessage {
  const reader = new Reader(bytes);
  switch (reader.byte()) {
    case MessageType.compress:
      if (!mayBeCompressed) throw new WireError('malformed', 'compressed twice');
      return decodeStreamMessage(decompressMessage(bytes), false);
    case MessageType.pushPull:
      return { type: 'pushPull', body: decodePushPull(reader) };
    case MessageType.user:
      return { type: 'user', body: reader.take(userHeader.decode(reader).userMsgLen) };
    case MessageType.error:
      return { type: 'error', body: errorResponse.decode(reader) };
    case MessageType.ping:
    case MessageType.ackResp: {
      const { message } = parsePart(bytes);
      if (message.type === 'ping' || message.type === 'ackResp') return message;
    }
  }
  throw new WireError('unsupported', `message type ${bytes[0]} on a stream`);
}

function decodePushPull(reader: Reader): PushPull {
  const header = pushPullHeader.decode(reader);
  const nodes: PushNodeState[] = [];
  for (let index = 0; index < header.nodes; index++) nodes.push(pushNodeState.decode(reader));
  return { join: header.join, nodes, userState: reader.take(header.userStateLen) };
}
