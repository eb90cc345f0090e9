/**
 * Netlink messages (linux/netlink.h). A datagram carries one or more, each padded to four bytes:
 *
 *     | length u32 | type u16 | flags u16 | sequence u32 | port u32 | payload … |
 */
import { align, attributes, string, u32, WireFormatError } from './attributes.ts';
import { struct } from './struct.ts';

export const nlmsghdr = struct({ length: 'u32', type: 'u16', flags: 'u16', sequence: 'u32', port: 'u32' });
/** struct nlmsgerr: the error (a negative errno, 0 for an acknowledgement) and the header of the request. */
const nlmsgerr = struct({ error: 's32', length: 'u32', type: 'u16', flags: 'u16', sequence: 'u32', port: 'u32' });
/** enum nlmsgerr_attrs */
const nlmsgerrAttributes = attributes({ message: [1, string], offset: [2, u32] });

/** Message types below NLMSG_MIN_TYPE. */
export const NLMSG_NOOP = 1;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLMSG_OVERRUN = 4;

/** Flags of a request. */
export const NLM_F_REQUEST = 0x01;
export const NLM_F_ACK = 0x04;
export const NLM_F_DUMP = 0x300;
export const NLM_F_REPLACE = 0x100;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLM_F_APPEND = 0x800;
/** Flags of an answer. */
export const NLM_F_DUMP_INTR = 0x10;
const NLM_F_CAPPED = 0x100;
const NLM_F_ACK_TLVS = 0x200;

export interface Message {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  /** The sender's port; 0 is the kernel. */
  readonly port: number;
  readonly payload: Uint8Array;
}

export function encodeMessage(message: Message): Uint8Array {
  const { payload, ...header } = message;
  const length = nlmsghdr.size + payload.length;
  return Buffer.concat([nlmsghdr.encode({ ...header, length }), payload], align(length));
}

/** Splits a datagram; throws WireFormatError when a length lies. Payloads are views of `datagram`. */
export function decodeMessages(datagram: Uint8Array): Message[] {
  const messages: Message[] = [];
  for (let offset = 0; offset + nlmsghdr.size <= datagram.length; ) {
    const { length, ...header } = nlmsghdr.decode(datagram.subarray(offset));
    if (length < nlmsghdr.size || offset + length > datagram.length) {
      throw new WireFormatError(`message at ${offset} claims ${length} of ${datagram.length - offset} bytes`);
    }
    messages.push({ ...header, payload: datagram.subarray(offset + nlmsghdr.size, offset + length) });
    offset += align(length);
  }
  return messages;
}

/** What NLMSG_ERROR and NLMSG_DONE say. */
export interface Outcome {
  /** Positive errno; 0 is success. */
  readonly errno: number;
  readonly extendedAck?: string | undefined;
  readonly offset?: number | undefined;
}

/** Reads NLMSG_ERROR: the error, then the request (its header only, when capped), then attributes. */
export function decodeError(message: Message): Outcome {
  const { error, length } = nlmsgerr.decode(message.payload);
  const errno = Math.abs(error);
  if ((message.flags & NLM_F_ACK_TLVS) === 0) return { errno };
  const capped = errno === 0 || (message.flags & NLM_F_CAPPED) !== 0;
  const echoed = capped ? nlmsgerr.size : nlmsgerr.size - nlmsghdr.size + align(length);
  return outcome(errno, message.payload.subarray(echoed));
}

/** Reads NLMSG_DONE: the end of a dump, with its error (older kernels send no payload). */
export function decodeDone(message: Message): Outcome {
  if (message.payload.length < 4) return { errno: 0 };
  const errno = Math.abs(struct({ error: 's32' }).decode(message.payload).error);
  return (message.flags & NLM_F_ACK_TLVS) === 0 ? { errno } : outcome(errno, message.payload.subarray(4));
}

function outcome(errno: number, tail: Uint8Array): Outcome {
  const { message, offset } = nlmsgerrAttributes.decode(tail);
  return { errno, extendedAck: message, offset };
}
