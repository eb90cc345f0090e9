import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  connectTcpIn,
  decodeFrame,
  NetworkNamespace,
  PacketSocket,
  parseAddress,
  parseMac,
  RouteSocket,
  SystemError,
  tcpServerIn,
  tcxPrograms,
  udpSocketIn,
} from '@skein/netlink';
import pino from 'pino';
import { TestNamespaces } from '../../../../netlink/src/testing.ts';
import { silentLogger } from '../../common/index.ts';
import { macOfAddress, networkNamespaceName } from '../names.ts';
import { reaches, show, steadyFlow, type TestHost, TestUnderlay, testNetwork, testSandbox } from '../testing.ts';
import type { OverlayNetwork, SandboxState } from '../types.ts';
import { openFastPath } from './fast-path.ts';
import { NoFastPath } from './no-fast-path.ts';
import { HostPrograms } from './programs.ts';

const sandboxPath = (host: TestHost, network: OverlayNetwork): string =>
  `${host.namespaceDirectory}/${networkNamespaceName(network.id)}`;

/** The frames that pass a link while it is in use, each as one line. */
class Watch implements Disposable {
  readonly #socket: PacketSocket;

  constructor(path: string, link: string) {
    using namespace = NetworkNamespace.open(path);
    this.#socket = PacketSocket.open(namespace, link);
  }

  /** Waits until frames under way have come. */
  async lines(): Promise<string[]> {
    await sleep(50);
    return this.#socket.drain(100_000).map(({ data, direction }) => {
      const layers = decodeFrame(data).map((layer) => {
        if (layer.type === 'ipv4') return `${layer.source}>${layer.destination}`;
        if (layer.type === 'vxlan') return `vni ${layer.vni}`;
        return layer.type === 'ethernet' ? `${layer.source}>${layer.destination}` : layer.type;
      });
      return `${direction} ${data.length} ${layers.filter((layer) => layer !== 'payload').join(' ')}`;
    });
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }
}

/** Which links the frames of TCP and UDP between two containers pass. */
async function way(host: TestHost, network: OverlayNetwork, action: () => Promise<unknown>): Promise<string[]> {
  using vxlan = new Watch(sandboxPath(host, network), 'vxlan0');
  using underlay = new Watch(host.namespace.path, 'eth0');
  await action();
  const isTransport = (line: string): boolean => / (udp|tcp)$/.test(line);
  const passed: string[] = [];
  const slow = (await vxlan.lines()).filter(isTransport);
  if (slow.length > 0) passed.push('vxlan0');
  if ((await underlay.lines()).some((line) => isTransport(line) && line.includes(' vni '))) passed.push('underlay');
  return passed;
}

/** Waits until the host's programs are on its underlay and on the container's port. */
async function eventually(condition: () => boolean | Promise<boolean>, what: () => string): Promise<void> {
  for (let tries = 0; tries < 200; tries++) {
    if (await condition()) return;
    await sleep(25);
  }
  assert.fail(what());
}

/** Waits until frames to the container's neighbour skip the kernel's way. */
async function untilFast(host: TestHost, network: OverlayNetwork, from: string, to: string, address: string) {
  let seen: string[] = [];
  await eventually(
    async () => {
      seen = await way(host, network, () => reaches(from, to, address));
      return seen.join() === 'underlay';
    },
    () => `frames to ${address} pass ${seen.join()}`,
  );
}

/** Sends random bytes and gets them back. @returns whether they are the same. */
async function echoes(from: string, to: string, address: string, size: number): Promise<boolean> {
  using source = NetworkNamespace.open(from);
  using target = NetworkNamespace.open(to);
  const server = await tcpServerIn(target, { address: '0.0.0.0', port: 0 }, (connection) => {
    connection.on('error', () => undefined);
    connection.pipe(connection);
  });
  try {
    const listening = server.address();
    assert.ok(listening !== null && typeof listening === 'object');
    const client = await connectTcpIn(source, { address, port: listening.port });
    const sent = randomBytes(size);
    const received: Buffer[] = [];
    client.on('data', (part) => received.push(part));
    client.end(sent);
    await once(client, 'close');
    return Buffer.concat(received).equals(sent);
  } finally {
    server.close();
  }
}

