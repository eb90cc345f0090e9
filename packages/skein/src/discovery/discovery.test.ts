import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import type { Socket as DatagramSocket } from 'node:dgram';
import { once } from 'node:events';
import { closeSync, readdirSync, rmSync } from 'node:fs';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { NetworkDB } from '@skein/gossip';
import { connectTcpIn, NetworkNamespace, Nftables, tcpServerIn, udpClientIn, udpSocketIn } from '@skein/netlink';
import packet from 'dns-packet';
import { connect, send, socket } from '../../../netlink/src/kernel/libc.ts';
import { inetAddress } from '../../../netlink/src/kernel/sockaddr.ts';
import { silentLogger } from '../common/index.ts';
import { createDiscovery } from './discovery.ts';
import { openRedirect, redirectedPorts, type ServerPorts } from './redirect.ts';
import { frame, MessageReader } from './tcp-messages.ts';
import type { Discovery, PublishedEndpoint, Resolver } from './types.ts';

const AF_INET = 2;
const SOCK_RAW = 3;
const IPPROTO_UDP = 17;

const network = { id: 'n'.repeat(25), name: 'uber-net' };
const folder = `/run/skein-test-${process.pid}`;

/** What dns-packet decodes; its types forget the response code's name. */
type Decoded = packet.DecodedPacket & { rcode: string };

/** A host and a container as bare namespaces, with a name service. */
class Names implements AsyncDisposable {
  readonly host: NetworkNamespace;
  readonly container: NetworkNamespace;
  readonly discovery: Discovery;
  readonly #folder: string;

  constructor(name: string, forwardTimeoutMs = 200, auditIntervalMs = 20) {
    this.#folder = `${folder}/${name}`;
    this.host = NetworkNamespace.create(`${this.#folder}/host`, { loopback: true });
    this.container = NetworkNamespace.create(`${this.#folder}/container`, { loopback: true });
    const host = { hostNamespace: this.host, auditIntervalMs };
    this.discovery = createDiscovery({ logger: silentLogger(), ...host, forwardTimeoutMs });
  }

  resolver(changes: Partial<Resolver> = {}): Resolver {
    const { path } = this.container;
    return {
      containerId: 'c1',
      networkNamespace: path,
      networks: [network],
      upstream: [],
      internalOnly: false,
      ...changes,
    };
  }

