import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, test } from 'node:test';
import { RouteSocket } from '../route/route-socket.ts';
import { udpSocketIn } from '../sockets.ts';
import { TestNamespaces } from '../testing.ts';
import { type CapturedFrame, PacketSocket } from './packet-socket.ts';
import { encodePcap } from './pcap.ts';

const namespaces = new TestNamespaces('capture');
after(() => namespaces[Symbol.dispose]());
const [left, right] = namespaces.pair('left', 'right');

const holds = (text: string) => (frame: CapturedFrame) => Buffer.from(frame.data).includes(text);

/** Sends one datagram from left to right. */
async function send(text: string): Promise<void> {
  const sender = await udpSocketIn(left, { address: '10.99.0.1', port: 0 });
  await new Promise((resolve) => sender.send(text, 9, '10.99.0.2', resolve));
  sender.close();
}

/** Frames of a capture until one satisfies `last`. */
async function until(capture: PacketSocket, last: (frame: CapturedFrame) => boolean): Promise<CapturedFrame[]> {
  const frames: CapturedFrame[] = [];
  for await (const frame of capture.frames(AbortSignal.timeout(5000))) {
    frames.push(frame);
    if (last(frame)) break;
  }
  return frames;
}

test('a frame is seen leaving one end and arriving at the other', async () => {
  using leaving = PacketSocket.open(left, 'eth0');
  using arriving = PacketSocket.open(right, 'eth0');
  const before = BigInt(Date.now() - 1000) * 1_000_000n;
  await send('marked');
  const out = (await until(leaving, holds('marked'))).at(-1);
  const arrived = (await until(arriving, holds('marked'))).at(-1);
  assert.equal(out?.direction, 'out');
  assert.equal(arrived?.direction, 'in');
  assert.deepEqual(out?.data, arrived?.data);
  // Ethernet 14, IPv4 20, UDP 8 bytes
  assert.equal(arrived?.length, 14 + 20 + 8 + 'marked'.length);
  assert.ok(arrived && arrived.timestamp > before && arrived.timestamp < before + 60_000_000_000n);
  assert.equal(arriving.dropped, 0);
});

test("'any' sees every link, and a snap length cuts frames but not their length", async () => {
  using capture = PacketSocket.open(right, 'any', { snapLength: 14 });
  await send('cut');
  const length = 14 + 20 + 8 + 'cut'.length;
  const frame = (await until(capture, (seen) => seen.length === length)).at(-1);
  assert.equal(frame?.data.length, 14);
  using routes = RouteSocket.open(right);
  assert.equal(frame?.index, routes.links.get('eth0')?.index);
});

test('frames sent before the capture are not in it, and draining never waits', () => {
  using capture = PacketSocket.open(right, 'lo');
  assert.deepEqual(capture.drain(), []);
});

test('a capture on no link is ENODEV; a closed one refuses work', () => {
  assert.throws(() => PacketSocket.open(left, 'none'), { name: 'SystemError', code: 'ENODEV' });
  const capture = PacketSocket.open(left, 'lo');
  capture[Symbol.dispose]();
  capture[Symbol.dispose]();
  assert.throws(() => capture.drain(), TypeError);
});

test('tcpdump reads the file', async (context) => {
  if (spawnSync('tcpdump', ['--version']).status !== 0) return context.skip('tcpdump is not installed');
  using capture = PacketSocket.open(right, 'eth0');
  await send('for tcpdump');
  const frames = (await until(capture, holds('for tcpdump'))).filter(holds('for tcpdump'));
  const { stdout, stderr } = spawnSync('tcpdump', ['-nr', '-'], { input: encodePcap(frames), encoding: 'utf8' });
  assert.match(stdout, /IP 10\.99\.0\.1\.\d+ > 10\.99\.0\.2\.9: UDP, length 11/, stderr);
});
