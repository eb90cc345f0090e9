import assert from 'node:assert/strict';
import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { test } from 'node:test';
import { clone, create, toJsonString } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { RpcError, SkeinError, silentLogger } from '../../common/index.ts';
import { NetworkSchema, ServiceSchema, TaskSchema } from '../gen/objects_pb.js';
import { openStore, type Store, type StoreEvent } from './index.ts';

const logger = silentLogger();
const memory = () => openStore({ path: ':memory:', logger, now: () => 1000 });
const network = (id: string, name: string) => create(NetworkSchema, { id, spec: { annotations: { name } } });

function withDirectory(run: (directory: string) => void): void {
  const directory = mkdtempSync(join(tmpdir(), 'skein-store-'));
  try {
    run(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The whole content as text, to compare stores. */
function content(store: Store): string {
  return store.view((tx) =>
    [
      String(store.version),
      ...tx.list('network').map((object) => toJsonString(NetworkSchema, object)),
      ...tx.list('task').map((object) => toJsonString(TaskSchema, object)),
      ...[...store.notes()].map((note) => note.join('=')),
    ]
      .sort()
      .join('\n'),
  );
}

/** Notes that belong to one commit each. */
const noteVersion = (store: Store) => () => [
  { key: `at ${store.version}`, value: 'here' },
  { key: `at ${store.version - 1n}`, value: undefined },
];

test('an object gets the version and the time of its transaction, and keeps the time of its creation', () => {
  let now = 1000;
  using store = openStore({ path: ':memory:', logger, now: () => now });
  store.update((tx) => tx.create('network', network('n1', 'one')));
  now = 2500;
  store.update((tx) => {
    const changed = clone(NetworkSchema, tx.get('network', 'n1') ?? assert.fail());
    changed.pendingDelete = true;
    tx.update('network', changed);
  });
  const meta = store.view((tx) => tx.get('network', 'n1'))?.meta;
  assert.equal(meta?.version?.index, 2n);
  assert.equal(meta?.createdAt?.seconds, 1n);
  assert.deepEqual([meta?.updatedAt?.seconds, meta?.updatedAt?.nanos], [2n, 500_000_000]);
  assert.equal(store.version, 2n);
});

test('an update that starts from an old version is refused', () => {
  using store = memory();
  store.update((tx) => tx.create('network', network('n1', 'one')));
  const old = clone(NetworkSchema, store.view((tx) => tx.get('network', 'n1')) ?? assert.fail());
  store.update((tx) => tx.update('network', clone(NetworkSchema, old)));
  assert.throws(() => store.update((tx) => tx.update('network', old)), {
    message: 'rpc error: code = Unknown desc = update out of sequence',
  });
});

test('a name belongs to one object, whatever its case, until that object goes', () => {
  using store = memory();
  store.update((tx) => tx.create('network', network('n1', 'Front')));
  assert.throws(
    () => store.update((tx) => tx.create('network', network('n2', 'front'))),
    (error: unknown) => error instanceof RpcError && error.code === 'AlreadyExists',
  );
  store.update((tx) => {
    tx.delete('network', 'n1');
    tx.create('network', network('n2', 'front'));
  });
  assert.equal(store.view((tx) => tx.findByName('network', 'FRONT'))?.id, 'n2');
});

test('tasks are found by node, by service and by their composed name, also after they move', () => {
  using store = memory();
  const task = create(TaskSchema, { id: 't1', serviceId: 's1', slot: 2n, serviceAnnotations: { name: 'web' } });
  store.update((tx) => tx.create('task', task));
  task.nodeId = 'node';
  store.update((tx) => tx.update('task', task));
  store.view((tx) => {
    assert.deepEqual(
      tx.tasksByNode('node').map((found) => found.id),
      ['t1'],
    );
    assert.deepEqual(
      tx.tasksByService('s1').map((found) => found.id),
      ['t1'],
    );
    assert.equal(tx.findByName('task', 'web.2.t1')?.id, 't1');
  });
  store.update((tx) => tx.delete('task', 't1'));
  assert.deepEqual(
    store.view((tx) => tx.tasksByNode('node')),
    [],
  );
});

test('a transaction that throws leaves nothing behind and tells nobody', () => {
  using store = memory();
  store.update((tx) => tx.create('network', network('n1', 'one')));
  const before = content(store);
  const told: unknown[] = [];
  store.watch((events) => told.push(events));
  assert.throws(() =>
    store.update((tx) => {
      tx.create('network', network('n2', 'two'));
      tx.delete('network', 'n1');
      tx.create('network', network('n3', 'one'));
      throw new Error('no');
    }),
  );
  assert.equal(content(store), before);
  assert.deepEqual(told, []);
  assert.equal(store.view((tx) => tx.findByName('network', 'one'))?.id, 'n1');
});

test('listeners hear the net changes of each commit in order, also when one of them throws or commits itself', () => {
  using store = memory();
  const told: string[] = [];
  const name = (events: readonly StoreEvent[]) => events.map((e) => `${e.action} ${e.object.id}`).join(', ');
  store.watch(() => {
    throw new Error('a bad listener');
  });
  store.watch((events) => {
    if (events[0]?.object.id === 'n1') store.update((tx) => tx.create('network', network('n2', 'two')));
  });
  store.watch((events) => told.push(name(events)));
  store.update((tx) => tx.create('network', network('n1', 'one')));
  store.update((tx) => {
    tx.create('network', network('n3', 'three'));
    tx.delete('network', 'n3');
    tx.delete('network', 'n1');
  });
  assert.deepEqual(told, ['create n1', 'create n2', 'delete n1']);
});

test('what a caller does with its object after handing it over changes nothing in the store', () => {
  using store = memory();
  const mine = network('n1', 'one');
  store.update((tx) => tx.create('network', mine));
  mine.pendingDelete = true;
  assert.equal(store.view((tx) => tx.get('network', 'n1'))?.pendingDelete, false);
});

test('what is noted of a commit is kept with it, and not when the commit fails', () => {
  using store = memory();
  const stop = store.annotate((events) =>
    events.map(({ object, action }) => ({ key: object.id, value: action === 'delete' ? undefined : action })),
  );
  store.update((tx) => tx.create('network', network('n1', 'one')));
  store.update((tx) => tx.create('network', network('n2', 'two')));
  const fail = () =>
    store.update((tx) => {
      tx.delete('network', 'n1');
      throw new Error('changed my mind');
    });
  assert.throws(fail, /changed my mind/);
  assert.deepEqual(Object.fromEntries(store.notes()), { n1: 'create', n2: 'create' });
  store.update((tx) => tx.delete('network', 'n1'));
  assert.deepEqual(Object.fromEntries(store.notes()), { n2: 'create' });
  stop();
  store.update((tx) => tx.delete('network', 'n2'));
  assert.deepEqual(Object.fromEntries(store.notes()), { n2: 'create' });
});

test('a store of the layout without notes opens with all it has', () => {
  withDirectory((directory) => {
    const path = join(directory, 'old.db');
    const store = openStore({ path, logger });
    store.update((tx) => tx.create('network', network('n1', 'one')));
    const before = content(store);
    store[Symbol.dispose]();
    const file = new DatabaseSync(path);
    file.exec('DROP TABLE note; PRAGMA user_version = 1;');
    file.close();
    using again = openStore({ path, logger });
    assert.equal(content(again), before);
    again.annotate(() => [{ key: 'k', value: 'v' }]);
    again.update((tx) => tx.delete('network', 'n1'));
    assert.deepEqual([...again.notes()], [['k', 'v']]);
  });
});

test('a transaction inside another one is refused', () => {
  using store = memory();
  assert.throws(() => store.update(() => store.update(() => {})), /begun inside another/);
  store.update((tx) => tx.create('network', network('n1', 'one')));
});

test('a reopened store holds what was committed, in any history', () => {
  const step = fc.record({
    kind: fc.constantFrom('create', 'update', 'delete', 'fail'),
    id: fc.constantFrom('a', 'b', 'c', 'd'),
    name: fc.constantFrom('x', 'y', 'z'),
  });
  withDirectory((directory) => {
    let run = 0;
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const path = join(directory, `${run++}.db`);
        const store = openStore({ path, logger });
        for (const { kind, id, name } of steps) {
          const change = () =>
            store.update((tx) => {
              if (kind === 'delete') return tx.delete('network', id);
              const stored = tx.get('network', id);
              const object = network(id, name);
              if (stored) object.meta = stored.meta;
              if (kind === 'update') tx.update('network', object);
              else tx.create('network', object);
              if (kind === 'fail') throw new RpcError('Unknown', 'changed my mind');
            });
          try {
            change();
          } catch (error) {
            assert.ok(error instanceof RpcError, String(error));
          }
        }
        const before = content(store);
        store[Symbol.dispose]();
        using again = openStore({ path, logger });
        assert.equal(content(again), before);
      }),
      { numRuns: 40 },
    );
  });
});