/** One transfer after the other, until disposed. `whole` ends them and says whether every byte came back. */
function steadyTransfer(from: string, to: string, address: string): Disposable & { whole(): Promise<boolean> } {
  const ending = new AbortController();
  const finished = (async () => {
    let isWhole = true;
    while (isWhole && !ending.signal.aborted) isWhole = await echoes(from, to, address, 500_000);
    return isWhole;
  })();
  const end = (): void => ending.abort();
  return {
    whole: () => {
      end();
      return finished;
    },
    [Symbol.dispose]: end,
  };
}

const path = (sandbox: SandboxState): string => sandbox.networkNamespace;

test('TCP and UDP go as plain VXLAN past the bridge and the VXLAN device; what is not usual takes them', async () => {
  await using underlay = new TestUnderlay('fast', 1500, 'auto');
  const [left, right] = [await underlay.addHost(), await underlay.addHost()];
  const network = testNetwork(51);
  const a = await left.driver.createSandbox(testSandbox('aa', 3, [network]));
  const b = await right.driver.createSandbox(testSandbox('bb', 4, [network]));
  await untilFast(left, network, path(a), path(b), '10.77.51.4');
  await untilFast(right, network, path(b), path(a), '10.77.51.3');

  using wire = new Watch(left.namespace.path, 'eth0');
  using vxlan = new Watch(sandboxPath(left, network), 'vxlan0');
  assert.ok(await echoes(path(a), path(b), '10.77.51.4', 4_000_000), 'four million bytes, there and back');
  const lines = (await wire.lines()).filter((line) => line.includes(' vni '));
  const [macs, addresses] = ['02:42:0a:4d:33:03>02:42:0a:4d:33:04', '10.77.51.3>10.77.51.4'];
  const there = new RegExp(
    `^out \\d+ \\S+ ${left.vtep}>${right.vtep} udp vni 4147 ${macs} ${addresses} tcp$`.replaceAll('.', '\\.'),
  );
  assert.ok(
    lines.some((line) => there.test(line)),
    lines.slice(0, 5).join('\n'),
  );
  assert.deepEqual(
    (await vxlan.lines()).filter((line) => line.endsWith('tcp')),
    [],
  );

  // A datagram of three fragments, and an echo of ICMP.
  using source = NetworkNamespace.open(path(a));
  using target = NetworkNamespace.open(path(b));
  const server = await udpSocketIn(target, { address: '0.0.0.0', port: 0 });
  const client = await udpSocketIn(source, { address: '0.0.0.0', port: 0 });
  const large = randomBytes(4000);
  client.send(large, server.address().port, '10.77.51.4');
  const [received] = (await once(server, 'message')) as [Buffer];
  client.close();
  server.close();
  assert.ok(received.equals(large));
  assert.match(show(path(a), 'busybox', 'ping', '-c', '2', '10.77.51.4'), / 0% packet loss/);
  const slow = (await vxlan.lines()).join('\n');
  assert.match(slow, /10\.77\.51\.3>10\.77\.51\.4 udp/);
  assert.match(slow, /10\.77\.51\.4>10\.77\.51\.3 icmp/);
});

test('large segments are cut right on a link that takes none, and by the MTU of a network', async () => {
  await using underlay = new TestUnderlay('fast-segments', 1500, 'auto');
  const [left, right] = [await underlay.addHost(), await underlay.addHost()];
  for (const host of [left, right]) show(host.namespace.path, 'ip', 'link', 'set', 'eth0', 'gso_max_size', '1000');
  const network = testNetwork(52, { mtu: 1000 });
  const a = await left.driver.createSandbox(testSandbox('aa', 3, [network]));
  const b = await right.driver.createSandbox(testSandbox('bb', 4, [network]));
  await untilFast(left, network, path(a), path(b), '10.77.52.4');
  using wire = new Watch(right.namespace.path, 'eth0');
  assert.ok(await echoes(path(a), path(b), '10.77.52.4', 2_000_000));
  const sizes = (await wire.lines()).flatMap((line) => (line.startsWith('in ') ? [Number(line.split(' ')[1])] : []));
  assert.ok(sizes.length > 1000 && Math.max(...sizes) === 1000 + 14, `${sizes.length} frames, ${Math.max(...sizes)}`);

  // Who makes the container's link wider does not get wider frames through.
  show(path(a), 'ip', 'link', 'set', 'eth0', 'mtu', '1400');
  assert.ok(await echoes(path(a), path(b), '10.77.52.4', 200_000));
  const later = (await wire.lines()).flatMap((line) => (line.startsWith('in ') ? [Number(line.split(' ')[1])] : []));
  assert.ok(Math.max(...later) <= 1000 + 14, `${Math.max(...later)}`);
});

