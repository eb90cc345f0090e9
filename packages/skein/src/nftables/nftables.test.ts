import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Nftables, type NftObject } from '@skein/netlink';
import { TestNamespaces } from '../../../netlink/src/testing.ts';
import { silentLogger } from '../common/index.ts';
import { ManagedTable, TableKeeper, type TableShape } from './index.ts';

const table = { family: 'ip', name: 'ours' } as const;
const chain: NftObject = {
  chain: { family: 'ip', table: 'ours', name: 'input', type: 'filter', hook: 'input', prio: 0, policy: 'accept' },
};
/** A table that drops what comes to these ports. */
const shape: TableShape<readonly number[]> = {
  table,
  objects: (ports) => [
    chain,
    ...ports.map(
      (port): NftObject => ({
        rule: {
          family: 'ip',
          table: 'ours',
          chain: 'input',
          expr: [
            { match: { op: '==', left: { payload: { protocol: 'tcp', field: 'dport' } }, right: port } },
            { drop: null },
          ],
        },
      }),
    ),
  ],
};

test('a table is repaired once it has been applied, until it is removed; foreign ones stay as they are', () => {
  using namespaces = new TestNamespaces('managed');
  const namespace = namespaces.create('host');
  using nft = Nftables.open(namespace);
  nft.run([{ add: { table: { family: 'ip', name: 'foreign' } } }]);
  const foreign = JSON.stringify(nft.list({ family: 'ip', name: 'foreign' }));
  using ours = ManagedTable.open(namespace, shape);
  assert.ok(!ours.repair());
  ours.apply([80, 81]);
  const made = JSON.stringify(nft.list(table));
  ours.apply([80, 81]);
  assert.equal(JSON.stringify(nft.list(table)), made, 'what is so is left alone, handles and all');
  assert.ok(!ours.repair());
  nft.change([{ flush: { chain: { family: 'ip', table: 'ours', name: 'input' } } }]);
  assert.ok(ours.repair());
  assert.equal(nft.list(table).filter((object) => 'rule' in object).length, 2);
  nft.change([{ add: { chain: { family: 'ip', table: 'ours', name: 'theirs' } } }]);
  assert.ok(ours.repair());
  assert.ok(!nft.list(table).some((object) => 'chain' in object && object.chain.name === 'theirs'));
  ours.remove();
  assert.ok(!ours.repair());
  assert.deepEqual(nft.list(table), []);
  assert.equal(JSON.stringify(nft.list({ family: 'ip', name: 'foreign' })), foreign);
});

test('what others change is seen although another table of ours is changed before and after it', () => {
  using namespaces = new TestNamespaces('neighbours');
  const namespace = namespaces.create('host');
  using nft = Nftables.open(namespace);
  using ours = ManagedTable.open(namespace, shape);
  using second = ManagedTable.open(namespace, { table: { family: 'ip6', name: 'second' }, objects: () => [] });
  ours.apply([80]);
  second.apply(1);
  assert.ok(!ours.repair());
  nft.change([{ flush: { chain: { family: 'ip', table: 'ours', name: 'input' } } }]);
  second.remove();
  second.apply(2);
  assert.ok(ours.repair());
  assert.equal(nft.list(table).filter((object) => 'rule' in object).length, 1);
  assert.ok(!ours.repair());
});

test('the keeper looks at all tables, also when one cannot be repaired, and at none that is released', async () => {
  using keeper = new TableKeeper(silentLogger(), 10);
  const looks = new Map<string, number>();
  const looked = (name: string): (() => boolean) => {
    return () => {
      looks.set(name, (looks.get(name) ?? 0) + 1);
      if (name === 'broken') throw new Error('no such namespace');
      return false;
    };
  };
  const released = { repair: looked('released') };
  keeper.keep({ repair: looked('broken') }, 'of the broken one');
  keeper.keep({ repair: looked('whole') }, 'of the whole one');
  keeper.keep(released, 'of the released one');
  keeper.release(released);
  for (let tries = 0; tries < 500 && (looks.get('whole') ?? 0) < 3; tries++) await sleep(10);
  assert.ok((looks.get('whole') ?? 0) >= 3 && (looks.get('broken') ?? 0) >= 3, JSON.stringify([...looks]));
  assert.equal(looks.get('released'), undefined);
});
