import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Memberlist } from '../memberlist/index.ts';
import { type GossipMessage, protobufCodec } from '../networkdb/codec.ts';
import type { NetworkDB, NetworkDBOptions, TableChange } from '../networkdb/index.ts';
import { encodePacket, formatAddress, Keyring, toPart } from '../wire/index.ts';
import { type BytePort, ByteTransport } from './byte-transport.ts';
import { SimulatedCluster, type SimulatedNetwork } from './index.ts';

const key = (byte: number): Uint8Array => new Uint8Array(16).fill(byte);
const KEYS = { keys: [key(1), key(2), key(3)], primary: key(2) };
const TABLE = 'endpoint_table';
const SECOND = 1_000;

/** A table as text, to compare nodes. */
function contents(db: NetworkDB, networkId: string): string {
  const rows = [...db.entries(TABLE, networkId)].map(
    ({ key: name, value, owner }) => `${name}=${Buffer.from(value)} by ${owner}`,
  );
  return rows.sort().join('\n');
}

async function encryptedCluster(seed: number, size: number, options: NetworkDBOptions = {}): Promise<SimulatedCluster> {
  const cluster = new SimulatedCluster(seed, 'bytes');
  for (let index = 0; index < size; index++) await cluster.add(index, { ...KEYS, ...options });
  for (const { db } of cluster.nodes) void db.bootstrap([cluster.addressOf(0).host]);
  const formed = await cluster.clock.until(
    () => cluster.nodes.every(({ db }) => db.stats().members === size),
    60 * SECOND,
  );
  assert.ok(formed, `seed ${seed}: ${cluster.nodes.map(({ db }) => db.stats().members)}`);
  return cluster;
}

test('150 nodes find each other from one bootstrap address at 1 % loss, bytes and encryption included', async (t) => {
  await using cluster = new SimulatedCluster(5, 'bytes');
  Object.assign(cluster.network.conditions, { loss: 0.01, duplication: 0.01, maxDelay: 50 });
  for (let index = 0; index < 150; index++) await cluster.add(index, KEYS);
  for (const { db } of cluster.nodes) {
    void db.bootstrap([cluster.addressOf(0).host]);
    await cluster.clock.advance(100);
  }
  const formed = await cluster.clock.until(
    () => cluster.nodes.every(({ db }) => db.stats().members === 150),
    200 * SECOND,
  );
  t.diagnostic(`${cluster.clock.now() / SECOND} s virtual, ${cluster.network.sent} packets`);
  assert.ok(formed, `${cluster.nodes.map(({ db }) => db.stats().members)}`);
  for (const { db } of cluster.nodes) assert.deepEqual(db.stats().drops, {});
});

test('after a rest an entry is known to 20 nodes within half a second, that of a newcomer on the network too', async (t) => {
  await using cluster = await encryptedCluster(21, 20);
  const [newcomer, ...others] = cluster.nodes;
  assert.ok(newcomer);
  for (const { db } of others) void db.joinNetwork('net');
  await cluster.clock.advance(30 * SECOND);
  const spread = async (by: NetworkDB, name: string): Promise<number> => {
    const since = cluster.clock.now();
    by.createEntry(TABLE, 'net', name, Buffer.from('1'));
    const isKnown = (): boolean => others.every(({ db }) => db.getEntry(TABLE, 'net', name) !== undefined);
    assert.ok(await cluster.clock.until(isKnown, 5 * SECOND, 10), `${name} did not come to all`);
    return cluster.clock.now() - since;
  };
  const times = [];
  for (const [index, { db }] of others.slice(0, 5).entries()) {
    times.push(await spread(db, `of node ${index}`));
    await cluster.clock.advance(10 * SECOND);
  }
  void newcomer.db.joinNetwork('net');
  times.push(await spread(newcomer.db, 'of the newcomer'));
  t.diagnostic(`${times} ms`);
  assert.ok(Math.max(...times) <= SECOND / 2, `${times}`);
});