test('segments beyond 64 KB travel whole to hosts that take them, where the underlay does, and cut to others', async () => {
  await using underlay = new TestUnderlay('fast-large', 1500, 'auto');
  const [left, right, plain] = [await underlay.addHost(), await underlay.addHost(), await underlay.addHost()];
  await plain.driver[Symbol.asyncDispose]();
  plain.driver = underlay.driverFor(plain, 60_000, 'off');
  await underlay.join(plain);
  underlay.carryLargeSegments(185_000);
  const network = testNetwork(60);
  const a = await left.driver.createSandbox(testSandbox('aa', 3, [network]));
  const near = await left.driver.createSandbox(testSandbox('a2', 5, [network]));
  const b = await right.driver.createSandbox(testSandbox('bb', 4, [network]));
  const c = await plain.driver.createSandbox(testSandbox('cc', 6, [network]));
  await untilFast(left, network, path(a), path(b), '10.77.60.4');
  await untilFast(right, network, path(b), path(a), '10.77.60.3');
  /** The largest frame that comes in by a link during a transfer there and back. */
  const largest = async (link: [path: string, name: string], to: SandboxState, address: string): Promise<number> => {
    using namespace = NetworkNamespace.open(link[0]);
    using frames = PacketSocket.open(namespace, link[1], { snapLength: 64 });
    assert.ok(await echoes(path(a), path(to), address, 20_000_000), `every byte to ${address} came back`);
    await sleep(50);
    return Math.max(...frames.drain(100_000).flatMap(({ direction, length }) => (direction === 'in' ? [length] : [])));
  };
  const usual = 65_536 + 14;
  const far = await largest([right.namespace.path, 'eth0'], b, '10.77.60.4');
  assert.ok(far > usual, `to another host: ${far}`);
  const close = await largest([path(near), 'eth0'], near, '10.77.60.5');
  assert.ok(close > usual, `on one host: ${close}`);
  const foreign = await largest([plain.namespace.path, 'eth0'], c, '10.77.60.6');
  assert.ok(foreign <= usual, `to a host without a fast path: ${foreign}`);

  // From one that gives the fast path up the others hear it.
  await right.driver[Symbol.asyncDispose]();
  underlay.gossip.lose(right.node, 'left');
  right.node = underlay.gossip.node('host2-again', right.vtep);
  right.driver = underlay.driverFor(right, 60_000, 'off');
  await right.driver.adopt(new Set([b.containerId]));
  await underlay.join(right);
  await sleep(300);
  const later = await largest([right.namespace.path, 'eth0'], b, '10.77.60.4');
  assert.ok(later <= usual, `to a host that had one: ${later}`);
  using container = NetworkNamespace.open(path(b));
  using route = RouteSocket.open(container);
  assert.equal(route.links.get('eth0')?.gsoIpv4MaxSize, 65_536);
});

