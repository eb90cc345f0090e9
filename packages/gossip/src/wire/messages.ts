/**
 * memberlist's messages: a type byte and a msgpack struct (net.go of hashicorp/memberlist v0.6.0).
 * The numbers are part of the protocol.
 */
import { WireError } from './errors.ts';
import { field, type Infer, Reader, type Struct, struct, Writer } from './msgpack.ts';

export const MessageType = {
  ping: 0,
  indirectPing: 1,
  ackResp: 2,
  suspect: 3,
  alive: 4,
  dead: 5,
  pushPull: 6,
  compound: 7,
  user: 8,
  compress: 9,
  encrypt: 10,
  nackResp: 11,
  hasCrc: 12,
  error: 13,
  label: 244,
} as const;

/** A node's state in a push/pull (state.go). */
export const NodeState = { alive: 0, suspect: 1, dead: 2, left: 3 } as const;

const pingSource = {
  sourceAddr: field('SourceAddr', 'bytes', true),
  sourcePort: field('SourcePort', 'uint16', true),
  sourceNode: field('SourceNode', 'string', true),
};
const accusation = struct({
  incarnation: field('Incarnation', 'uint32'),
  node: field('Node', 'string'),
  from: field('From', 'string'),
});

const schemas = {
  ping: struct({ seqNo: field('SeqNo', 'uint32'), node: field('Node', 'string'), ...pingSource }),
  indirectPing: struct({
    seqNo: field('SeqNo', 'uint32'),
    target: field('Target', 'bytes'),
    port: field('Port', 'uint16'),
    node: field('Node', 'string'),
    nack: field('Nack', 'bool'),
    ...pingSource,
  }),
  ackResp: struct({ seqNo: field('SeqNo', 'uint32'), payload: field('Payload', 'bytes') }),
  nackResp: struct({ seqNo: field('SeqNo', 'uint32') }),
  suspect: accusation,
  dead: accusation,
  alive: struct({
    incarnation: field('Incarnation', 'uint32'),
    node: field('Node', 'string'),
    addr: field('Addr', 'bytes'),
    port: field('Port', 'uint16'),
    meta: field('Meta', 'bytes'),
    vsn: field('Vsn', 'bytes'),
  }),
};
export type Ping = Infer<typeof schemas.ping>;
export type IndirectPing = Infer<typeof schemas.indirectPing>;
export type AckResp = Infer<typeof schemas.ackResp>;
export type Accusation = Infer<typeof accusation>;
export type Alive = Infer<typeof schemas.alive>;

export const pushPullHeader = struct({
  nodes: field('Nodes', 'uint32'),
  userStateLen: field('UserStateLen', 'uint32'),
  join: field('Join', 'bool'),
});
export const pushNodeState = struct({
  name: field('Name', 'string'),
  addr: field('Addr', 'bytes'),
  port: field('Port', 'uint16'),
  meta: field('Meta', 'bytes'),
  incarnation: field('Incarnation', 'uint32'),
  state: field('State', 'uint8'),
  vsn: field('Vsn', 'bytes'),
});
export type PushNodeState = Infer<typeof pushNodeState>;
export const userHeader = struct({ userMsgLen: field('UserMsgLen', 'uint32') });
export const errorResponse = struct({ error: field('Error', 'string') });
export const compressed = struct({ algo: field('Algo', 'uint8'), buf: field('Buf', 'bytes') });

type Bodies = { readonly [K in keyof typeof schemas]: Infer<(typeof schemas)[K]> };
/** A decoded message of a packet. */
export type Message =
  | { readonly [K in keyof Bodies]: { readonly type: K; readonly body: Bodies[K] } }[keyof Bodies]
  | { readonly type: 'user'; readonly body: Uint8Array };

/**
 * A message and its bytes. Both are kept, so that what is relayed goes out as it came in,
 * and what is sent many times is encoded once. Neither may be changed.
 */
export interface Part {
  readonly message: Message;
  readonly bytes: Uint8Array;
}

const nameOf = new Map(Object.keys(schemas).map((name) => [MessageType[name as keyof Bodies], name as keyof Bodies]));

/** Encodes a message together with its type byte. */
export function toPart(message: Message): Part {
  const writer = new Writer();
  writer.byte(MessageType[message.type]);
  if (message.type === 'user') writer.append(message.body);
  else (schemas[message.type] as Struct<unknown>).encode(message.body, writer);
  return { message, bytes: writer.finish() };
}

/** Decodes one message with its type byte; throws `WireError`. Bytes after the struct are ignored, as Go does. */
export function parsePart(bytes: Uint8Array): Part {
  const [type] = bytes;
  if (type === undefined) throw new WireError('truncated', 'an empty message');
  if (type === MessageType.user) return { message: { type: 'user', body: bytes.subarray(1) }, bytes };
  const name = nameOf.get(type as (typeof MessageType)[keyof Bodies]);
  if (!name) throw new WireError('unsupported', `message type ${type} in a packet`);
  const body = schemas[name].decode(new Reader(bytes, 1));
  return { message: { type: name, body } as Message, bytes };
}