test('whatever is written where, nodes of a network end up with the same tables in spite of loss and reordering', async () => {
  const step = fc.record({
    node: fc.nat(5),
    name: fc.nat(4),
    verb: fc.constantFrom('put', 'put', 'delete'),
    wait: fc.nat(400),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.noShrink(fc.nat(1_000_000)),
      fc.array(step, { minLength: 5, maxLength: 25 }),
      async (seed, steps) => {
        await using cluster = await encryptedCluster(seed, 6);
        Object.assign(cluster.network.conditions, { loss: 0.1, duplication: 0.1, maxDelay: 300 });
        for (const { db } of cluster.nodes) void db.joinNetwork('net');
        await cluster.clock.advance(SECOND);
        for (const { node, name, verb, wait } of steps) {
          const db = cluster.nodes[node]?.db as NetworkDB;
          const exists = db.getEntry(TABLE, 'net', `${name}`) !== undefined;
          if (verb === 'delete') {
            if (exists) db.deleteEntry(TABLE, 'net', `${name}`);
          } else if (exists) db.updateEntry(TABLE, 'net', `${name}`, Buffer.from(`${wait}`));
          else db.createEntry(TABLE, 'net', `${name}`, Buffer.from(`${wait}`));
          await cluster.clock.advance(wait);
        }
        const same = (): boolean => new Set(cluster.nodes.map(({ db }) => contents(db, 'net'))).size === 1;
        const converged = await cluster.clock.until(same, 120 * SECOND);
        assert.ok(converged, cluster.nodes.map(({ db }) => `--- ${db.nodeName}\n${contents(db, 'net')}`).join('\n'));
      },
    ),
    { numRuns: 10 },
  );
});

test('the same seed gives the same run', async () => {
  const run = async (): Promise<string> => {
    await using cluster = await encryptedCluster(77, 8);
    Object.assign(cluster.network.conditions, { loss: 0.05, duplication: 0.05, maxDelay: 100 });
    await cluster.clock.advance(60 * SECOND);
    return `${cluster.network.sent} ${cluster.network.lost} ${cluster.nodes.map(({ db }) => db.nodeName)}`;
  };
  assert.equal(await run(), await run());
});

test('a daemon that restarts at its address under a new name takes the place of its former life', async () => {
  await using cluster = await encryptedCluster(3, 5);
  const [observer, victim] = cluster.nodes;
  assert.ok(observer && victim);
  for (const { db } of cluster.nodes) void db.joinNetwork('net');
  victim.db.createEntry(TABLE, 'net', 'old', Buffer.from('old'));
  await cluster.clock.advance(5 * SECOND);
  assert.match(contents(observer.db, 'net'), /^old=/);
  const changes: string[] = [];
  observer.db.watch(TABLE, 'net', ({ type, key: name, reason }: TableChange) =>
    changes.push(`${type} ${name} ${reason ?? ''}`),
  );
  await cluster.crash(victim);
  const { db: reborn } = await cluster.add(1, KEYS);
  void reborn.bootstrap([cluster.addressOf(0).host]);
  void reborn.joinNetwork('net');
  await cluster.clock.advance(5 * SECOND);
  reborn.createEntry(TABLE, 'net', 'new', Buffer.from('new'));
  await cluster.clock.advance(5 * SECOND);
  assert.deepEqual(changes, ['create old ', 'delete old left', 'create new ']);
  assert.equal(observer.db.peers().find(({ name }) => name === victim.db.nodeName)?.state, 'left');
});

test('a daemon that restarts with nobody to turn to is met by those who ask for its former life', async () => {
  await using cluster = await encryptedCluster(2, 5);
  const [observer, victim] = cluster.nodes;
  assert.ok(observer && victim);
  for (const { db } of cluster.nodes) void db.joinNetwork('net');
  await cluster.clock.advance(5 * SECOND);
  let life = victim;
  for (const name of ['one', 'two', 'three', 'four']) {
    await cluster.crash(life);
    life = await cluster.add(1, KEYS);
    void life.db.joinNetwork('net');
    life.db.createEntry(TABLE, 'net', name, Buffer.from(name));
    await cluster.clock.advance(4 * SECOND);
    for (const { db } of [observer, life]) assert.equal(contents(db, 'net'), `${name}=${name} by ${life.db.nodeName}`);
    assert.ok(life.db.peers().some((peer) => peer.name === observer.db.nodeName && peer.state === 'alive'));
  }
});