test('on one host containers reach each other without the bridge, and hosts without a fast path notice nothing', async () => {
  await using underlay = new TestUnderlay('fast-mixed', 1500, 'auto');
  const [fast, plain] = [await underlay.addHost(), await underlay.addHost()];
  await plain.driver[Symbol.asyncDispose]();
  plain.driver = underlay.driverFor(plain, 60_000, 'off');
  await underlay.join(plain);
  const network = testNetwork(53);
  const a = await fast.driver.createSandbox(testSandbox('aa', 3, [network]));
  const near = await fast.driver.createSandbox(testSandbox('a2', 5, [network]));
  const b = await plain.driver.createSandbox(testSandbox('bb', 4, [network]));
  // What comes from the other host has a checksum in UDP's header, which the kernel then checks.
  using tunnel = new Watch(sandboxPath(fast, network), 'vxlan0');
  let sent: string[] = [];
  await eventually(
    async () => {
      await tunnel.lines();
      assert.ok(await reaches(path(a), path(b), '10.77.53.4'));
      sent = (await tunnel.lines()).filter((line) => line.startsWith('out ') && line.endsWith('udp'));
      return sent.length === 0;
    },
    () => sent.join('\n'),
  );
  const plainWay = await way(plain, network, () => reaches(path(b), path(a), '10.77.53.3'));
  assert.deepEqual(plainWay, ['vxlan0', 'underlay']);
  assert.ok(await echoes(path(a), path(b), '10.77.53.4', 2_000_000));
  assert.ok(await echoes(path(b), path(a), '10.77.53.3', 2_000_000));

  const port = (address: string): string => {
    using sandbox = NetworkNamespace.open(sandboxPath(fast, network));
    using route = RouteSocket.open(sandbox);
    const mac = macOfAddress(address);
    const index = route.fdb.list().find((entry) => entry.mac === mac && entry.state === 'noarp')?.index;
    return route.links.list().find((link) => link.index === index)?.name ?? '';
  };
  using neighbour = new Watch(sandboxPath(fast, network), port('10.77.53.5'));
  assert.ok(await echoes(path(a), path(near), '10.77.53.5', 2_000_000));
  const lines = await neighbour.lines();
  assert.deepEqual(
    lines.filter((line) => line.startsWith('out ') && line.endsWith('tcp')),
    [],
    'none over the bridge',
  );
  assert.ok(lines.some((line) => line.startsWith('in ') && line.endsWith('tcp')));
});

test('two networks with one subnet are kept apart, and nobody speaks for another', async () => {
  await using underlay = new TestUnderlay('fast-apart', 1500, 'auto');
  const [left, right, stranger] = [await underlay.addHost(), await underlay.addHost(), await underlay.addHost()];
  const red = testNetwork(54);
  const blue = testNetwork(55, { subnets: [{ subnet: '10.77.54.0/24', gateway: '10.77.54.1', vni: 5000 }] });
  const containers = new Map<string, SandboxState>();
  for (const [name, network] of Object.entries({ red, blue })) {
    for (const [host, number] of [
      [left, 3],
      [right, 4],
    ] as const) {
      const sandbox = await host.driver.createSandbox(testSandbox(`${name}${number}`, number, [network]));
      containers.set(`${name}${number}`, sandbox);
    }
  }
  const at = (name: string): string => path(containers.get(name) ?? assert.fail(name));
  await untilFast(left, red, at('red3'), at('red4'), '10.77.54.4');
  await untilFast(left, blue, at('blue3'), at('blue4'), '10.77.54.4');
  assert.ok(await reaches(at('red3'), at('red4'), '10.77.54.4'));
  assert.ok(!(await reaches(at('red3'), at('blue4'), '10.77.54.4', 300)), 'red hears nothing of blue');

  // Packets made by hand, given to the program on the underlay's link.
  using host = RouteSocket.open(right.namespace);
  const eth0 = host.links.get('eth0')?.index ?? 0;
  const programs = tcxPrograms({ namespace: right.namespace, index: eth0, direction: 'ingress' });
  const [receive] = programs;
  assert.deepEqual(
    programs.map(({ name }) => name),
    ['skein_receive'],
  );
  const verdict = (changes: Partial<Tunnelled>): number | undefined => {
    const good = { vni: 4150, from: '10.77.54.3', to: '10.77.54.4', vtep: left.vtep, us: right.vtep };
    return receive?.test(tunnelled({ ...good, ...changes })).verdict;
  };
  const [redirected, next] = [7, -1];
  assert.equal(verdict({}), redirected);
  assert.equal(verdict({ vni: 5000 }), redirected, 'to the other of the two');
  const refused: Record<string, Partial<Tunnelled>> = {
    'a network that is not here': { vni: 7 },
    'an endpoint that is not here': { to: '10.77.54.9' },
    'a sender that no record names': { from: '10.77.54.9' },
    'a sender that is elsewhere': { vtep: stranger.vtep },
    'not for this host': { us: stranger.vtep },
    'another port': { change: [14 + 20 + 3, 0] },
    'a checksum': { change: [14 + 20 + 6, 1] },
    'no VNI': { change: [14 + 28, 0] },
    'an option of the outer header': { change: [14, 0x46] },
    'a fragment of the tunnel': { change: [14 + 6, 0x20] },
    'congestion met': { change: [14 + 1, 3] },
    'another MAC': { change: [14 + 36 + 5, 99] },
    'another source MAC': { change: [14 + 36 + 11, 99] },
    'not IPv4': { change: [14 + 36 + 13, 6] },
    'an option': { change: [14 + 50, 0x46] },
    'a fragment': { change: [14 + 50 + 6, 0x20] },
    'the end of a fragmented one': { change: [14 + 50 + 7, 1] },
    ICMP: { change: [14 + 50 + 9, 1] },
  };
  for (const [what, changes] of Object.entries(refused)) assert.equal(verdict(changes), next, what);
  for (const program of programs) program[Symbol.dispose]();

  // A container that takes an address it was not given.
  using cheat = NetworkNamespace.open(at('red3'));
  using route = RouteSocket.open(cheat);
  const index = route.links.get('eth0')?.index ?? 0;
  route.addresses.add({ index, address: '10.77.54.66', prefixLength: 32 });
  using bridge = new Watch(sandboxPath(left, red), 'vxlan0');
  const masked = await udpSocketIn(cheat, { address: '10.77.54.66', port: 0 });
  masked.send('not me', 9, '10.77.54.4');
  await sleep(100);
  masked.close();
  assert.match((await bridge.lines()).join('\n'), /10\.77\.54\.66>10\.77\.54\.4 udp/, 'not encapsulated by a program');
});

