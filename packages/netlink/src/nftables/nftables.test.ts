import assert from 'node:assert/strict';
import { closeSync, openSync, readdirSync } from 'node:fs';
import { after, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { TestNamespaces } from '../testing.ts';
import { Nftables, NftablesError } from './nftables.ts';
import type { NftObject } from './schema.ts';

const namespaces = new TestNamespaces('nftables');
after(() => namespaces[Symbol.dispose]());

const table = { family: 'inet', name: 'skein-test' } as const;
const chain = { family: 'inet', table: table.name, name: 'input' } as const;
const map = { family: 'inet', table: table.name, name: 'backends' } as const;
const dropPort = (port: number): NftObject => ({
  rule: {
    family: 'inet',
    table: table.name,
    chain: chain.name,
    comment: `port ${port}`,
    expr: [
      { match: { op: '==', left: { payload: { protocol: 'tcp', field: 'dport' } }, right: port } },
      { counter: null },
      { drop: null },
    ],
  },
});
const baseChain: NftObject = { chain: { ...chain, type: 'filter', hook: 'input', prio: 0, policy: 'accept' } };

test('rules are made however many files the process has open', () => {
  const namespace = namespaces.create('descriptors');
  Nftables.open(namespace)[Symbol.dispose]();
  const files = Array.from({ length: 1_100 }, () => openSync('/dev/null', 'r'));
  try {
    for (let times = 0; times < 60; times++) {
      using nft = Nftables.open(namespace);
      nft.run([{ add: { table: { family: 'ip', name: `t${times}` } } }]);
      assert.equal(nft.tables().length, times + 1);
    }
  } finally {
    for (const file of files) closeSync(file);
  }
});

test('a transaction makes its objects and returns them with handles', () => {
  using nft = Nftables.open(namespaces.create('transaction'));
  const made = nft.run([{ add: { table } }, { add: baseChain }, { add: dropPort(80) }]);
  assert.equal(made.length, 3);
  const [, , rule] = made;
  assert.ok(rule && 'rule' in rule && typeof rule.rule.handle === 'number', JSON.stringify(made));
  nft.run([{ delete: { rule: { family: 'inet', table: table.name, chain: chain.name, handle: rule.rule.handle } } }]);
  assert.ok(!nft.list(table).some((object) => 'rule' in object));
});

test('a transaction with one wrong command does nothing', () => {
  using nft = Nftables.open(namespaces.create('atomic'));
  assert.throws(
    () => nft.run([{ add: { table } }, { add: dropPort(80) }]),
    (error: unknown) => error instanceof NftablesError && error.code === 'ENOENT' && error.text.length > 0,
  );
  assert.deepEqual(nft.tables(), []);
});

test('map elements are added and deleted', () => {
  using nft = Nftables.open(namespaces.create('map'));
  nft.run([
    { add: { table } },
    { add: { map: { ...map, type: 'inet_service', map: 'ipv4_addr' } } },
    {
      add: {
        element: {
          ...map,
          elem: [
            [80, '10.0.0.2'],
            [81, '10.0.0.3'],
          ],
        },
      },
    },
    { delete: { element: { ...map, elem: [[81, '10.0.0.3']] } } },
  ]);
  const read = nft.list(table).find((object) => 'map' in object);
  assert.ok(read && 'map' in read);
  assert.deepEqual(read.map.elem, [[80, '10.0.0.2']]);
});

test('replacing a table leaves exactly what is given and other tables as they were', () => {
  using nft = Nftables.open(namespaces.create('replace'));
  nft.run([{ add: { table: { family: 'ip', name: 'foreign' } } }]);
  const foreign = JSON.stringify(nft.list({ family: 'ip', name: 'foreign' }));
  nft.replaceTable(table, [dropPort(80), dropPort(81), baseChain]);
  nft.replaceTable(table, [dropPort(443), baseChain]);
  assert.deepEqual(
    nft.list(table).flatMap((object) => Object.keys(object)),
    ['table', 'chain', 'rule'],
  );
  const comments = nft.list(table).flatMap((object) => ('rule' in object ? object.rule.comment : []));
  assert.deepEqual(comments, ['port 443']);
  assert.equal(JSON.stringify(nft.list({ family: 'ip', name: 'foreign' })), foreign);
  nft.deleteTable(table);
  nft.deleteTable(table);
  assert.deepEqual(nft.list(table), []);
  assert.deepEqual(
    nft.tables().map(({ name }) => name),
    ['foreign'],
  );
});

test('a change says nothing and is as atomic as any transaction', () => {
  using nft = Nftables.open(namespaces.create('change'));
  nft.change([{ add: { table } }, { add: baseChain }, { add: dropPort(80) }]);
  assert.equal(nft.list(table).length, 3);
  assert.throws(() => nft.change([{ flush: { chain } }, { delete: { map } }]), { code: 'ENOENT' });
  assert.equal(nft.list(table).length, 3);
});

test('contexts see their own namespace only', () => {
  using left = Nftables.open(namespaces.create('left'));
  using right = Nftables.open(namespaces.create('right'));
  left.run([{ create: { table } }]);
  assert.throws(() => left.run([{ create: { table } }]), { code: 'EEXIST' });
  assert.deepEqual(right.ruleset(), []);
  assert.equal(left.ruleset().length, 1);
});

test('disposal frees the sockets a moment later; a disposed context refuses work', async () => {
  const namespace = namespaces.create('dispose');
  const openDescriptors = (): number => readdirSync('/proc/self/fd').length;
  const descriptors = openDescriptors();
  const nft = Nftables.open(namespace);
  nft.tables();
  nft[Symbol.dispose]();
  nft[Symbol.dispose]();
  assert.throws(() => nft.tables(), TypeError);
  for (let tries = 0; openDescriptors() > descriptors && tries < 100; tries++) await sleep(50);
  assert.ok(openDescriptors() <= descriptors, `${openDescriptors()} open, ${descriptors} before`);
});

test('whoever gives many contexts up holds some of them at most', () => {
  const namespace = namespaces.create('many');
  const descriptors = readdirSync('/proc/self/fd').length;
  for (let count = 0; count < 200; count++) Nftables.open(namespace)[Symbol.dispose]();
  assert.ok(readdirSync('/proc/self/fd').length < descriptors + 100);
});