test('who hears of a daemon before he hears of its former life holds the right one of the two for gone', async () => {
  // The order of a told list of members is random: among some seeds are both.
  for (let seed = 1; seed <= 8; seed++) {
    await using cluster = await encryptedCluster(seed, 3);
    const [, victim] = cluster.nodes;
    assert.ok(victim);
    for (const { db } of cluster.nodes) void db.joinNetwork('net');
    await cluster.clock.advance(5 * SECOND);
    await cluster.crash(victim);
    const reborn = await cluster.add(1, KEYS);
    void reborn.db.bootstrap([cluster.addressOf(0).host]);
    void reborn.db.joinNetwork('net');
    reborn.db.createEntry(TABLE, 'net', 'endpoint', Buffer.from('1'));
    await cluster.clock.advance(200);
    const fresh = await cluster.add(4, KEYS);
    void fresh.db.bootstrap([cluster.addressOf(0).host]);
    void fresh.db.joinNetwork('net');
    const knows = (): boolean => fresh.db.getEntry(TABLE, 'net', 'endpoint') !== undefined;
    const known = await cluster.clock.until(knows, 5 * SECOND);
    assert.ok(known, `seed ${seed}: ${JSON.stringify(fresh.db.peers())}, reborn is ${reborn.db.nodeName}`);
    await cluster.clock.advance(20 * SECOND);
    assert.ok(knows(), `seed ${seed}, later: ${JSON.stringify(fresh.db.peers())}, reborn is ${reborn.db.nodeName}`);
  }
});

test('a daemon that restarts tells all others that its former life is over, before they find out', async () => {
  await using cluster = await encryptedCluster(14, 4);
  const [, victim] = cluster.nodes;
  assert.ok(victim);
  const address = cluster.addressOf(9);
  // A bare memberlist: in it, as in dockerd's, two names may be at one address.
  const observer = new Memberlist({
    name: 'observer',
    transport: new ByteTransport(cluster.network as SimulatedNetwork<BytePort>, address),
    clock: cluster.clock,
    random: cluster.random,
    keyring: new Keyring(KEYS.keys, KEYS.primary),
    // It finds out nothing by itself.
    config: { probeInterval: 3_600 * SECOND },
  });
  observer.start();
  const joined = observer.join([cluster.addressOf(0).host]);
  await cluster.clock.advance(SECOND);
  await joined;
  const states = (): (string | undefined)[] => [observer.member(victim.db.nodeName)?.state];
  assert.deepEqual(states(), ['alive']);
  await cluster.crash(victim);
  const { db: reborn } = await cluster.add(1, KEYS);
  void reborn.bootstrap([cluster.addressOf(0).host]);
  await cluster.clock.advance(SECOND);
  assert.deepEqual(states(), ['dead'], `${reborn.nodeName} after ${victim.db.nodeName}`);
  await observer.close();
});

test('two groups that formed apart know all of each other when one of each has met', async () => {
  // What comes with the exchanges that there are from time to time comes too late.
  const config = { bulkSyncInterval: 3_600 * SECOND };
  for (let seed = 1; seed <= 8; seed++) {
    await using cluster = new SimulatedCluster(seed, 'bytes');
    for (let index = 0; index < 6; index++) {
      const { db } = await cluster.add(index, { ...KEYS, config, memberlist: { pushPullInterval: 3_600 * SECOND } });
      void db.bootstrap([cluster.addressOf(index < 3 ? 0 : 3).host]);
      void db.joinNetwork('net');
      db.createEntry(TABLE, 'net', `of node ${index}`, Buffer.from('1'));
    }
    await cluster.clock.advance(30 * SECOND);
    const [first] = cluster.nodes;
    void first?.db.bootstrap([cluster.addressOf(5).host]);
    const seen = (): number[] => cluster.nodes.map(({ db }) => [...db.entries(TABLE, 'net')].length);
    const met = await cluster.clock.until(() => seen().every((count) => count === 6), 5 * SECOND);
    assert.ok(
      met,
      `seed ${seed}: ${seen()} entries of 6; ${cluster.nodes.map(({ db }) => db.networkPeers('net').length)} peers of 5`,
    );
  }
});