/** A VXLAN packet with a datagram between two endpoints that have Docker's MACs. */
interface Tunnelled {
  readonly vni: number;
  readonly from: string;
  readonly to: string;
  readonly vtep: string;
  readonly us: string;
  /** One byte of it made another: where, and what. */
  readonly change?: readonly [offset: number, value: number];
}

function tunnelled({ vni, from, to, vtep, us, change: [offset, value] = [0, 0] }: Tunnelled): Buffer {
  const inner = Buffer.concat([
    ...[to, from].map((address) => parseMac(macOfAddress(address))),
    Buffer.from([8, 0]),
    datagram(from, to, 2222, Buffer.from('by hand')),
  ]);
  const vxlan = Buffer.alloc(8);
  vxlan.writeUInt32BE(0x08000000, 0);
  vxlan.writeUInt32BE(vni << 8, 4);
  // A test run's packets come in on a link whose MAC is all zeroes.
  const ethernet = Buffer.concat([Buffer.alloc(12), Buffer.from([8, 0])]);
  const frame = Buffer.concat([ethernet, datagram(vtep, us, 4789, Buffer.concat([vxlan, inner]))]);
  frame.writeUInt8(value, offset);
  return frame;
}

/** UDP in IPv4, from port 1111, without checksums. */
function datagram(from: string, to: string, port: number, payload: Buffer): Buffer {
  const headers = Buffer.alloc(28);
  headers.writeUInt16BE(0x4500, 0);
  headers.writeUInt16BE(headers.length + payload.length, 2);
  headers.writeUInt16BE(0x4011, 8);
  headers.set(parseAddress(from), 12);
  headers.set(parseAddress(to), 16);
  headers.writeUInt16BE(1111, 20);
  headers.writeUInt16BE(port, 22);
  headers.writeUInt16BE(8 + payload.length, 24);
  return Buffer.concat([headers, payload]);
}

test('an endpoint that moves gets no packet at its old host 300 ms later', async () => {
  await using underlay = new TestUnderlay('fast-move', 1500, 'auto');
  const [one, two, three] = [await underlay.addHost(), await underlay.addHost(), await underlay.addHost()];
  const network = testNetwork(56);
  const a = await one.driver.createSandbox(testSandbox('aa', 3, [network]));
  const before = await two.driver.createSandbox(testSandbox('bb', 4, [network]));
  await two.driver.createSandbox(testSandbox('b2', 9, [network]));
  await untilFast(one, network, path(a), path(before), '10.77.56.4');
  using source = NetworkNamespace.open(path(a));
  const client = await udpSocketIn(source, { address: '0.0.0.0', port: 0 });
  const timer = setInterval(() => client.send('to whom?', 9, '10.77.56.4'), 5);
  try {
    const after = await three.driver.createSandbox(testSandbox('cc', 4, [network]));
    await two.driver.removeSandbox(before.containerId);
    await sleep(300);
    using old = new Watch(two.namespace.path, 'eth0');
    using now = new Watch(path(after), 'eth0');
    await sleep(200);
    assert.deepEqual(
      (await old.lines()).filter((line) => line.includes('>10.77.56.4 udp')),
      [],
    );
    assert.ok((await now.lines()).some((line) => line.includes('>10.77.56.4 udp')));
    await untilFast(one, network, path(a), path(after), '10.77.56.4');
  } finally {
    clearInterval(timer);
    client.close();
  }
});