test('files copied at any moment, as a crash leaves them, open with exactly the commits made so far', () => {
  withDirectory((directory) => {
    const path = join(directory, 'live.db');
    using store = openStore({ path, logger });
    store.annotate(noteVersion(store));
    for (let i = 0; i < 30; i++) {
      store.update((tx) => {
        tx.create('network', network(`n${i}`, `net${i}`));
        tx.create('task', create(TaskSchema, { id: `t${i}`, serviceId: 's' }));
      });
      const copy = join(directory, `copy${i}.db`);
      for (const suffix of ['', '-wal']) if (existsSync(path + suffix)) copyFileSync(path + suffix, copy + suffix);
      using crashed = openStore({ path: copy, logger });
      assert.equal(content(crashed), content(store));
    }
  });
});

test('a torn write at the end of the log costs at most the commit it belongs to, never half of one', () => {
  withDirectory((directory) => {
    const path = join(directory, 'live.db');
    using store = openStore({ path, logger });
    store.annotate(noteVersion(store));
    const states = [content(store)];
    for (let i = 0; i < 8; i++) {
      store.update((tx) => {
        tx.create('network', network(`n${i}`, `net${i}`));
        tx.create('task', create(TaskSchema, { id: `t${i}`, serviceId: 's' }));
      });
      states.push(content(store));
    }
    const size = statSync(`${path}-wal`).size;
    for (let cut = 1; cut <= 40; cut++) {
      const copy = join(directory, `torn${cut}.db`);
      copyFileSync(path, copy);
      copyFileSync(`${path}-wal`, `${copy}-wal`);
      truncateSync(`${copy}-wal`, size - Math.floor((size * cut) / 40));
      using torn = openStore({ path: copy, logger });
      assert.ok(states.includes(content(torn)), `cut ${cut}: ${content(torn)}`);
    }
  });
});

