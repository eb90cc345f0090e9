import assert from 'node:assert/strict';
import { once } from 'node:events';
import { closeSync, readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import { AF_INET, POLLOUT, SOCK_CLOEXEC, SOCK_NONBLOCK, SOCK_STREAM } from './kernel/constants.ts';
import { connect, poll, socket } from './kernel/libc.ts';
import { inetAddress } from './kernel/sockaddr.ts';
import { connectTcpIn, tcpListenerIn, tcpServerIn, udpClientIn, udpSocketIn } from './sockets.ts';
import { TestNamespaces } from './testing.ts';

const namespaces = new TestNamespaces('sockets');
after(() => namespaces[Symbol.dispose]());
const [left, right] = namespaces.pair('left', 'right');
const openDescriptors = (): number => readdirSync('/proc/self/fd').length;

for (const [family, near, far] of [
  ['IPv4', '10.99.0.1', '10.99.0.2'],
  ['IPv6', 'fd99::1', 'fd99::2'],
] as const) {
  test(`UDP over ${family} between sockets of two namespaces`, async () => {
    const server = await udpSocketIn(right, { address: far, port: 0 });
    const client = await udpClientIn(left, { address: far, port: server.address().port });
    server.on('message', (data, from) => server.send(`${data} from ${from.address}`, from.port, from.address));
    const answer = once(client, 'message');
    client.send('hello');
    const [data] = (await answer) as [Buffer];
    assert.equal(data.toString(), `hello from ${near}`);
    client.close();
    server.close();
  });

  test(`TCP over ${family} between sockets of two namespaces`, async () => {
    const server = await tcpServerIn(right, { address: far, port: 0 }, (connection) => {
      connection.end(`hello ${connection.remoteAddress}`);
    });
    const { port } = server.address() as AddressInfo;
    const client = await connectTcpIn(left, { address: far, port });
    const chunks = await client.toArray();
    assert.equal(Buffer.concat(chunks).toString(), `hello ${near}`);
    client.destroy();
    server.close();
    await once(server, 'close');
  });
}

test('the same port is free in each namespace, and taken twice in one is an error', async () => {
  const first = await udpSocketIn(left, { address: '0.0.0.0', port: 5353 });
  const second = await udpSocketIn(right, { address: '0.0.0.0', port: 5353 });
  const descriptors = openDescriptors();
  await assert.rejects(udpSocketIn(left, { address: '0.0.0.0', port: 5353 }), { code: 'EADDRINUSE' });
  await assert.rejects(tcpServerIn(left, { address: '192.0.2.1', port: 80 }), { code: 'EADDRNOTAVAIL' });
  assert.equal(openDescriptors(), descriptors);
  first.close();
  second.close();
});

test('reusePort lets two sockets share a port', async () => {
  const options = { address: '10.99.0.1', port: 5454, reusePort: true };
  const sockets = [await udpSocketIn(left, options), await udpSocketIn(left, options)];
  for (const socket of sockets) socket.close();
});

test('a server keeps no more connections waiting than its backlog says', async () => {
  const server = await tcpServerIn(right, { address: '10.99.0.2', port: 0, backlog: 1 });
  const { port } = server.address() as AddressInfo;
  // The event loop does not turn here, so that nobody accepts; one more than the backlog gets in.
  const clients = Array.from({ length: 5 }, () => {
    const fd = right.run(() => socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    assert.throws(() => connect(fd, inetAddress('10.99.0.2', port)), { code: 'EINPROGRESS' });
    return fd;
  });
  assert.equal(clients.filter((fd) => poll(fd, POLLOUT, 0) !== 0).length, 2);
  for (const fd of clients) closeSync(fd);
  server.close();
});

test('a listening descriptor serves HTTP', async () => {
  const server = createServer((_, response) => response.end('served'));
  server.listen({ fd: tcpListenerIn(right, { address: '10.99.0.2', port: 8080 }) });
  await once(server, 'listening');
  const client = await connectTcpIn(left, { address: '10.99.0.2', port: 8080, localAddress: '10.99.0.1' });
  client.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  const text = Buffer.concat(await client.toArray()).toString();
  assert.match(text, /^HTTP\/1.1 200 OK(?:.|\r|\n)*served/);
  client.destroy();
  server.close();
  await once(server, 'close');
});

test('a refused, an unroutable and an aborted connection are typed errors and leave no descriptor', async () => {
  const descriptors = openDescriptors();
  await assert.rejects(connectTcpIn(left, { address: '10.99.0.2', port: 9 }), { code: 'ECONNREFUSED' });
  await assert.rejects(connectTcpIn(left, { address: '198.51.100.1', port: 9 }), { code: 'ENETUNREACH' });
  // Nobody answers for this address: the attempt stays in progress.
  const silent = { address: '10.99.0.77', port: 9 };
  await assert.rejects(connectTcpIn(left, { ...silent, timeoutMs: 40 }), { code: 'ETIMEDOUT' });
  await assert.rejects(connectTcpIn(left, { ...silent, signal: AbortSignal.timeout(20) }), { name: 'AbortError' });
  assert.equal(openDescriptors(), descriptors);
});
