/**
 * The DNS messages that the embedded server reads and writes (RFC 1035 section 4). It reads queries and writes its own
 * answers; whatever is forwarded stays the bytes it was.
 *
 *     header (12 bytes):  ID | QR OPCODE AA TC RD | RA Z AD CD RCODE | QDCOUNT | ANCOUNT | NSCOUNT | ARCOUNT
 *     question:           QNAME | QTYPE | QCLASS
 *     resource record:    NAME | TYPE | CLASS | TTL (4) | RDLENGTH | RDATA
 */
import { formatAddress, parseAddress } from '@skein/netlink';

/** RFC 1035 section 4.1.1. */
export const headerSize = 12;
/** RFC 1035 section 2.3.4: the size of a UDP message without EDNS, of a name and of a label. */
export const plainUdpSize = 512;
const maximumNameSize = 255;
const maximumLabelSize = 63;

/** RFC 1035 section 3.2.2, RFC 3596, RFC 6891, RFC 8482. */
export const recordType = { A: 1, PTR: 12, MX: 15, AAAA: 28, OPT: 41, ANY: 255 } as const;
/** RFC 1035 section 3.2.4. */
export const recordClass = { IN: 1, ANY: 255 } as const;
/** RFC 1035 section 4.1.1. */
export const responseCode = { noError: 0, formatError: 1, serverFailure: 2, notImplemented: 4, refused: 5 } as const;

/** Bits of the header's second word (RFC 1035 section 4.1.1, RFC 4035 section 3.2). */
const flag = {
  response: 0x8000,
  authoritative: 0x0400,
  truncated: 0x0200,
  desired: 0x0100,
  available: 0x0080,
} as const;
const checkingDisabledFlag = 0x0010;
const opcodeShift = 11;
const opcodeMask = 0xf;
const responseCodeMask = 0xf;
/** RFC 1035 section 4.1.4: a pointer to the question's name, which always follows the header. */
const pointerToQuestion = 0xc000 | headerSize;
const pointerMask = 0xc0;
/** An answer before its RDATA: a pointer for its name, type, class, TTL, RDLENGTH. */
const answerSize = 12;
/** An OPT record without options: root name, type, class (= payload size), TTL, RDLENGTH (RFC 6891 section 6.1.2). */
const optRecordSize = 11;
/** What this server takes by UDP, told to clients that speak EDNS (dnsflagday.net/2020). */
const ownPayloadSize = 1232;

export interface Question {
  /** Without the final dot, as sent; `` for the root. A dot inside a label is written `\.`. */
  readonly name: string;
  readonly type: number;
  readonly class: number;
}

export interface Query {
  readonly id: number;
  readonly recursionDesired: boolean;
  readonly checkingDisabled: boolean;
  readonly question: Question;
  /** The question's bytes, echoed in the answer. */
  readonly questionBytes: Uint8Array;
  /** The UDP payload the client takes (RFC 6891), undefined without EDNS. */
  readonly payloadSize: number | undefined;
}

/** What an answer carries for the question's name. */
export type Answer =
  | { readonly type: 'A'; readonly address: string }
  | { readonly type: 'AAAA'; readonly address: string }
  | { readonly type: 'PTR'; readonly name: string };

export interface Reply {
  readonly code: number;
  readonly authoritative: boolean;
  readonly answers: readonly Answer[];
  /** Seconds. */
  readonly timeToLive: number;
}

/** A message that is not a query this server can read. `reply` says whether its sender can be told so. */
export class DnsMessageError extends Error {
  override readonly name = 'DnsMessageError';
  /** The RCODE to answer with; undefined = say nothing. */
  readonly code: number | undefined;

  constructor(message: string, code: number | undefined) {
    super(message);
    this.code = code;
  }
}

/**
 * Reads a query.
 * @throws DnsMessageError when it is none; nothing else, whatever the bytes are.
 */
export function decodeQuery(bytes: Uint8Array): Query {
  if (bytes.length < headerSize) throw new DnsMessageError('shorter than a DNS header', undefined);
  const view = viewOf(bytes);
  const flags = view.getUint16(2);
  if (flags & flag.response) throw new DnsMessageError('a response, not a query', undefined);
  if ((flags >> opcodeShift) & opcodeMask)
    throw new DnsMessageError('not a standard query', responseCode.notImplemented);
  if (view.getUint16(4) !== 1) throw new DnsMessageError('not exactly one question', responseCode.formatError);

  const { name, end } = readName(bytes, headerSize);
  if (end + 4 > bytes.length) throw new DnsMessageError('the question is cut off', responseCode.formatError);
  return {
    id: view.getUint16(0),
    recursionDesired: (flags & flag.desired) !== 0,
    checkingDisabled: (flags & checkingDisabledFlag) !== 0,
    question: { name, type: view.getUint16(end), class: view.getUint16(end + 2) },
    questionBytes: bytes.slice(headerSize, end + 4),
    payloadSize: hasOnlyAdditional(view) ? readPayloadSize(bytes, view, end + 4) : undefined,
  };
}

