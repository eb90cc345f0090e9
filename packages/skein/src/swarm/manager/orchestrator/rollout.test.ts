import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import type { Task } from '../../gen/objects_pb.js';
import {
  UpdateConfig_FailureAction as FailureAction,
  UpdateConfig_UpdateOrder as Order,
  UpdateStatus_UpdateState as State,
  TaskState,
  type UpdateConfig,
  UpdateConfigSchema,
} from '../../gen/types_pb.js';
import { serviceSpec, setImage, TestCluster } from '../testing/cluster.ts';

const image = (task: Task) => (task.spec?.runtime.case === 'container' ? task.spec.runtime.value.image : '');
const images = (cluster: TestCluster, id: string) =>
  Object.fromEntries([...Map.groupBy(cluster.running(id), image)].map(([name, tasks]) => [name, tasks.length]).sort());
const status = (cluster: TestCluster, id: string) => cluster.service(id).updateStatus;

interface Config {
  parallelism?: bigint;
  delayMs?: number;
  monitorMs?: number;
  ratio?: number;
  action?: FailureAction;
  order?: Order;
}

function config({
  parallelism = 1n,
  delayMs = 0,
  monitorMs = 5000,
  ratio = 0,
  action = FailureAction.PAUSE,
  order = Order.STOP_FIRST,
}: Config): UpdateConfig {
  return create(UpdateConfigSchema, {
    parallelism,
    delay: durationFromMs(delayMs),
    monitor: durationFromMs(monitorMs),
    maxFailureRatio: ratio,
    failureAction: action,
    order,
  });
}

/** A running service of four tasks of image `one`. */
function deploy(cluster: TestCluster, update: Config): string {
  cluster.addNode('n2');
  const spec = serviceSpec('web', { replicas: 4, image: 'one' });
  spec.update = config(update);
  spec.rollback = config({ parallelism: 0n, monitorMs: 1000 });
  const { id } = cluster.control.createService(spec);
  cluster.run(500);
  assert.deepEqual(images(cluster, id), { one: 4 });
  return id;
}

/** Pretends that containers of image `two` do not start. */
const badTwo = (task: Task) => (image(task) === 'two' ? TaskState.FAILED : TaskState.RUNNING);

test('an update replaces one task at a time, waiting between them, and ends after watching the last', async () => {
  await using cluster = new TestCluster();
  const id = deploy(cluster, { delayMs: 2000 });
  cluster.update(id, (spec) => setImage(spec, 'two'));
  cluster.run(600);
  assert.deepEqual([status(cluster, id)?.state, status(cluster, id)?.message], [State.UPDATING, 'update in progress']);
  assert.deepEqual(images(cluster, id), { one: 3, two: 1 });
  cluster.run(2400);
  assert.deepEqual(images(cluster, id), { one: 2, two: 2 });
  cluster.run(7000);
  assert.deepEqual(images(cluster, id), { two: 4 });
  assert.equal(status(cluster, id)?.state, State.UPDATING);
  cluster.run(6000);
  assert.deepEqual([status(cluster, id)?.state, status(cluster, id)?.message], [State.COMPLETED, 'update completed']);
  assert.ok(status(cluster, id)?.completedAt);
});

test('stop-first never has more tasks than replicas up; start-first never fewer', async () => {
  for (const [order, check] of [
    [Order.STOP_FIRST, (count: number) => count <= 4],
    [Order.START_FIRST, (count: number) => count >= 4],
  ] as const) {
    await using cluster = new TestCluster();
    const id = deploy(cluster, { order, parallelism: 2n });
    cluster.update(id, (spec) => setImage(spec, 'two'));
    for (let i = 0; i < 120; i++) {
      cluster.run(100);
      const up = cluster.tasks(id).filter((task) => task.status?.state === TaskState.RUNNING).length;
      assert.ok(check(up), `${order}: ${up} tasks up`);
    }
    assert.deepEqual(images(cluster, id), { two: 4 });
    assert.equal(status(cluster, id)?.state, State.COMPLETED);
  }
});

