/**
 * How a task's namespace remembers from which entrance a connection came: by the last four bytes of the sender's MAC,
 * which Docker's rule (02:42 and the address) makes the entrance's address on the ingress network. They are the
 * connection's mark, and an answer goes to the MAC that the mark says. So nothing is to be kept per entrance, and one
 * that has just joined finds its answers coming. Pure.
 */
import { endianness } from 'node:os';
import { type NftExpression, type NftStatement, Prefix } from '@skein/netlink';
import type { DispatchTable } from './dispatch.ts';
import { BaseBuilder, priority } from './rules.ts';
import type { ReturnPathSpec } from './types.ts';

/** Ethernet: the destination's MAC, then the sender's; offsets in bits. */
const macBits = 48;
const addressBits = 32;
const bitsPerByte = 8;
const senderAddress = linkLayer(2 * macBits - addressBits, addressBits);
/** A zone has 16 bits: the last ones, in which entrances differ unless there are more than 65 536 addresses. */
const zoneBits = 16;
const senderZone = linkLayer(2 * macBits - zoneBits, zoneBits);
const packetMark: NftExpression = { meta: { key: 'mark' } };
const connectionMark: NftExpression = { ct: { key: 'mark' } };

/** What an entrance's mark has in common with all others of the subnet, as the kernel's number. */
export interface EntranceMarks {
  readonly mark: number;
  readonly mask: number;
}

/** @param subnet the ingress network's, in CIDR notation. */
export function entranceMarks(subnet: string): EntranceMarks {
  const { network, length } = Prefix.parse(subnet);
  const bytes = Buffer.from(network.split('.').map(Number));
  const mask = Buffer.alloc(bytes.length);
  mask.writeUInt32BE(length === 0 ? 0 : (2 ** addressBits - 2 ** (addressBits - length)) >>> 0);
  return { mark: inKernel(bytes), mask: inKernel(mask) };
}

/** The packet's mark says its entrance; and equal flows from two entrances are two to connection tracking. */
export const markPacket: readonly NftStatement[] = [
  { mangle: { key: packetMark, value: senderAddress } },
  { mangle: { key: { ct: { key: 'zone', dir: 'original' } }, value: senderZone } },
];
export const markConnection: NftStatement = { mangle: { key: connectionMark, value: packetMark } };
/** An answer gets its connection's mark, by which it is routed. */
export const markAnswer = (subnet: string): readonly NftStatement[] => [
  isMarked('==', connectionMark, entranceMarks(subnet)),
  { mangle: { key: packetMark, value: connectionMark } },
];

/**
 * The table that gives marked frames their entrance's MAC. They come here with the subnet's address for the entrance's,
 * of which bit after bit is set: libnftables copies no mark into a packet before its version 1.0.9.
 */
export function answerTable(name: string, { interfaceName, subnet }: ReturnPathSpec): DispatchTable {
  const table = { family: 'netdev', name } as const;
  const { length } = Prefix.parse(subnet);
  const bits = Array.from({ length: addressBits - length }, (_, index) => addressBits - 1 - index);
  const base = new BaseBuilder(table).chain(
    'answers',
    { type: 'filter', hook: 'egress', prio: priority.filter, dev: interfaceName },
    [isMarked('!=', packetMark, entranceMarks(subnet)), { return: null }],
    ...bits.map((bit) => copyBit(bit)),
  );
  return { ...table, base: base.objects, branches: new Map() };
}

/** @param bit counted from the address's first. */
function copyBit(bit: number): NftStatement[] {
  const byte = Math.floor(bit / bitsPerByte);
  const value = 1 << (bitsPerByte - 1 - (bit % bitsPerByte));
  const bytes = Buffer.alloc(addressBits / bitsPerByte);
  bytes[byte] = value;
  const mark = inKernel(bytes);
  const target = linkLayer(macBits - addressBits + byte * bitsPerByte, bitsPerByte);
  return [
    isMarked('==', packetMark, { mark, mask: mark }),
    { mangle: { key: target, value: { '|': [target, value] } } },
  ];
}

function linkLayer(offset: number, len: number): NftExpression {
  return { payload: { base: 'll', offset, len } };
}

/** As libnftables lists it: a mask of leading ones is a prefix. */
function isMarked(op: '==' | '!=', left: NftExpression, { mark, mask }: EntranceMarks): NftStatement {
  const length = Math.clz32(~mask);
  const isPrefix = mask !== 0 && mask === (2 ** addressBits - 2 ** (addressBits - length)) >>> 0;
  const right = isPrefix ? { prefix: { addr: mark, len: length } } : mark;
  return { match: { op, left: isPrefix ? left : { '&': [left, mask] }, right } };
}

/** @returns the number as which this machine's kernel sees four bytes of a packet. */
function inKernel(bytes: Buffer): number {
  return endianness() === 'LE' ? bytes.readUInt32LE() : bytes.readUInt32BE();
}
