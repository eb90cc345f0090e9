/** networkdb's messages as plain values, and their protobuf form (networkdb.proto): every one travels in a GossipMessage. */
import { create, type DescMessage, fromBinary, type MessageInitShape, toBinary } from '@bufbuild/protobuf';
import { WireError } from '../wire/index.ts';
import {
  BulkSyncMessageSchema,
  CompoundMessageSchema,
  GossipMessageSchema,
  MessageType,
  type NetworkEvent_Type,
  NetworkEventSchema,
  NetworkPushPullSchema,
  NodeEvent_Type,
  NodeEventSchema,
  TableEvent_Type,
  TableEventSchema,
} from './gen/networkdb_pb.js';
import { MAX_LAMPORT_TIME } from './lamport.ts';

export interface NodeEvent {
  readonly type: 'join' | 'leave';
  readonly lTime: number;
  readonly nodeName: string;
}
export interface NetworkEvent extends NodeEvent {
  readonly networkId: string;
}
export interface NetworkEntry {
  readonly networkId: string;
  readonly lTime: number;
  readonly nodeName: string;
  readonly leaving: boolean;
}
export interface NetworkPushPull {
  readonly lTime: number;
  readonly nodeName: string;
  readonly networks: readonly NetworkEntry[];
}
export interface TableEvent {
  readonly type: 'create' | 'update' | 'delete';
  readonly lTime: number;
  /** The entry's owner. */
  readonly nodeName: string;
  readonly networkId: string;
  readonly tableName: string;
  readonly key: string;
  readonly value: Uint8Array;
  /** Of a deletion: seconds until it may be forgotten. */
  readonly residualReapTime: number;
}
export interface BulkSync {
  readonly lTime: number;
  /** Whether an answer is wanted. */
  readonly unsolicited: boolean;
  readonly nodeName: string;
  readonly networks: readonly string[];
  /** Encoded table events. */
  readonly events: readonly Uint8Array[];
}

export type GossipMessage =
  | { readonly type: 'node'; readonly body: NodeEvent }
  | { readonly type: 'network'; readonly body: NetworkEvent }
  | { readonly type: 'table'; readonly body: TableEvent }
  | { readonly type: 'pushPull'; readonly body: NetworkPushPull }
  | { readonly type: 'bulkSync'; readonly body: BulkSync }
  | { readonly type: 'compound'; readonly body: readonly Uint8Array[] };

/** Both ways between a message and what a user message of memberlist carries. */
export interface GossipCodec {
  encode(message: GossipMessage): Uint8Array;
  /** Throws `WireError`. */
  decode(bytes: Uint8Array): GossipMessage;
}

const joinOrLeave = { join: NodeEvent_Type.JOIN, leave: NodeEvent_Type.LEAVE } as const;
const tableTypes = {
  create: TableEvent_Type.CREATE,
  update: TableEvent_Type.UPDATE,
  delete: TableEvent_Type.DELETE,
} as const;

function wrap<D extends DescMessage>(type: MessageType, schema: D, init: MessageInitShape<D>): Uint8Array {
  const data = toBinary(schema, create(schema, init));
  return toBinary(GossipMessageSchema, create(GossipMessageSchema, { type, data }));
}

const compoundInit = (parts: readonly Uint8Array[]) => ({ messages: parts.map((payload) => ({ payload })) });