test('a replacement is held back until the old task has stopped, for a minute at most', async () => {
  for (const stopsAfterMs of [3000, Number.POSITIVE_INFINITY]) {
    await using cluster = new TestCluster();
    const id = deploy(cluster, { parallelism: 0n });
    cluster.stops = () => false;
    cluster.update(id, (spec) => setImage(spec, 'two'));
    cluster.run(2900);
    const held = cluster.tasks(id).filter((task) => image(task) === 'two');
    assert.deepEqual(new Set(held.map((task) => task.desiredState)), new Set([TaskState.READY]));
    if (stopsAfterMs < 60_000) cluster.stops = () => true;
    else cluster.run(56_000);
    assert.deepEqual(images(cluster, id), {});
    cluster.run(2000);
    assert.deepEqual(images(cluster, id), { two: 4 });
  }
});

test('an old task that dies while its successor starts gets no other one', async () => {
  await using cluster = new TestCluster();
  const id = deploy(cluster, { order: Order.START_FIRST, parallelism: 0n });
  cluster.behaviour = () => TaskState.PREPARING;
  cluster.update(id, (spec) => setImage(spec, 'two'));
  cluster.run(300);
  for (const task of cluster.running(id)) cluster.report(task.id, TaskState.FAILED);
  cluster.run(500);
  const wanted = cluster.tasks(id).filter((task) => task.desiredState <= TaskState.RUNNING);
  assert.deepEqual(
    wanted.map((task) => [image(task), task.desiredState]),
    Array.from({ length: 4 }, () => ['two', TaskState.RUNNING]),
  );
});

test('parallelism 0 replaces all at once; a forced update replaces tasks of the same spec', async () => {
  await using cluster = new TestCluster();
  const id = deploy(cluster, { parallelism: 0n });
  const before = new Set(cluster.running(id).map((task) => task.id));
  cluster.update(id, (spec) => {
    if (spec.task) spec.task.forceUpdate = 1n;
  });
  cluster.run(400);
  assert.deepEqual(
    cluster.running(id).filter((task) => before.has(task.id)),
    [],
  );
  assert.equal(cluster.running(id).length, 4);
});

test('an update whose tasks fail is paused with the task named, and the rest stays as it was', async () => {
  await using cluster = new TestCluster();
  const id = deploy(cluster, {});
  cluster.behaviour = badTwo;
  cluster.update(id, (spec) => setImage(spec, 'two'));
  cluster.run(3000);
  assert.equal(status(cluster, id)?.state, State.PAUSED);
  assert.match(
    status(cluster, id)?.message ?? '',
    /^update paused due to failure or early termination of task [a-z0-9]{25}$/,
  );
  assert.deepEqual(images(cluster, id), { one: 3 });
  cluster.update(id, (spec) => setImage(spec, 'three'));
  cluster.run(20_000);
  assert.deepEqual(images(cluster, id), { three: 4 });
  assert.equal(status(cluster, id)?.state, State.COMPLETED);
});

test('a paused start-first update leaves no slot with two running tasks', async () => {
  for (const restarts of [false, true]) {
    await using cluster = new TestCluster();
    const id = deploy(cluster, { order: Order.START_FIRST, parallelism: 2n });
    // One new task fails, and pauses the update, while the other is on its way.
    cluster.behaviour = (task) => (image(task) === 'two' ? TaskState.STARTING : TaskState.RUNNING);
    cluster.update(id, (spec) => setImage(spec, 'two'));
    cluster.run(500);
    const [failing, other] = cluster.tasks(id).filter((task) => image(task) === 'two');
    assert.ok(failing && other);
    cluster.report(failing.id, TaskState.FAILED);
    cluster.run(1000);
    assert.equal(status(cluster, id)?.state, State.PAUSED);
    assert.deepEqual(images(cluster, id), { one: 4 });
    if (restarts) await cluster.restartLoops();
    cluster.report(other.id, TaskState.RUNNING);
    cluster.run(1000);
    assert.deepEqual(images(cluster, id), { one: 3, two: 1 });
    // The failed one is restarted, and in the end runs.
    cluster.behaviour = () => TaskState.RUNNING;
    cluster.run(10_000);
    assert.deepEqual(images(cluster, id), { one: 2, two: 2 });
    assert.equal(status(cluster, id)?.state, State.PAUSED);
  }
});

test('with the action continue, or within the failure ratio, failing tasks stop nothing', async () => {
  for (const update of [{ action: FailureAction.CONTINUE }, { ratio: 1 }]) {
    await using cluster = new TestCluster();
    const id = deploy(cluster, update);
    cluster.behaviour = badTwo;
    cluster.update(id, (spec) => setImage(spec, 'two'));
    cluster.run(8000);
    assert.deepEqual(images(cluster, id), {});
    assert.notEqual(status(cluster, id)?.state, State.PAUSED);
  }
});

