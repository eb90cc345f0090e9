import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeFrame } from './decode.ts';

const hex = (text: string): Uint8Array => Buffer.from(text.replaceAll(/\s/g, ''), 'hex');
/** An ICMP echo request from 10.0.1.3 to 10.0.1.4 with four bytes of data. */
const inner = hex(`
  02420a000104 02420a000103 0800
  45000020 12344000 40010000 0a000103 0a000104
  0800 0000 0007 0001 61626364`);
/** The same in VXLAN 4097 between 172.31.1.5 and 172.31.1.6. */
const outer = Buffer.concat([
  hex(`
  020000000006 020000000005 0800
  45000052 00000000 40110000 ac1f0105 ac1f0106
  c000 12b5 003e 0000
  08000000 00100100`),
  inner,
]);

test('a ping in VXLAN, from the underlay to the echo', () => {
  const layers = decodeFrame(outer);
  assert.deepEqual(
    layers.map(({ type }) => type),
    ['ethernet', 'ipv4', 'udp', 'vxlan', 'ethernet', 'ipv4', 'icmp', 'payload'],
  );
  assert.deepEqual(layers[1], { type: 'ipv4', source: '172.31.1.5', destination: '172.31.1.6', protocol: 17, ttl: 64 });
  assert.deepEqual(layers[2], { type: 'udp', sourcePort: 49152, destinationPort: 4789 });
  assert.deepEqual(layers[3], { type: 'vxlan', vni: 4097 });
  assert.deepEqual(layers[6], { type: 'icmp', message: 8, code: 0, identifier: 7, sequence: 1 });
  assert.equal(Buffer.from((layers[7] as { data: Uint8Array }).data).toString(), 'abcd');
});

test('VXLAN is looked for behind the given port only', () => {
  assert.deepEqual(
    decodeFrame(outer, { vxlanPort: 8472 }).map(({ type }) => type),
    ['ethernet', 'ipv4', 'udp', 'payload'],
  );
});

test('ARP and its padding', () => {
  const frame = hex(`
    ffffffffffff 02420a000103 0806 0001 0800 06 04 0001
    02420a000103 0a000103 000000000000 0a000104 000000000000`);
  assert.deepEqual(decodeFrame(frame)[1], {
    type: 'arp',
    operation: 1,
    senderMac: '02:42:0a:00:01:03',
    senderIp: '10.0.1.3',
    targetMac: '00:00:00:00:00:00',
    targetIp: '10.0.1.4',
  });
  assert.equal(decodeFrame(frame).length, 2);
});

test('TCP over IPv6, with options', () => {
  const frame = hex(`
    020000000006 020000000005 86dd
    60000000 0019 06 40 fd000000000000000000000000000001 fd000000000000000000000000000002
    0050 c000 00000001 00000002 60 18 ffff 0000 0000 02040534 78`);
  assert.deepEqual(decodeFrame(frame).slice(1, 3), [
    { type: 'ipv6', source: 'fd00::1', destination: 'fd00::2', protocol: 6, ttl: 64 },
    { type: 'tcp', sourcePort: 80, destinationPort: 49152, flags: 0x18 },
  ]);
});

test('a frame cut off anywhere is decoded as far as it goes', () => {
  for (let length = 0; length < outer.length; length++) {
    const whole = decodeFrame(outer);
    const cut = decodeFrame(outer.subarray(0, length));
    const decoded = cut.filter(({ type }) => type !== 'payload');
    assert.deepEqual(decoded, whole.slice(0, decoded.length));
  }
});

test('whatever the bytes, decoding ends', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 300 }), (garbage) => void decodeFrame(garbage)));
  // Garbage behind a valid start reaches the inner decoders.
  const start = outer.subarray(0, 50);
  fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), (tail) => void decodeFrame(Buffer.concat([start, tail]))));
});
