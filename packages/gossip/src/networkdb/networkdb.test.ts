import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NetworkDB } from '../index.ts';

const key = (byte: number): Uint8Array => new Uint8Array(16).fill(byte);
const options = {
  bindAddress: '127.0.0.1',
  advertiseAddress: '127.0.0.1',
  port: 0,
  keys: [key(1), key(2), key(3)],
  primary: key(2),
};

async function until(what: string, condition: () => boolean, timeout = 5_000): Promise<void> {
  const end = performance.now() + timeout;
  while (!condition()) {
    if (performance.now() > end) assert.fail(`not within ${timeout} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test('two nodes over real sockets share a network, and a key rotation does not part them', async () => {
  await using first = new NetworkDB(options);
  await using second = new NetworkDB(options);
  await first.start();
  await second.start();
  await first.joinNetwork('net');
  first.createEntry('endpoint_table', 'net', 'early', Buffer.from('one'));
  assert.equal(await second.bootstrap([`127.0.0.1:${first.address.port}`]), 1);
  const seen: string[] = [];
  second.watch('endpoint_table', 'net', ({ type, key: name, reason }) =>
    seen.push(`${type} ${name} ${reason ?? ''}`.trim()),
  );
  await second.joinNetwork('net');
  assert.deepEqual(Buffer.from(second.getEntry('endpoint_table', 'net', 'early') ?? []).toString(), 'one');
  second.createEntry('endpoint_table', 'net', 'late', Buffer.from('two'));
  await until('late at first', () => first.getEntry('endpoint_table', 'net', 'late') !== undefined);
  for (const db of [first, second]) db.setKeys([key(2), key(3), key(4)], key(3));
  first.updateEntry('endpoint_table', 'net', 'early', Buffer.from('three'));
  await until(
    'update at second',
    () => Buffer.from(second.getEntry('endpoint_table', 'net', 'early') ?? []).toString() === 'three',
  );
  first.deleteEntry('endpoint_table', 'net', 'early');
  await until('delete at second', () => second.getEntry('endpoint_table', 'net', 'early') === undefined);
  const connections = (): string[] => process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap');
  await until('no connection is left open', () => connections().length === 0);
  await first.leave();
  await until('left', () => second.peers().some(({ state }) => state === 'left'));
  assert.deepEqual(seen, ['create early', 'create late', 'update early', 'delete early deleted']);
});

test('nodes of both families gossip with each other when they are bound everywhere', async () => {
  const bound = (advertiseAddress: string) => new NetworkDB({ ...options, bindAddress: '0.0.0.0', advertiseAddress });
  await using first = bound('::1');
  await using second = bound('0:0::1');
  await using third = bound('127.0.0.1');
  for (const db of [first, second, third]) await db.start();
  assert.equal(await second.bootstrap([`[::1]:${first.address.port}`]), 1);
  assert.equal(await third.bootstrap([`[0::1]:${second.address.port}`]), 1);
  const addresses = [`[::1]:${first.address.port}`, `[::1]:${second.address.port}`, `127.0.0.1:${third.address.port}`];
  for (const [index, db] of [first, second, third].entries())
    await until(`node ${index} knows the others`, () =>
      addresses.every((address, other) => other === index || db.peers().some((peer) => peer.address === address)),
    );
  await Promise.all([first, second, third].map((db) => db.joinNetwork('net')));
  third.createEntry('endpoint_table', 'net', 'key', Buffer.from('value'));
  for (const db of [first, second])
    await until('the entry is everywhere', () => db.getEntry('endpoint_table', 'net', 'key') !== undefined);
});