/**
 * Writes the answer to a query in at most `limit` bytes. Answers that do not fit are left out and TC is set, so that
 * the client asks again by TCP (RFC 2181 section 9).
 */
export function encodeReply(query: Query, reply: Reply, limit: number): Uint8Array {
  const { questionBytes, payloadSize } = query;
  const optSize = payloadSize === undefined ? 0 : optRecordSize;
  const encoded = reply.answers.map((answer) => ({ type: recordType[answer.type], data: encodeData(answer) }));
  let size = headerSize + questionBytes.length + optSize;
  const cut = encoded.findIndex(({ data }) => {
    size += answerSize + data.length;
    return size > limit;
  });
  const kept = cut < 0 ? encoded : encoded.slice(0, cut);
  if (cut >= 0) size -= answerSize + (encoded[cut]?.data.length ?? 0);
  const bytes = Buffer.alloc(size);
  writeHeader(bytes, {
    id: query.id,
    flags:
      flag.response |
      (reply.authoritative ? flag.authoritative : 0) |
      (kept.length < encoded.length ? flag.truncated : 0) |
      (query.recursionDesired ? flag.desired : 0) |
      flag.available |
      (query.checkingDisabled ? checkingDisabledFlag : 0) |
      (reply.code & responseCodeMask),
    questions: 1,
    answers: kept.length,
    additional: payloadSize === undefined ? 0 : 1,
  });
  bytes.set(questionBytes, headerSize);
  let offset = headerSize + questionBytes.length;
  for (const { type, data } of kept) offset = writeAnswer(bytes, offset, type, reply.timeToLive, data);
  if (payloadSize !== undefined) writeOpt(bytes, offset);
  return bytes;
}

/** Writes the bare header that answers a message whose question could not be read. */
export function encodeFailure(request: Uint8Array, code: number): Uint8Array {
  const view = viewOf(request);
  const flags = flag.response | (view.getUint16(2) & (flag.desired | (opcodeMask << opcodeShift))) | code;
  return encodeHeader({ id: view.getUint16(0), flags, questions: 0, answers: 0, additional: 0 });
}

/** @returns what a client takes by UDP: its EDNS size, never less than 512 (RFC 6891 section 6.2.3). */
export function udpLimit(query: Query): number {
  return Math.max(plainUdpSize, query.payloadSize ?? plainUdpSize);
}

/** @returns the message's RCODE. The message must hold a header. */
export function responseCodeOf(message: Uint8Array): number {
  return viewOf(message).getUint16(2) & responseCodeMask;
}

/** @returns whether `response` answers a message with this ID and question (RFC 5452 section 9.1). */
export function isResponseTo(response: Uint8Array, id: number, questionBytes: Uint8Array): boolean {
  if (response.length < headerSize) return false;
  const view = viewOf(response);
  if (view.getUint16(0) !== id || !(view.getUint16(2) & flag.response)) return false;
  // A server that refuses or fails may leave the question out.
  if (view.getUint16(4) === 0) return responseCodeOf(response) !== responseCode.noError;
  const echoed = response.subarray(headerSize, headerSize + questionBytes.length);
  return (
    Buffer.from(echoed).toString('latin1').toLowerCase() === Buffer.from(questionBytes).toString('latin1').toLowerCase()
  );
}

/** @returns a copy of the message with another ID. */
export function withId(message: Uint8Array, id: number): Uint8Array {
  const copy = Uint8Array.from(message);
  viewOf(copy).setUint16(0, id);
  return copy;
}

/** Cuts a forwarded answer to what the client takes: the header with TC and the question alone. */
export function truncate(response: Uint8Array, query: Query): Uint8Array {
  const flags = viewOf(response).getUint16(2) | flag.truncated;
  const header = encodeHeader({ id: query.id, flags, questions: 1, answers: 0, additional: 0 });
  return Buffer.concat([header, query.questionBytes]);
}

/**
 * @returns the address that a name below in-addr.arpa (RFC 1035 section 3.5) or ip6.arpa (RFC 3596 section 2.5) stands
 * for, else undefined.
 */