  async ask(type: string, name: string, additionals: object[] = []): Promise<Decoded> {
    const client = await udpClientIn(this.container, { address: '127.0.0.11', port: 53 });
    try {
      const answer = once(client, 'message', { signal: AbortSignal.timeout(3000) });
      client.send(question(type, name, additionals));
      const [message] = await answer;
      return packet.decode(message) as Decoded;
    } finally {
      client.close();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.discovery[Symbol.asyncDispose]();
    for (const namespace of [this.host, this.container]) {
      namespace[Symbol.dispose]();
      NetworkNamespace.delete(namespace.path);
    }
    rmSync(this.#folder, { recursive: true, force: true });
    if (readdirSync(folder).length === 0) rmSync(folder, { recursive: true, force: true });
  }
}

/** @returns the ports to which queries are led. */
function portsIn(namespace: NetworkNamespace): ServerPorts | undefined {
  using redirect = openRedirect(namespace);
  return redirectedPorts(redirect.read());
}

function question(type: string, name: string, additionals: object[] = [], id = 7): Buffer {
  return packet.encode({
    type: 'query',
    id,
    flags: packet.RECURSION_DESIRED,
    questions: [{ type: type as packet.RecordType, name }],
    additionals: additionals as packet.Answer[],
  });
}

function endpoint(number: number, changes: Partial<PublishedEndpoint> = {}): PublishedEndpoint {
  return {
    id: String(number).padStart(64, '0'),
    networkId: network.id,
    name: `test.${number}.task${number}`,
    serviceName: 'test',
    serviceId: 'service',
    virtualIp: '',
    endpointIp: `10.0.1.${number}`,
    ingressPorts: [],
    aliases: [],
    taskAliases: [],
    ...changes,
  };
}

const data = ({ answers }: packet.DecodedPacket) =>
  (answers ?? []).map((answer) => ('data' in answer ? String(answer.data) : '')).sort();

/** A server that answers every A query with the address, after `prepare` had its say. */
async function upstream(
  namespace: NetworkNamespace,
  prepare: (query: packet.DecodedPacket) => packet.Packet | undefined,
): Promise<DatagramSocket> {
  const server = await udpSocketIn(namespace, { address: '127.0.0.1', port: 0 });
  server.on('message', (message, sender) => {
    const query = packet.decode(message);
    const answer = prepare(query);
    if (answer === undefined) return;
    const { id, questions } = query;
    server.send(
      packet.encode({ type: 'response', id: id ?? 0, questions: questions ?? [], ...answer }),
      sender.port,
      sender.address,
    );
  });
  return server;
}

const address = (name: string, value: string): packet.Answer => ({ type: 'A', name, ttl: 60, data: value });

test('a container asks for names and addresses of its networks', async () => {
  await using names = new Names('ask');
  await names.discovery.attach(names.resolver());
  names.discovery.publish(endpoint(3, { taskAliases: ['0123456789ab'] }));
  names.discovery.publish(endpoint(4));
  names.discovery.publish(endpoint(5, { networkId: 'elsewhere' }));
  assert.deepEqual(data(await names.ask('A', 'test')), ['10.0.1.3', '10.0.1.4']);
  assert.deepEqual(data(await names.ask('A', 'tasks.test.uber-net')), ['10.0.1.3', '10.0.1.4']);
  assert.deepEqual(data(await names.ask('A', '0123456789AB')), ['10.0.1.3']);
  assert.deepEqual(data(await names.ask('PTR', '3.1.0.10.in-addr.arpa')), ['test.3.task3.uber-net']);
  const empty = await names.ask('AAAA', 'test');
  assert.deepEqual([data(empty), empty.flag_aa, empty.rcode], [[], true, 'NOERROR']);
  assert.equal((await names.ask('A', 'test.5.task5')).rcode, 'SERVFAIL', 'not on our networks, and nobody to ask');

  names.discovery.disable(endpoint(4).id);
  assert.deepEqual(data(await names.ask('A', 'test')), ['10.0.1.3']);
  names.discovery.withdraw(endpoint(3).id);
  assert.equal((await names.ask('A', 'test')).rcode, 'SERVFAIL');
});

test('dig finds the names, by UDP and by TCP', async (t) => {
  if (spawnSync('dig', ['-v']).error) return t.skip('no dig here');
  await using names = new Names('dig');
  await names.discovery.attach(names.resolver());
  names.discovery.publish(endpoint(3));
  for (const option of ['+notcp', '+tcp']) {
    const command = [`--net=${names.container.path}`, 'dig', '@127.0.0.11', option, '+time=2', '+tries=1', 'test', 'A'];
    const { promise, resolve } = Promise.withResolvers<string>();
    execFile('nsenter', command, (_error, output) => resolve(output));
    const output = await promise;
    assert.match(output, /status: NOERROR/);
    assert.match(output, /flags: qr aa rd ra;/);
    assert.match(output, /^test\.\s+5\s+IN\s+A\s+10\.0\.1\.3$/m);
  }
});

test('an answer that is too long for UDP is cut and comes whole by TCP, also many on one connection', async () => {
  await using names = new Names('long');
  await names.discovery.attach(names.resolver());
  for (let number = 2; number < 102; number++) names.discovery.publish(endpoint(number));
  const short = await names.ask('A', 'test');
  assert.equal(short.flag_tc, true);
  const opt = { type: 'OPT', name: '.', udpPayloadSize: 4096, flags: 0, options: [] };
  assert.equal((await names.ask('A', 'test', [opt])).answers?.length, 100);

  const connection = await connectTcpIn(names.container, { address: '127.0.0.11', port: 53 });
  for (let id = 0; id < 200; id++) connection.write(frame(question('A', 'test', [], id)));
  const reader = new MessageReader();
  const seen = new Set<number | undefined>();
  for await (const chunk of connection) {
    for (const message of reader.read(chunk)) {
      const answer = packet.decode(Buffer.from(message));
      assert.equal(answer.answers?.length, 100);
      seen.add(answer.id);
    }
    if (seen.size === 200) break;
  }
  connection.destroy();
  assert.equal(seen.size, 200);
});

test('what is not ours goes to the servers in order; refusal, failure and silence mean the next one', async () => {
  await using names = new Names('forward');
  const silent = await upstream(names.host, () => undefined);
  const failing = await upstream(names.host, () => ({ flags: 2 }));
  const good = await upstream(names.host, () => ({ answers: [address('example.com', '192.0.2.80')] }));
  const servers = [silent, failing, good].map((s) => ({
    address: '127.0.0.1',
    port: s.address().port,
    fromContainer: false,
  }));
  try {
    await names.discovery.attach(names.resolver({ upstream: servers }));
    const answer = await names.ask('A', 'example.com');
    assert.deepEqual([data(answer), answer.id, answer.flag_aa], [['192.0.2.80'], 7, false]);
    await names.discovery.attach(names.resolver({ upstream: servers.slice(0, 2) }));
    assert.equal((await names.ask('A', 'example.com')).rcode, 'SERVFAIL');
    await names.discovery.attach(names.resolver({ upstream: servers.slice(2), internalOnly: true }));
    assert.equal((await names.ask('A', 'example.com')).rcode, 'SERVFAIL', 'an internal container does not reach out');
  } finally {
    for (const server of [silent, failing, good]) server.close();
  }
});

test('NXDOMAIN is an answer, a forged one is not, and a server may be asked from the container', async () => {
  await using names = new Names('answers');
  const negative = await upstream(names.container, () => ({ flags: 3 }));
  const forged = await upstream(names.host, (query) => ({
    id: ((query.id ?? 0) + 1) & 0xffff,
    answers: [address('a.example', '6.6.6.6')],
  }));
  try {
    const fromContainer = { address: '127.0.0.1', port: negative.address().port, fromContainer: true };
    await names.discovery.attach(names.resolver({ upstream: [fromContainer], internalOnly: true }));
    assert.equal((await names.ask('A', 'no.example')).rcode, 'NXDOMAIN');
    const fromHost = { address: '127.0.0.1', port: forged.address().port, fromContainer: false };
    await names.discovery.attach(names.resolver({ upstream: [fromHost] }));
    assert.equal((await names.ask('A', 'a.example')).rcode, 'SERVFAIL');
  } finally {
    negative.close();
    forged.close();
  }
});

test('a flood of questions to a dead server does not keep our own names waiting, and ends in answers', async () => {
  await using names = new Names('flood', 400);
  const silent = await upstream(names.host, () => undefined);
  const client = await udpClientIn(names.container, { address: '127.0.0.11', port: 53 });
  try {
    const dead = { address: '127.0.0.1', port: silent.address().port, fromContainer: false };
    await names.discovery.attach(names.resolver({ upstream: [dead] }));
    names.discovery.publish(endpoint(3));
    const codes: string[] = [];
    client.on('message', (message) => codes.push((packet.decode(message) as Decoded).rcode));
    for (let id = 0; id < 150; id++) client.send(question('A', `x${id}.example`, [], id));
    assert.deepEqual(data(await names.ask('A', 'test')), ['10.0.1.3']);
    assert.equal(codes.length, 0);
    await within(async () => codes.length === 150);
    assert.deepEqual([...new Set(codes)], ['SERVFAIL']);
  } finally {
    client.close();
    silent.close();
  }
});

test('who asks by TCP and reads no answers is not answered without end', async () => {
  await using names = new Names('deaf');
  await names.discovery.attach(names.resolver());
  for (let number = 0; number < 2000; number++) {
    names.discovery.publish(endpoint(number, { endpointIp: `10.0.${2 + (number >> 8)}.${number & 0xff}` }));
  }
  const connection = await connectTcpIn(names.container, { address: '127.0.0.11', port: 53 });
  connection.on('error', () => undefined);
  const before = process.memoryUsage().arrayBuffers;
  const asked = 1000;
  connection.write(Buffer.concat(Array.from({ length: asked }, (_, id) => frame(question('A', 'test', [], id)))));
  await sleep(500);
  const grown = process.memoryUsage().arrayBuffers - before;
  assert.ok(grown < 8 * 1024 * 1024, `${grown} bytes of answers wait`);
  const reader = new MessageReader();
  let answered = 0;
  for await (const chunk of connection) {
    answered += reader.read(chunk).length;
    if (answered === asked) break;
  }
  connection.destroy();
  assert.equal(answered, asked);
});

test('a container whose name server is 127.0.0.11 itself is told at once that there is no answer', async () => {
  await using names = new Names('loop', 1000);
  const loop = { address: '127.0.0.11', port: 53, fromContainer: true };
  await names.discovery.attach(names.resolver({ upstream: [loop] }));
  const asked = Date.now();
  assert.equal((await names.ask('A', 'elsewhere.example')).rcode, 'SERVFAIL');
  assert.ok(Date.now() - asked < 500, `answered after ${Date.now() - asked} ms`);
});

test('a container that asks for more than it can get leaves the others their answers', async () => {
  await using names = new Names('greedy', 2000);
  using greedy = NetworkNamespace.create(`${folder}/greedy/other`, { loopback: true });
  const silent = await upstream(names.host, () => undefined);
  const good = await upstream(names.host, () => ({ answers: [address('example.com', '192.0.2.80')] }));
  const [dead, living] = [silent, good].map((server) => ({
    address: '127.0.0.1',
    port: server.address().port,
    fromContainer: false,
  }));
  const clients: DatagramSocket[] = [];
  try {
    const other = { containerId: 'c2', networkNamespace: greedy.path };
    await names.discovery.attach(names.resolver({ ...other, upstream: dead ? [dead] : [] }));
    await names.discovery.attach(names.resolver({ upstream: living ? [living] : [] }));
    for (let round = 0; round < 25; round++) {
      const client = await udpClientIn(greedy, { address: '127.0.0.11', port: 53 });
      clients.push(client);
      for (let id = 0; id < 100; id++) client.send(question('A', `x${id}.example`, [], id));
      await sleep(10);
    }
    const before = Date.now();
    assert.deepEqual(data(await names.ask('A', 'example.com')), ['192.0.2.80']);
    assert.ok(Date.now() - before < 500, `answered after ${Date.now() - before} ms`);
  } finally {
    for (const socket of [...clients, silent, good]) socket.close();
    await names.discovery.detach('c2');
    NetworkNamespace.delete(greedy.path);
  }
});

test('with ndots set, a name without a dot is not asked outside', async () => {
  await using names = new Names('ndots');
  await names.discovery.attach(names.resolver({ ndots: 1 }));
  const answer = await names.ask('A', 'nosuch');
  assert.deepEqual([answer.rcode, data(answer)], ['NOERROR', []]);
  assert.equal((await names.ask('A', 'no.such')).rcode, 'SERVFAIL');
});

test('a query by TCP is forwarded by TCP', async () => {
  await using names = new Names('tcp-forward');
  const server = await tcpServerIn(names.host, { address: '127.0.0.1', port: 0 }, (connection) => {
    const reader = new MessageReader();
    connection.on('error', () => undefined);
    connection.on('data', (chunk) => {
      for (const message of reader.read(chunk)) {
        const { id, questions } = packet.decode(Buffer.from(message));
        const answers = [address('example.com', '192.0.2.81')];
        connection.write(frame(packet.encode({ type: 'response', id: id ?? 0, questions: questions ?? [], answers })));
      }
    });
  });
  try {
    const bound = server.address();
    const port = typeof bound === 'object' && bound !== null ? bound.port : 0;
    await names.discovery.attach(names.resolver({ upstream: [{ address: '127.0.0.1', port, fromContainer: false }] }));
    const connection = await connectTcpIn(names.container, { address: '127.0.0.11', port: 53 });
    connection.write(frame(question('A', 'example.com')));
    const [chunk] = await once(connection, 'data', { signal: AbortSignal.timeout(3000) });
    assert.deepEqual(data(packet.decode(chunk.subarray(2))), ['192.0.2.81']);
    connection.destroy();
  } finally {
    server.close();
  }
});

test('rubbish is answered with FORMERR or not at all, and service goes on', async () => {
  await using names = new Names('rubbish');
  await names.discovery.attach(names.resolver());
  names.discovery.publish(endpoint(3));
  const client = await udpClientIn(names.container, { address: '127.0.0.11', port: 53 });
  const connection = await connectTcpIn(names.container, { address: '127.0.0.11', port: 53 });
  connection.on('error', () => undefined);
  for (let number = 0; number < 100; number++) {
    const bytes = Buffer.from(Array.from({ length: number }, () => Math.floor(Math.random() * 256)));
    client.send(bytes);
    connection.write(frame(bytes));
  }
  assert.deepEqual(data(await names.ask('A', 'test')), ['10.0.1.3']);
  client.close();
  connection.destroy();
});

/** Sends a datagram of a sender who wants no answer: of port 0 (RFC 768). Without a checksum, which IPv4 allows. */
function sendFromNowhere(namespace: NetworkNamespace, address: string, port: number, message: Uint8Array): void {
  const header = Buffer.alloc(8);
  header.writeUInt16BE(port, 2);
  header.writeUInt16BE(header.length + message.length, 4);
  const fd = namespace.run(() => socket(AF_INET, SOCK_RAW, IPPROTO_UDP));
  try {
    connect(fd, inetAddress(address, 0));
    send(fd, Buffer.concat([header, message]));
  } finally {
    closeSync(fd);
  }
}

test('who asks from no port gets no answer, and service goes on', async () => {
  await using names = new Names('portless');
  await names.discovery.attach(names.resolver());
  names.discovery.publish(endpoint(3));
  const port = portsIn(names.container)?.udp ?? 0;
  // One that has an answer, and one that has only an error.
  for (const message of [question('A', 'test'), Buffer.alloc(12)]) {
    for (const to of [53, port]) sendFromNowhere(names.container, '127.0.0.11', to, message);
  }
  assert.deepEqual(data(await names.ask('A', 'test')), ['10.0.1.3']);
});

test('a new daemon serves again at the same ports, and detach takes the rules away', async () => {
  await using names = new Names('restart');
  await names.discovery.attach(names.resolver());
  // A client with one socket for everything, whose conversation conntrack knows.
  const client = await udpClientIn(names.container, { address: '127.0.0.11', port: 53 });
  client.on('error', () => undefined);
  const ports = portsIn(names.container);
  await names.discovery[Symbol.asyncDispose]();
  client.send(question('A', 'test'));
  const again = createDiscovery({ logger: silentLogger(), hostNamespace: names.host });
  try {
    again.publish(endpoint(3));
    await sleep(20);
    await again.attach(names.resolver());
    assert.deepEqual(portsIn(names.container), ports);
    const answer = once(client, 'message', { signal: AbortSignal.timeout(3000) });
    client.send(question('A', 'test'));
    assert.deepEqual(data(packet.decode((await answer)[0])), ['10.0.1.3']);
    await again.detach('c1');
    await again.detach('c1');
    using nft = Nftables.open(names.container);
    assert.deepEqual(nft.tables(), []);
  } finally {
    client.close();
    await again[Symbol.asyncDispose]();
  }
});

test("names are found again when somebody has flushed the rules, and others' rules stay as they are", async () => {
  await using names = new Names('flushed');
  await names.discovery.attach(names.resolver());
  names.discovery.publish(endpoint(3));
  const ports = portsIn(names.container);
  using nft = Nftables.open(names.container);
  const foreign = { family: 'ip', name: 'foreign' } as const;
  nft.run([{ add: { table: foreign } }]);
  const theirs = JSON.stringify(nft.list(foreign));
  for (const command of [
    { delete: { table: { family: 'ip', name: 'skein-dns' } } },
    { flush: { chain: { family: 'ip', table: 'skein-dns', name: 'output' } } },
  ] as const) {
    nft.run([command]);
    for (let tries = 0; tries < 100 && portsIn(names.container) === undefined; tries++) await sleep(20);
    assert.deepEqual(portsIn(names.container), ports);
    assert.deepEqual(data(await names.ask('A', 'test')), ['10.0.1.3']);
    assert.equal(JSON.stringify(nft.list(foreign)), theirs);
  }
});

test('a container may run a name server of its own at port 53', async () => {
  await using names = new Names('own-server');
  await names.discovery.attach(names.resolver());
  names.discovery.publish(endpoint(3));
  const udp = await udpSocketIn(names.container, { address: '0.0.0.0', port: 53 });
  const tcp = await tcpServerIn(names.container, { address: '0.0.0.0', port: 53 });
  try {
    assert.deepEqual(data(await names.ask('A', 'test')), ['10.0.1.3']);
  } finally {
    udp.close();
    tcp.close();
  }
});

test('names of one host are known on the other by gossip, and go with their records', async () => {
  await using left = new Names('gossip-left');
  await using right = new Names('gossip-right');
  await using one = new NetworkDB({ bindAddress: '127.0.0.1', port: 0 });
  await using two = new NetworkDB({ bindAddress: '127.0.0.1', port: 0 });
  await one.start();
  await two.start();
  await two.bootstrap([`127.0.0.1:${one.address.port}`]);
  await Promise.all([one.joinNetwork(network.id), two.joinNetwork(network.id)]);
  left.discovery.publish(endpoint(3));
  left.discovery.joinCluster(one);
  right.discovery.joinCluster(two);
  await right.discovery.attach(right.resolver());
  await within(async () => data(await right.ask('A', 'test')).join() === '10.0.1.3');
  left.discovery.disable(endpoint(3).id);
  await within(async () => (await right.ask('A', 'test')).rcode === 'SERVFAIL');
  left.discovery.publish(endpoint(3));
  await within(async () => data(await right.ask('A', 'test')).join() === '10.0.1.3');
  left.discovery.leaveCluster();
  await within(async () => (await right.ask('A', 'test')).rcode === 'SERVFAIL');
});

/** Waits until `condition` holds, at most five seconds. */
async function within(condition: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 100; tries++) {
    if (await condition()) return;
    await sleep(50);
  }
  assert.fail('it did not come about');
}
