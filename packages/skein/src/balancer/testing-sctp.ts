/** SCTP without SCTP sockets, which many kernels lack: INIT packets (RFC 9260 §3.3.2) over raw sockets. */
import { closeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode, type NetworkNamespace } from '@skein/netlink';
import { connect, receive, send, socket } from '../../../netlink/src/kernel/libc.ts';
import { inetAddress } from '../../../netlink/src/kernel/sockaddr.ts';

const AF_INET = 2;
const SOCK_RAW_NONBLOCK = 0x803;
const IPPROTO_SCTP = 132;
const CASTAGNOLI = 0x82f63b78;
const [headerLength, chunkLength] = [12, 20];

function crc32c(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? CASTAGNOLI : 0);
  }
  return ~crc >>> 0;
}

function init(sourcePort: number, destinationPort: number): Buffer {
  const packet = Buffer.alloc(headerLength + chunkLength);
  packet.writeUInt16BE(sourcePort, 0);
  packet.writeUInt16BE(destinationPort, 2);
  packet.writeUInt8(1, headerLength);
  packet.writeUInt16BE(chunkLength, headerLength + 2);
  packet.writeUInt32BE(0x12345678, headerLength + 4);
  packet.writeUInt32BE(65536, headerLength + 8);
  packet.writeUInt32BE(0x00010001, headerLength + 12);
  packet.writeUInt32LE(crc32c(packet), 8);
  return packet;
}

/** Sends an INIT. @returns where it came out at the listener: `source > destination address:port`, or nothing. */
export async function sendInit(
  from: NetworkNamespace,
  to: { address: string; port: number },
  listener: NetworkNamespace,
): Promise<string | undefined> {
  const open = (namespace: NetworkNamespace): number =>
    namespace.run(() => socket(AF_INET, SOCK_RAW_NONBLOCK, IPPROTO_SCTP));
  const receiver = open(listener);
  const sender = open(from);
  try {
    connect(sender, inetAddress(to.address, 0));
    send(sender, init(40_000 + Math.floor(Math.random() * 20_000), to.port));
    for (let tries = 0; tries < 40; tries++) {
      const packet = receiveOne(receiver);
      if (packet !== undefined) return describe(packet);
      await sleep(25);
    }
    return undefined;
  } finally {
    closeSync(sender);
    closeSync(receiver);
  }
}

function receiveOne(fd: number): Buffer | undefined {
  const buffer = Buffer.alloc(2048);
  try {
    return buffer.subarray(0, receive(fd, buffer));
  } catch (error) {
    if (hasCode(error, 'EAGAIN')) return undefined;
    throw error;
  }
}

/** The packet begins with its IP header. */
function describe(packet: Buffer): string {
  const sctp = packet.subarray(((packet[0] ?? 0) & 0xf) * 4);
  const checksum = sctp.readUInt32LE(8);
  const bare = Buffer.from(sctp);
  bare.writeUInt32LE(0, 8);
  const note = checksum === crc32c(bare) ? '' : ' (wrong checksum)';
  const address = (offset: number): string => [...packet.subarray(offset, offset + 4)].join('.');
  return `${address(12)} > ${address(16)}:${sctp.readUInt16BE(2)}${note}`;
}