test('with the action rollback a failing update goes back to the spec before', async () => {
  for (const order of [Order.STOP_FIRST, Order.START_FIRST]) {
    await using cluster = new TestCluster();
    const id = deploy(cluster, { action: FailureAction.ROLLBACK, order });
    cluster.behaviour = badTwo;
    cluster.update(id, (spec) => setImage(spec, 'two'));
    cluster.run(700);
    assert.equal(status(cluster, id)?.state, State.ROLLBACK_STARTED);
    assert.match(
      status(cluster, id)?.message ?? '',
      /^update rolled back due to failure or early termination of task /,
    );
    cluster.run(8000);
    assert.equal(status(cluster, id)?.state, State.ROLLBACK_COMPLETED);
    assert.equal(status(cluster, id)?.message, 'rollback completed');
    assert.deepEqual(images(cluster, id), { one: 4 });
  }
});

test('a task that dies within the monitoring time counts as failed, a later one does not', async () => {
  for (const [afterMs, expected] of [
    [3000, State.PAUSED],
    [8000, State.COMPLETED],
  ] as const) {
    await using cluster = new TestCluster();
    const id = deploy(cluster, { parallelism: 0n });
    cluster.update(id, (spec) => setImage(spec, 'two'));
    cluster.run(afterMs);
    cluster.report(cluster.running(id)[0]?.id ?? '', TaskState.FAILED);
    cluster.run(8000);
    assert.equal(status(cluster, id)?.state, expected);
  }
});

test('a rollback on request swaps the two specs', async () => {
  await using cluster = new TestCluster();
  const id = deploy(cluster, {});
  assert.throws(() => rollBack(cluster, id), { message: /does not have a previous spec/ });
  cluster.update(id, (spec) => setImage(spec, 'two'));
  cluster.run(20_000);
  rollBack(cluster, id);
  assert.equal(status(cluster, id)?.message, 'manually requested rollback');
  cluster.run(10_000);
  assert.deepEqual(images(cluster, id), { one: 4 });
  assert.equal(status(cluster, id)?.state, State.ROLLBACK_COMPLETED);
});

function rollBack(cluster: TestCluster, id: string): void {
  const service = cluster.service(id);
  const version = service.meta?.version?.index ?? 0n;
  cluster.control.updateService(id, version, service.spec ?? assert.fail(), { rollback: 'previous' });
}

test('a new update replaces one that runs', async () => {
  await using cluster = new TestCluster();
  const id = deploy(cluster, { delayMs: 1000 });
  cluster.update(id, (spec) => setImage(spec, 'two'));
  cluster.run(1500);
  cluster.update(id, (spec) => setImage(spec, 'three'));
  cluster.run(20_000);
  assert.deepEqual(images(cluster, id), { three: 4 });
  assert.equal(status(cluster, id)?.state, State.COMPLETED);
});

test('an update goes on after a restart of the loops, and after the loss of a node', async () => {
  for (const order of [Order.STOP_FIRST, Order.START_FIRST])
    for (const afterMs of [0, 100, 200, 300, 1000, 2500]) {
      await using cluster = new TestCluster();
      const id = deploy(cluster, { delayMs: 500, order });
      cluster.update(id, (spec) => setImage(spec, 'two'));
      cluster.run(afterMs);
      await cluster.restartLoops();
      cluster.run(300);
      cluster.changeNode('n2', ({ status: node }) => {
        if (node) node.state = 1;
      });
      cluster.run(30_000);
      assert.deepEqual(images(cluster, id), { two: 4 }, `${order}, restarted after ${afterMs} ms`);
      assert.equal(status(cluster, id)?.state, State.COMPLETED);
    }
});

test('a changed placement that the present nodes satisfy replaces nothing', async () => {
  await using cluster = new TestCluster();
  const id = deploy(cluster, {});
  const before = cluster.running(id).map((task) => task.id);
  cluster.update(id, (spec) => {
    if (spec.task)
      spec.task.placement = {
        $typeName: 'docker.swarmkit.v1.Placement',
        constraints: ['node.platform.os==linux'],
        preferences: [],
        platforms: [],
        maxReplicas: 0n,
      };
  });
  cluster.run(7000);
  assert.deepEqual(
    cluster.running(id).map((task) => task.id),
    before,
  );
});