test('a key re-used after a restart wins over the former value: its time is ahead of what others hold', async () => {
  await using cluster = await encryptedCluster(4, 3);
  const [first, , third] = cluster.nodes;
  assert.ok(first && third);
  for (const { db } of cluster.nodes) await Promise.race([db.joinNetwork('net'), cluster.clock.advance(2 * SECOND)]);
  third.db.createEntry(TABLE, 'net', 'endpoint', Buffer.from('0'));
  for (let count = 1; count <= 50; count++) third.db.updateEntry(TABLE, 'net', 'endpoint', Buffer.from(`${count}`));
  await cluster.clock.advance(5 * SECOND);
  await cluster.crash(third);
  const { db: reborn } = await cluster.add(2, KEYS);
  void reborn.bootstrap([cluster.addressOf(0).host]);
  await cluster.clock.advance(2 * SECOND);
  void reborn.joinNetwork('net');
  await cluster.clock.advance(2 * SECOND);
  reborn.createEntry(TABLE, 'net', 'endpoint', Buffer.from('reborn'));
  await cluster.clock.advance(5 * SECOND);
  assert.equal(Buffer.from(first.db.getEntry(TABLE, 'net', 'endpoint') ?? []).toString(), 'reborn');
});

test('entries of an unreachable node are hidden, told as such, and return with it', async () => {
  await using cluster = await encryptedCluster(6, 5);
  const [observer, victim] = cluster.nodes;
  assert.ok(observer && victim);
  for (const { db } of cluster.nodes) void db.joinNetwork('net');
  victim.db.createEntry(TABLE, 'net', 'endpoint', Buffer.from('value'));
  await cluster.clock.advance(5 * SECOND);
  const changes: string[] = [];
  observer.db.watch(TABLE, undefined, ({ type, reason }) => changes.push(`${type} ${reason ?? ''}`));
  cluster.network.partition([victim.address]);
  await cluster.clock.advance(90 * SECOND);
  assert.equal(observer.db.getEntry(TABLE, 'net', 'endpoint'), undefined);
  assert.equal(observer.db.stats().entries.net, 1);
  cluster.network.heal();
  const whole = (): boolean => cluster.nodes.every(({ db }) => db.stats().members === 5 && contents(db, 'net') !== '');
  assert.ok(await cluster.clock.until(whole, 15 * SECOND), 'whole again within 15 s');
  assert.deepEqual(changes, ['create ', 'delete unreachable', 'create ']);
});

test('whose entries are hidden as he is unreachable, and who comes back without them, is told as such', async () => {
  await using cluster = await encryptedCluster(15, 5);
  const [observer, leaver, victim] = cluster.nodes;
  assert.ok(observer && leaver && victim);
  for (const { db } of cluster.nodes) void db.joinNetwork('net');
  leaver.db.createEntry(TABLE, 'net', 'of the leaver', Buffer.from('value'));
  victim.db.createEntry(TABLE, 'net', 'of the victim', Buffer.from('value'));
  await cluster.clock.advance(5 * SECOND);
  const changes: string[] = [];
  observer.db.watch(TABLE, 'net', ({ type, key: name, reason }) => changes.push(`${type} ${name} ${reason ?? ''}`));
  cluster.network.partition([leaver.address]);
  await cluster.crash(victim);
  await cluster.clock.advance(60 * SECOND);
  leaver.db.leaveNetwork('net');
  cluster.network.heal();
  const { db: reborn } = await cluster.add(2, KEYS);
  void reborn.bootstrap([cluster.addressOf(0).host]);
  await cluster.clock.advance(30 * SECOND);
  for (const [name, reason] of Object.entries({ 'of the leaver': 'deleted', 'of the victim': 'left' })) {
    const expected = [`create ${name} `, `delete ${name} unreachable`, `delete ${name} ${reason}`];
    const told = changes.filter((change) => change.includes(name));
    assert.deepEqual([...new Set(told)], expected, String(changes));
    assert.equal(told.at(-1), expected.at(-1), String(changes));
  }
});