test('a damaged, foreign or already opened file is refused with its name and the reason', () => {
  withDirectory((directory) => {
    const garbage = join(directory, 'garbage.db');
    writeFileSync(garbage, 'this is not a database, whatever its name says'.repeat(100));
    assert.throws(
      () => openStore({ path: garbage, logger }),
      /cannot open the cluster store .*garbage\.db: .*not a database/,
    );

    const foreign = join(directory, 'foreign.db');
    const other = new DatabaseSync(foreign);
    other.exec('CREATE TABLE cookies (a)');
    other.close();
    assert.throws(() => openStore({ path: foreign, logger }), /database of another program/);

    const shared = join(directory, 'shared.db');
    using store = openStore({ path: shared, logger });
    store.update((tx) => tx.create('service', create(ServiceSchema, { id: 's' })));
    assert.throws(() => openStore({ path: shared, logger }), /locked/);
  });
});

test('a byte that has changed on the disk is noticed, wherever it is, or does no harm', () => {
  withDirectory((directory) => {
    const path = join(directory, 'good.db');
    const store = openStore({ path, logger });
    store.update((tx) => {
      for (let i = 0; i < 60; i++) tx.create('network', network(`n${i}`, `a-network-with-a-long-name-${i}`));
    });
    const before = content(store);
    store[Symbol.dispose]();
    const bytes = readFileSync(path);
    let noticed = 0;
    for (let at = 100; at < bytes.length; at += 97) {
      const copy = join(directory, `bad${at}.db`);
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] ?? 0) ^ 0xff;
      writeFileSync(copy, changed);
      try {
        using bad = openStore({ path: copy, logger });
        assert.equal(content(bad), before, `byte ${at} was not noticed`);
      } catch (error) {
        assert.ok(error instanceof SkeinError, `byte ${at}: ${error}`);
        noticed++;
      }
    }
    assert.ok(noticed > 20, `${noticed} noticed`);
  });
});