test('maps that are emptied in the middle of transfers cost no flow, and are filled again', async (context) => {
  const loaded: HostPrograms[] = [];
  const { load } = HostPrograms;
  context.mock.method(HostPrograms, 'load', (host: NetworkNamespace) => {
    const programs = load(host);
    loaded.push(programs);
    return programs;
  });
  await using underlay = new TestUnderlay('fast-emptied', 1500, 'auto');
  const [left, right] = [await underlay.addHost(), await underlay.addHost()];
  // Also with segments that only the programs understand: what the kernel drops of them is sent again in small ones.
  underlay.carryLargeSegments(185_000);
  const network = testNetwork(58);
  const a = await left.driver.createSandbox(testSandbox('aa', 3, [network]));
  const b = await right.driver.createSandbox(testSandbox('bb', 4, [network]));
  await untilFast(left, network, path(a), path(b), '10.77.58.4');
  await untilFast(right, network, path(b), path(a), '10.77.58.3');
  using slow = new Watch(sandboxPath(left, network), 'vxlan0');
  await using flow = await steadyFlow(path(a), path(b), '10.77.58.4');
  using transfers = steadyTransfer(path(a), path(b), '10.77.58.4');
  for (let times = 0; times < 50; times++) {
    for (const map of loaded.flatMap(({ peers, endpoints }) => [peers, endpoints]))
      for (const [key] of map.entries()) map.delete(key);
    await sleep(10);
  }
  assert.ok(
    (await slow.lines()).some((line) => line.endsWith(' tcp')),
    "some went the kernel's way",
  );
  await untilFast(left, network, path(a), path(b), '10.77.58.4');
  await untilFast(right, network, path(b), path(a), '10.77.58.3');
  assert.ok(await transfers.whole(), 'every byte came back');
  assert.deepEqual(await flow.missing(), [], 'datagrams without an answer');
});

test('a daemon that dies, comes back, or comes back without the fast path loses no packet and no connection', async () => {
  await using underlay = new TestUnderlay('fast-restart', 1500, 'auto');
  const [left, right] = [await underlay.addHost(), await underlay.addHost()];
  const network = testNetwork(57);
  const a = await left.driver.createSandbox(testSandbox('aa', 3, [network]));
  const near = await left.driver.createSandbox(testSandbox('a2', 5, [network]));
  const b = await right.driver.createSandbox(testSandbox('bb', 4, [network]));
  await untilFast(left, network, path(a), path(b), '10.77.57.4');
  await using far = await steadyFlow(path(a), path(b), '10.77.57.4');
  await using close = await steadyFlow(path(a), path(near), '10.77.57.5');
  using transfers = steadyTransfer(path(a), path(b), '10.77.57.4');

  for (const [before, mode] of [
    ['auto', 'auto'],
    ['auto', 'off'],
    ['off', 'auto'],
  ] as const) {
    await left.driver[Symbol.asyncDispose]();
    underlay.gossip.lose(left.node, 'left');
    await sleep(100);
    const alone = await way(left, network, () => reaches(path(a), path(near), '10.77.57.5'));
    assert.equal(alone.includes('vxlan0'), before === 'off', 'the programs work on without their daemon');
    left.node = underlay.gossip.node(`host1-${mode}-again`, left.vtep);
    left.driver = underlay.driverFor(left, 60_000, mode);
    await left.driver.adopt(new Set([a.containerId, near.containerId]));
    await underlay.join(left);
    if (mode === 'auto') await untilFast(left, network, path(a), path(b), '10.77.57.4');
    else {
      await eventually(
        () => !show(left.namespace.path, 'ip', '-br', 'link').includes('skein'),
        () => show(left.namespace.path, 'ip', '-br', 'link'),
      );
      assert.ok((await way(left, network, () => reaches(path(a), path(b), '10.77.57.4'))).includes('vxlan0'));
    }
  }
  assert.ok(await transfers.whole(), 'every byte came back');
  assert.deepEqual([await far.missing(), await close.missing()], [[], []], 'datagrams without an answer');

  for (const { containerId } of left.driver.sandboxes()) await left.driver.removeSandbox(containerId);
  using route = RouteSocket.open(left.namespace);
  const index = route.links.get('eth0')?.index ?? 0;
  assert.deepEqual(tcxPrograms({ namespace: left.namespace, index, direction: 'ingress' }), [], 'nothing is left');
});