test('leaving a network and leaving the cluster take the entries along', async () => {
  await using cluster = await encryptedCluster(8, 4);
  const [observer, second, third] = cluster.nodes;
  assert.ok(observer && second && third);
  for (const { db } of cluster.nodes) void db.joinNetwork('net');
  await cluster.clock.advance(SECOND);
  second.db.createEntry(TABLE, 'net', 'two', Buffer.from('2'));
  third.db.createEntry(TABLE, 'net', 'three', Buffer.from('3'));
  await cluster.clock.advance(5 * SECOND);
  const reasons: string[] = [];
  observer.db.watch(
    TABLE,
    'net',
    ({ type, key: name, reason }) => type === 'delete' && reasons.push(`${name} ${reason}`),
  );
  second.db.leaveNetwork('net');
  await cluster.clock.advance(5 * SECOND);
  assert.equal(observer.db.networkPeers('net').length, 2);
  assert.equal(contents(second.db, 'net'), '');
  const left = third.db.leave();
  await cluster.clock.advance(10 * SECOND);
  await left;
  // Which of the two that tell of it comes first, the entry's deletion or the node's leaving, is open.
  assert.match(reasons.join(), /^two (deleted|left),three left$/);
  assert.equal(observer.db.stats().failures, 0);
});

test('a node that leaves a network and joins it again at once leaves no entry behind', async () => {
  await using cluster = await encryptedCluster(13, 4);
  for (const node of cluster.nodes) void node.db.joinNetwork('n');
  await cluster.clock.advance(2 * SECOND);
  const [, leaver, watcher] = cluster.nodes;
  assert.ok(leaver && watcher);
  const { db } = leaver;
  const heard: TableChange[] = [];
  watcher.db.watch(TABLE, 'n', (change) => heard.push(change));
  for (const name of ['deleted', 'left']) db.createEntry(TABLE, 'n', name, Buffer.from(name));
  await cluster.clock.advance(5 * SECOND);
  assert.equal(contents(watcher.db, 'n').split('\n').length, 2);
  db.deleteEntry(TABLE, 'n', 'deleted');
  db.leaveNetwork('n');
  void db.joinNetwork('n');
  await cluster.clock.advance(5 * SECOND);
  for (const node of cluster.nodes) assert.equal(contents(node.db, 'n'), '');
  const deletions = heard.filter(({ type }) => type === 'delete');
  assert.deepEqual(deletions.map(({ key: name, value }) => [name, Buffer.from(value).toString()]).sort(), [
    ['deleted', 'deleted'],
    ['left', 'left'],
  ]);
});

test('a node that was held for dead says again what it is on, and exchanges its networks', async () => {
  // What is exchanged is not what every node exchanges from time to time.
  await using cluster = await encryptedCluster(11, 2, { config: { bulkSyncInterval: 3_600 * SECOND } });
  const network = cluster.network as SimulatedNetwork<BytePort>;
  const [first, second] = cluster.nodes;
  assert.ok(first && second);
  const heard: GossipMessage[] = [];
  const address = cluster.addressOf(9);
  const listener = new Memberlist({
    name: 'listener',
    transport: new ByteTransport(network, address),
    clock: cluster.clock,
    random: cluster.random,
    keyring: new Keyring(KEYS.keys, KEYS.primary),
    delegate: { message: (data) => heard.push(protobufCodec.decode(data)) },
  });
  listener.start();
  for (const { db } of [first, second]) void db.joinNetwork('net');
  const joined = listener.join([formatAddress(first.address)]);
  await cluster.clock.advance(5 * SECOND);
  await joined;
  const join = { type: 'join', lTime: 1, nodeName: 'listener', networkId: 'net' } as const;
  const told = listener.sendUserStream(first.address, protobufCodec.encode({ type: 'network', body: join }));
  first.db.createEntry(TABLE, 'net', 'key', Buffer.from('value'));
  await cluster.clock.advance(5 * SECOND);
  await told;
  const joinTimes = (): number[] =>
    heard.flatMap((message) =>
      message.type === 'network' && message.body.type === 'join' && message.body.nodeName === first.db.nodeName
        ? [message.body.lTime]
        : [],
    );
  const exchanges = (): string[] =>
    heard.flatMap((message) =>
      message.type === 'bulkSync' && message.body.nodeName === first.db.nodeName && message.body.unsolicited
        ? [message.body.events.map((event) => Buffer.from(event).toString('latin1')).join()]
        : [],
    );
  const before = Math.max(0, ...joinTimes());
  const exchanged = exchanges().length;
  const dead = toPart({ type: 'dead', body: { incarnation: 99, node: first.db.nodeName, from: second.db.nodeName } });
  const port = network.port(address, first.address) as BytePort;
  port.packet(address, encodePacket([dead], new Keyring(KEYS.keys, KEYS.primary), cluster.random));
  await cluster.clock.advance(5 * SECOND);
  assert.ok(
    joinTimes().some((time) => time > before),
    `${before}: ${joinTimes().join(', ')}`,
  );
  assert.match(exchanges().slice(exchanged).join(), /key.*value/s);
  await listener.close();
});