export function addressOfReverseName(name: string): string | undefined {
  const nibbles = /^((?:[0-9a-f]\.){32})ip6\.arpa\.?$/i.exec(name)?.[1];
  if (nibbles !== undefined) {
    return formatAddress(Buffer.from(nibbles.replaceAll('.', '').split('').reverse().join(''), 'hex'));
  }
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa\.?$/i.exec(name);
  if (match === null) return undefined;
  const bytes = match.slice(1).reverse().map(Number);
  return bytes.every((byte) => byte <= 255) ? bytes.join('.') : undefined;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function hasOnlyAdditional(view: DataView): boolean {
  return view.getUint16(6) === 0 && view.getUint16(8) === 0;
}

/** Reads the question's name: labels up to the root. A pointer has nothing before it to point to, so it is refused. */
function readName(bytes: Uint8Array, start: number): { name: string; end: number } {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  let name = '';
  let offset = start;
  for (;;) {
    const length = bytes[offset];
    if (length === undefined) throw new DnsMessageError('the name is cut off', responseCode.formatError);
    if (length === 0) return { name, end: offset + 1 };
    if (length & pointerMask) throw new DnsMessageError('a pointer in the question', responseCode.formatError);
    const end = offset + 1 + length;
    if (end - start >= maximumNameSize) throw new DnsMessageError('the name is too long', responseCode.formatError);
    if (end > bytes.length) throw new DnsMessageError('the name is cut off', responseCode.formatError);
    const label = text.toString('latin1', offset + 1, end);
    name += (name === '' ? '' : '.') + (label.includes('.') ? label.replaceAll('.', '\\.') : label);
    offset = end;
  }
}

/** @returns the payload size of the OPT record among the additional records, undefined if there is none. */
function readPayloadSize(bytes: Uint8Array, view: DataView, start: number): number | undefined {
  let offset = start;
  // BOUNDED: each record takes at least 11 bytes of the message.
  for (let left = view.getUint16(10); left > 0; left--) {
    const fixed = skipName(bytes, offset);
    if (fixed + 10 > bytes.length) throw new DnsMessageError('a record is cut off', responseCode.formatError);
    if (view.getUint16(fixed) === recordType.OPT) return view.getUint16(fixed + 2);
    offset = fixed + 10 + view.getUint16(fixed + 8);
  }
  return undefined;
}

/** @returns the offset after a name that may end in a pointer. */
function skipName(bytes: Uint8Array, start: number): number {
  let offset = start;
  for (;;) {
    const length = bytes[offset];
    if (length === undefined) throw new DnsMessageError('a record is cut off', responseCode.formatError);
    if (length === 0) return offset + 1;
    if ((length & pointerMask) === pointerMask) return offset + 2;
    offset += 1 + length;
  }
}

interface Header {
  readonly id: number;
  readonly flags: number;
  readonly questions: number;
  readonly answers: number;
  readonly additional: number;
}

function encodeHeader(header: Header): Buffer {
  const bytes = Buffer.alloc(headerSize);
  writeHeader(bytes, header);
  return bytes;
}

function writeHeader(bytes: Buffer, header: Header): void {
  bytes.writeUInt16BE(header.id, 0);
  bytes.writeUInt16BE(header.flags, 2);
  bytes.writeUInt16BE(header.questions, 4);
  bytes.writeUInt16BE(header.answers, 6);
  bytes.writeUInt16BE(0, 8);
  bytes.writeUInt16BE(header.additional, 10);
}

function encodeData(answer: Answer): Uint8Array {
  return answer.type === 'PTR' ? encodeName(answer.name) : parseAddress(answer.address);
}

/** @returns the offset after the record. */
function writeAnswer(bytes: Buffer, offset: number, type: number, timeToLive: number, data: Uint8Array): number {
  bytes.writeUInt16BE(pointerToQuestion, offset);
  bytes.writeUInt16BE(type, offset + 2);
  bytes.writeUInt16BE(recordClass.IN, offset + 4);
  bytes.writeUInt32BE(timeToLive, offset + 6);
  bytes.writeUInt16BE(data.length, offset + 10);
  bytes.set(data, offset + answerSize);
  return offset + answerSize + data.length;
}

/**
 * Writes a name, uncompressed. Labels longer than DNS allows are cut, and a name too long for DNS loses labels at its
 * end: names come from other nodes and must not stop an answer.
 */
function encodeName(name: string): Uint8Array {
  const parts: Buffer[] = [];
  let size = 1;
  for (const label of name.split('.')) {
    const bytes = Buffer.from(label, 'utf8').subarray(0, maximumLabelSize);
    if (bytes.length === 0) continue;
    if (size + 1 + bytes.length > maximumNameSize) break;
    parts.push(Buffer.from([bytes.length]), bytes);
    size += 1 + bytes.length;
  }
  return Buffer.concat([...parts, Buffer.from([0])]);
}

/** The rest of the record is zero. */
function writeOpt(bytes: Buffer, offset: number): void {
  bytes.writeUInt16BE(recordType.OPT, offset + 1);
  bytes.writeUInt16BE(ownPayloadSize, offset + 3);
}