function encode({ type, body }: GossipMessage): Uint8Array {
  switch (type) {
    case 'node': {
      const init = { type: joinOrLeave[body.type], lTime: BigInt(body.lTime), nodeName: body.nodeName };
      return wrap(MessageType.NODE_EVENT, NodeEventSchema, init);
    }
    case 'network': {
      const kind: NetworkEvent_Type = joinOrLeave[body.type] as number;
      return wrap(MessageType.NETWORK_EVENT, NetworkEventSchema, { ...body, type: kind, lTime: BigInt(body.lTime) });
    }
    case 'table': {
      const init = { ...body, type: tableTypes[body.type], lTime: BigInt(body.lTime) };
      return wrap(MessageType.TABLE_EVENT, TableEventSchema, init);
    }
    case 'pushPull': {
      const networks = body.networks.map((entry) => ({ ...entry, lTime: BigInt(entry.lTime) }));
      const init = { lTime: BigInt(body.lTime), nodeName: body.nodeName, networks };
      return wrap(MessageType.PUSH_PULL, NetworkPushPullSchema, init);
    }
    case 'bulkSync': {
      const { lTime, unsolicited, nodeName, networks, events } = body;
      const payload = wrap(MessageType.COMPOUND, CompoundMessageSchema, compoundInit(events));
      const init = { lTime: BigInt(lTime), unsolicited, nodeName, networks: [...networks], payload };
      return wrap(MessageType.BULK_SYNC, BulkSyncMessageSchema, init);
    }
    case 'compound':
      return wrap(MessageType.COMPOUND, CompoundMessageSchema, compoundInit(body));
  }
}

function lamport(time: bigint): number {
  if (time > BigInt(MAX_LAMPORT_TIME)) throw new WireError('malformed', `l_time ${time}`);
  return Number(time);
}

function typeName<T extends string>(types: Readonly<Record<T, number>>, value: number): T {
  for (const name in types) if (types[name] === value) return name;
  throw new WireError('malformed', `event type ${value}`);
}

function decodeBody(type: MessageType, data: Uint8Array): GossipMessage {
  switch (type) {
    case MessageType.NODE_EVENT: {
      const { nodeName, ...event } = fromBinary(NodeEventSchema, data);
      return { type: 'node', body: { type: typeName(joinOrLeave, event.type), lTime: lamport(event.lTime), nodeName } };
    }
    case MessageType.NETWORK_EVENT: {
      const { nodeName, networkId, ...event } = fromBinary(NetworkEventSchema, data);
      const kind = typeName(joinOrLeave, event.type);
      return { type: 'network', body: { type: kind, lTime: lamport(event.lTime), nodeName, networkId } };
    }
    case MessageType.TABLE_EVENT: {
      const event = fromBinary(TableEventSchema, data);
      const { nodeName, networkId, tableName, key, value, residualReapTime } = event;
      const head = { type: typeName(tableTypes, event.type), lTime: lamport(event.lTime) };
      return { type: 'table', body: { ...head, nodeName, networkId, tableName, key, value, residualReapTime } };
    }
    case MessageType.PUSH_PULL: {
      const state = fromBinary(NetworkPushPullSchema, data);
      const networks = state.networks.map(({ networkId, lTime, nodeName, leaving }) => {
        return { networkId, lTime: lamport(lTime), nodeName, leaving };
      });
      return { type: 'pushPull', body: { lTime: lamport(state.lTime), nodeName: state.nodeName, networks } };
    }
    case MessageType.BULK_SYNC: {
      const { lTime, unsolicited, nodeName, networks, payload } = fromBinary(BulkSyncMessageSchema, data);
      const inner = payload.length > 0 ? decode(payload) : { type: 'compound' as const, body: [] };
      if (inner.type !== 'compound') throw new WireError('malformed', `a bulk sync that carries a ${inner.type}`);
      return { type: 'bulkSync', body: { lTime: lamport(lTime), unsolicited, nodeName, networks, events: inner.body } };
    }
    case MessageType.COMPOUND: {
      const { messages } = fromBinary(CompoundMessageSchema, data);
      return { type: 'compound', body: messages.map(({ payload }) => payload) };
    }
    default:
      throw new WireError('unsupported', `gossip message type ${type}`);
  }
}

function decode(bytes: Uint8Array): GossipMessage {
  try {
    const { type, data } = fromBinary(GossipMessageSchema, bytes);
    return decodeBody(type, data);
  } catch (error) {
    if (error instanceof WireError) throw error;
    throw new WireError('malformed', `no gossip message: ${(error as Error).message}`, { cause: error });
  }
}

/** The form on the wire. */
export const protobufCodec: GossipCodec = { encode, decode };
