import assert from 'node:assert/strict';
import { closeSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type NetworkNamespace, udpClientIn, udpSocketIn } from '@skein/netlink';
import { connect, send, socket } from '../../../netlink/src/kernel/libc.ts';
import { inetAddress } from '../../../netlink/src/kernel/sockaddr.ts';
import { TestNamespaces } from '../../../netlink/src/testing.ts';
import { openIpv6Relay } from './ipv6-relay.ts';

const AF_INET6 = 10;
const SOCK_RAW = 3;
const IPPROTO_UDP = 17;

/** The sum over a datagram and the part of its IP header that counts (RFC 8200 §8.1). */
function checksum(bytes: Buffer): number {
  let sum = 0;
  for (let offset = 0; offset < bytes.length; offset += 2) sum += bytes.readUInt16BE(offset);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

/** Sends a datagram of a sender who wants no answer: of port 0 (RFC 768). */
function sendFromNowhere(namespace: NetworkNamespace, port: number, text: string): void {
  const datagram = Buffer.alloc(8 + text.length);
  datagram.writeUInt16BE(port, 2);
  datagram.writeUInt16BE(datagram.length, 4);
  datagram.write(text, 8);
  const loopback = Buffer.alloc(16);
  loopback[15] = 1;
  const rest = Buffer.from([0, 0, 0, datagram.length, 0, 0, 0, IPPROTO_UDP]);
  datagram.writeUInt16BE(checksum(Buffer.concat([loopback, loopback, rest, datagram])), 6);
  const fd = namespace.run(() => socket(AF_INET6, SOCK_RAW, IPPROTO_UDP));
  try {
    connect(fd, inetAddress('::1', 0));
    send(fd, datagram);
  } finally {
    closeSync(fd);
  }
}

test('a datagram whose sender names no port is passed on, and its answer goes nowhere', async () => {
  using namespaces = new TestNamespaces('ipv6-relay');
  const host = namespaces.create('host');
  const server = await udpSocketIn(host, { address: '127.0.0.1', port: 7000 });
  const heard: string[] = [];
  server.on('message', (data, { port, address }) => {
    heard.push(data.toString());
    server.send('answer', port, address);
  });
  using _relay = await openIpv6Relay(host, 'udp', { address: '::', port: 7000 }, { address: '127.0.0.1', port: 7000 });
  sendFromNowhere(host, 7000, 'from nowhere');
  for (let tries = 0; tries < 100 && heard.length === 0; tries++) await sleep(10);
  const client = await udpClientIn(host, { address: '::1', port: 7000 });
  const answer = new Promise((resolve) => client.once('message', resolve));
  client.send('from here..');
  assert.equal(String(await answer), 'answer');
  assert.deepEqual(heard, ['from nowhere', 'from here..']);
  client.close();
  server.close();
});