test('an event is kept until its owner is known to be on the network, as long as he would remember its deletion', async () => {
  const reapEntry = 60 * SECOND;
  await using cluster = await encryptedCluster(12, 1, { config: { bulkSyncInterval: 3_600 * SECOND, reapEntry } });
  const network = cluster.network as SimulatedNetwork<BytePort>;
  const [first] = cluster.nodes;
  assert.ok(first);
  void first.db.joinNetwork('net');
  const address = cluster.addressOf(9);
  const { clock, random } = cluster;
  const keyring = new Keyring(KEYS.keys, KEYS.primary);
  // It knows nothing of networks: an exchange of states does not say what it is on.
  const owner = new Memberlist({
    name: 'owner',
    transport: new ByteTransport(network, address),
    clock,
    random,
    keyring,
  });
  owner.start();
  const joined = owner.join([formatAddress(first.address)]);
  await clock.advance(5 * SECOND);
  await joined;
  const tell = async (message: GossipMessage): Promise<void> => {
    const told = owner.sendUserStream(first.address, protobufCodec.encode(message));
    await clock.advance(5 * SECOND);
    await told;
  };
  const event = { nodeName: 'owner', networkId: 'net' };
  const value = Buffer.from('value');
  const body = {
    ...event,
    type: 'create',
    lTime: 1,
    tableName: TABLE,
    key: 'key',
    value,
    residualReapTime: 0,
  } as const;
  await tell({ type: 'table', body });
  assert.equal(contents(first.db, 'net'), '');
  await tell({ type: 'network', body: { ...event, type: 'join', lTime: 1 } });
  assert.equal(contents(first.db, 'net'), 'key=value by owner');
  void first.db.joinNetwork('other');
  await tell({ type: 'table', body: { ...body, networkId: 'other' } });
  await clock.advance(reapEntry + 5 * SECOND);
  await tell({ type: 'network', body: { ...event, networkId: 'other', type: 'join', lTime: 2 } });
  assert.equal(contents(first.db, 'other'), '');
  await owner.close();
});

test('hostile packets and messages are counted and hurt nobody', async () => {
  await using cluster = await encryptedCluster(9, 3);
  const network = cluster.network as SimulatedNetwork<BytePort>;
  const [first, second] = cluster.nodes;
  assert.ok(first && second);
  const stranger = { host: '192.0.2.1', port: 7946 };
  const port = network.port(stranger, first.address) as BytePort;
  for (let length = 0; length < 300; length++) port.packet(stranger, cluster.random.bytes(length));
  await cluster.clock.advance(5 * SECOND);
  const { drops, members } = first.db.stats();
  assert.equal(members, 3);
  assert.equal(
    Object.values(drops).reduce((sum, count) => sum + count, 0),
    300,
    JSON.stringify(drops),
  );
  void first.db.joinNetwork('net');
  void second.db.joinNetwork('net');
  await cluster.clock.advance(SECOND);
  second.db.createEntry(TABLE, 'net', 'still', Buffer.from('works'));
  await cluster.clock.advance(2 * SECOND);
  assert.match(contents(first.db, 'net'), /works/);
});

test('a value that no packet holds still arrives', async () => {
  await using cluster = await encryptedCluster(10, 3);
  const [first, second] = cluster.nodes;
  assert.ok(first && second);
  for (const { db } of cluster.nodes) void db.joinNetwork('net');
  await cluster.clock.advance(SECOND);
  first.db.createEntry(TABLE, 'net', 'large', new Uint8Array(10_000).fill(65));
  await cluster.clock.advance(SECOND);
  assert.equal(second.db.getEntry(TABLE, 'net', 'large')?.length, 10_000);
});
