import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { tcpServerIn, udpSocketIn } from '@skein/netlink';
import { pino } from 'pino';
import { TestNamespaces } from '../../../netlink/src/testing.ts';
import { Reservations } from './reservations.ts';

test("a port of IPv6 that another program has is its own: who has it is said once, and it is ours when he's gone", async () => {
  using namespaces = new TestNamespaces('reservations');
  const host = namespaces.create('host');
  const lines: string[] = [];
  const logger = pino({ level: 'info' }, { write: (line) => void lines.push(line) });
  using reservations = new Reservations(host, { logger, retryMs: 20 });
  let calls = 0;
  reservations.onIpv6(() => calls++);
  const datagrams = await udpSocketIn(host, { address: '::', port: 7000 });
  const server = await tcpServerIn(host, { address: '::1', port: 7000 });
  const claims = (['tcp', 'udp'] as const).map((protocol) => {
    return { protocol, address: '0.0.0.0', port: 7000, owner: 'one', holder: 'container one' };
  });
  for (const claim of claims) assert.equal(await reservations.hold(claim), 7000);
  assert.deepEqual(
    claims.map((claim) => reservations.holdsIpv6(claim)),
    [false, false],
  );
  await sleep(100);
  assert.equal(lines.length, 2, lines.join('\n'));
  for (const line of lines) assert.match(line, new RegExp(`7000/(tcp|udp) of this host is held by .*${process.pid}`));
  assert.equal(calls, 0);
  datagrams.close();
  server.close();
  const isOurs = (): boolean => claims.every((claim) => reservations.holdsIpv6(claim));
  for (let tries = 0; tries < 100 && !isOurs(); tries++) await sleep(20);
  assert.ok(isOurs());
  assert.ok(calls > 0);
  await assert.rejects(
    reservations.hold({ protocol: 'tcp', address: '::', port: 7000, owner: 'two', holder: 'two' }),
    /held by container one/,
  );
  for (const claim of claims) reservations.release(claim);
  (await tcpServerIn(host, { address: '::', port: 7000 })).close();
});