test("over IPv6 tunnels are the kernel's", async () => {
  await using underlay = new TestUnderlay('fast-ipv6');
  const { namespace } = await underlay.addHost();
  const lines: string[] = [];
  const logger = pino({ level: 'info' }, { write: (line: string) => lines.push(line) });
  using fastPath = openFastPath(namespace, 'auto', logger);
  const plan = { networkId: 'net59xxxxxxxxxx', mtu: 1430, vtep: '2001:db8::5', dataPathPort: 4789 };
  fastPath.reconcile(namespace, { ...plan, endpoints: [], peers: [] });
  using route = RouteSocket.open(namespace);
  const index = route.links.get('eth0')?.index ?? 0;
  assert.deepEqual(tcxPrograms({ namespace, index, direction: 'ingress' }), []);
  fastPath.forget(plan.networkId);
  fastPath.release(plan.vtep);
  assert.deepEqual(lines, []);
});

test('where the kernel cannot, one line says so', () => {
  const lines: string[] = [];
  const logger = pino({ level: 'info' }, { write: (line: string) => lines.push(line) });
  using host = NetworkNamespace.current();
  const load = (): never => {
    throw new SystemError('BPF_PROG_LOAD skein_send', 1);
  };
  using fastPath = openFastPath(host, 'auto', logger, load);
  fastPath.release('192.0.2.200');
  fastPath.forget('no such network');
  assert.equal(lines.length, 1);
  assert.match(lines[0] ?? '', /"error":"BPF_PROG_LOAD skein_send: EPERM.*the fast path is off/);
});

test('a daemon with the fast path off that may not ask for programs says so once, and nothing is stopped', async () => {
  await using underlay = new TestUnderlay('forbidden');
  const { namespace, vtep } = await underlay.addHost();
  const lines: string[] = [];
  const logger = pino({ level: 'info' }, { write: (line: string) => lines.push(line) });
  const forbidden = (): never => {
    throw new SystemError('BPF_PROG_QUERY', 1);
  };
  using fastPath = new NoFastPath(namespace, logger, forbidden);
  fastPath.release(vtep);
  fastPath.reconcile(namespace, { networkId: 'net', mtu: 1450, vtep, dataPathPort: 4789, endpoints: [], peers: [] });
  assert.equal(lines.length, 1, lines.join(''));
  assert.match(lines[0] ?? '', /BPF_PROG_QUERY: EPERM.*cannot see whether an earlier daemon left a fast path/);
});

test('what an earlier daemon left is taken away although that failed at first', () => {
  using namespaces = new TestNamespaces('retried');
  const namespace = namespaces.create('sandbox');
  using route = RouteSocket.open(namespace);
  route.links.create({ kind: 'veth', name: 'port', peer: { name: 'peer' } });
  let tries = 0;
  const failingOnce = (): void => {
    tries += 1;
    if (tries === 1) throw new SystemError('BPF_PROG_QUERY', 12);
  };
  using fastPath = new NoFastPath(namespace, silentLogger(), failingOnce);
  const plan = { networkId: 'net', mtu: 1450, vtep: '192.0.2.1', dataPathPort: 4789, endpoints: [], peers: [] };
  for (let times = 0; times < 3; times++) fastPath.reconcile(namespace, plan);
  assert.equal(tries, 3, 'once in vain, then both ends of the pair, and no more');
});
