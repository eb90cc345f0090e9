import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { type Shim, ShimGroups } from './shim-groups.ts';

const never = new AbortController().signal;

/** Starts and ends creations by hand. */
class Stage {
  readonly dead: string[] = [];
  readonly groups = new ShimGroups(async ({ group }) => void this.dead.push(group));
  readonly shims = new Map<string, Shim>();
  readonly #creations = new Map<string, PromiseWithResolvers<void>>();

  /** @returns the container's start. */
  begin(id: string, signal = never): Promise<void> {
    const creation = Promise.withResolvers<void>();
    this.#creations.set(id, creation);
    return this.groups.join(
      id,
      async (shim) => {
        this.shims.set(id, shim);
        await creation.promise;
      },
      signal,
    );
  }

  end(id: string): void {
    this.#creations.get(id)?.resolve();
  }

  fail(id: string): void {
    this.#creations.get(id)?.reject(new Error('no'));
  }

  async start(...ids: string[]): Promise<void> {
    for (const id of ids) {
      const started = this.begin(id);
      this.end(id);
      await started;
    }
  }

  group = (id: string): string | undefined => this.shims.get(id)?.group;
}

const names = (count: number, prefix = 'c'): string[] =>
  Array.from({ length: count }, (_, index) => `${prefix}${index}`);

function clock(t: TestContext): (milliseconds: number) => Promise<void> {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  return async (milliseconds) => {
    await turn();
    t.mock.timers.tick(milliseconds);
    await turn();
  };
}

test('containers started one after the other share a shim, ten at most; the first is its leader', async () => {
  const stage = new Stage();
  const ids = names(21);
  await stage.start(...ids);
  const groups = ids.map(stage.group);
  assert.deepEqual(
    groups.map((group) => groups.indexOf(group)),
    ids.map((_, index) => index - (index % 10)),
  );
  assert.deepEqual(
    ids.map((id) => stage.shims.get(id)?.leader),
    ids.map((_, index) => `c${index - (index % 10)}`),
  );
});

test('no two are created in one shim at once, and a burst makes four shims, not one a container', async () => {
  const stage = new Stage();
  const ids = names(30);
  const starts = ids.map((id) => stage.begin(id));
  await turn();
  assert.deepEqual([...stage.shims.keys()], ids.slice(0, 4), 'the others wait');
  assert.equal(new Set(ids.slice(0, 4).map(stage.group)).size, 4);
  stage.end('c1');
  await turn();
  assert.equal(stage.group('c4'), stage.group('c1'), 'the next one takes the place');
  for (const id of ids) stage.end(id);
  await Promise.all(starts);
  const sizes = Object.values(Object.groupBy(ids, (id) => stage.group(id) ?? '')).map((group) => group?.length);
  assert.equal(sizes.length, 4);
  assert.ok(
    sizes.every((size = 0) => size <= 10),
    sizes.join(),
  );
});

test('a creation that hangs holds nobody up: after a while its shim gets no one and its place is another’s', async (t) => {
  const pass = clock(t);
  const stage = new Stage();
  const hanging = names(4, 'hanging').map((id) => stage.begin(id));
  const waiting = stage.begin('next');
  await pass(4_999);
  assert.equal(stage.group('next'), undefined);
  await pass(1);
  assert.ok(stage.group('next'), 'it has a shim');
  stage.end('next');
  await waiting;
  await stage.start('later');
  assert.equal(stage.group('later'), stage.group('next'));
  for (const id of names(4, 'hanging')) stage.end(id);
  await Promise.all(hanging);
});

test('a failed creation leaves no member, and a shim without members is not used again', async () => {
  const stage = new Stage();
  const failing = stage.begin('bad');
  stage.fail('bad');
  await assert.rejects(failing, /^Error: no$/);
  await stage.start('good');
  assert.notEqual(stage.group('good'), stage.group('bad'));
});

test('a shim whose last container is removed gets no new one, also while the removal lasts', async () => {
  const stage = new Stage();
  await stage.start('a', 'b');
  await stage.groups.leave('a', async () => {
    await stage.start('c');
    return true;
  });
  assert.equal(stage.group('c'), stage.group('b'));
  await stage.groups.leave('b', async () => true);
  await stage.groups.leave('c', async () => {
    await stage.start('d');
    return true;
  });
  assert.notEqual(stage.group('d'), stage.group('c'));
  await stage.start('e');
  assert.equal(stage.group('e'), stage.group('d'));
  await stage.groups.leave('e', async () => true);
  await stage.start('e');
  assert.equal(stage.group('e'), stage.group('d'), 'one that comes again');
});

test('the last one’s removal waits for who is just being created there, but not for ever', async (t) => {
  const pass = clock(t);
  const stage = new Stage();
  await stage.start('a');
  const starting = stage.begin('b');
  let removed = false;
  const removal = stage.groups.leave('a', async () => {
    removed = true;
    return true;
  });
  await turn();
  assert.equal(removed, false);
  stage.end('b');
  await Promise.all([starting, removal]);
  assert.equal(removed, true);
  await stage.start('c');
  assert.equal(stage.group('c'), stage.group('b'), 'it lives on');
  await stage.groups.leave('c', async () => true);

  const hanging = stage.begin('hangs');
  const last = stage.groups.leave('b', async () => true);
  await turn();
  await pass(5_000);
  await last;
  stage.end('hangs');
  await hanging;
});

test('who waits for a shim can give up', async () => {
  const stage = new Stage();
  const filling = names(4).map((id) => stage.begin(id));
  const abort = new AbortController();
  const waiting = stage.begin('impatient', abort.signal);
  abort.abort(new Error('enough'));
  await assert.rejects(waiting, /^Error: enough$/);
  for (const id of names(4)) stage.end(id);
  await Promise.all(filling);
  assert.equal(stage.group('impatient'), undefined);
  await assert.rejects(stage.begin('late', abort.signal), /^Error: enough$/);
});

test('what a shim leaves that died is taken away with its last container', async () => {
  const stage = new Stage();
  await stage.start('a', 'b', 'c');
  await stage.groups.leave('a', async () => false);
  await stage.groups.leave('b', async () => true);
  assert.deepEqual(stage.dead, []);
  await stage.groups.leave('c', async () => false);
  assert.deepEqual(stage.dead, [stage.group('c')]);
  await stage.groups.leave('c', async () => false);
  assert.equal(stage.dead.length, 1);
});
