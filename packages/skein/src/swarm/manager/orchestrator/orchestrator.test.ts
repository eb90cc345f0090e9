import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import fc from 'fast-check';
import type { Task } from '../../gen/objects_pb.js';
import { NodeSpec_Availability } from '../../gen/specs_pb.js';
import {
  NodeStatus_State,
  PlacementSchema,
  RestartPolicy_RestartCondition,
  RestartPolicySchema,
  TaskState,
  UpdateConfig_FailureAction,
  UpdateConfigSchema,
  UpdateStatus_UpdateState,
} from '../../gen/types_pb.js';
import { isAlive, isWanted, stateOf } from '../tasks.ts';
import { serviceSpec, setImage, TestCluster } from '../testing/cluster.ts';

const slots = (tasks: readonly Task[]) => tasks.map(({ slot }) => Number(slot)).sort((a, b) => a - b);
const perNode = (tasks: readonly Task[]) =>
  Object.fromEntries([...Map.groupBy(tasks, ({ nodeId }) => nodeId)].map(([id, group]) => [id, group.length]).sort());

function setReplicas(cluster: TestCluster, id: string, replicas: number): void {
  cluster.update(id, (spec) => {
    if (spec.mode.case === 'replicated') spec.mode.value.replicas = BigInt(replicas);
  });
}

function restartPolicy(condition: RestartPolicy_RestartCondition, delayMs: number, maxAttempts = 0n, windowMs = 0) {
  return create(RestartPolicySchema, {
    condition,
    delay: durationFromMs(delayMs),
    maxAttempts,
    window: durationFromMs(windowMs),
  });
}

test('a service scales to forty and back, spread over the nodes, and its removal leaves nothing', async () => {
  await using cluster = new TestCluster();
  for (const id of ['n2', 'n3', 'n4']) cluster.addNode(id);
  const net = cluster.createNetwork('net');
  const { id } = cluster.control.createService(serviceSpec('web', { replicas: 3, networks: [net] }));
  cluster.run(500);
  assert.deepEqual(slots(cluster.running(id)), [1, 2, 3]);
  setReplicas(cluster, id, 40);
  cluster.run(500);
  assert.deepEqual(perNode(cluster.running(id)), { n1: 10, n2: 10, n3: 10, n4: 10 });
  assert.equal(cluster.service(id).updateStatus, undefined, 'scaling is no update');
  setReplicas(cluster, id, 10);
  cluster.run(500);
  const left = perNode(cluster.running(id));
  assert.deepEqual(Object.values(left).sort(), [2, 2, 3, 3]);
  assert.equal(cluster.tasks(id).length, 10, 'the others are gone');
  cluster.control.removeService(id);
  cluster.run(500);
  assert.deepEqual(cluster.tasks(), []);
  cluster.control.removeNetwork(net);
});

test('scaling down gives up tasks that do not run first', async () => {
  await using cluster = new TestCluster();
  cluster.behaviour = (task) => (task.slot === 1n ? undefined : TaskState.RUNNING);
  const { id } = cluster.control.createService(serviceSpec('web', { replicas: 3 }));
  cluster.run(500);
  setReplicas(cluster, id, 2);
  cluster.run(500);
  assert.deepEqual(slots(cluster.running(id)), [2, 3]);
});

test('a failed task is replaced in its slot after the restart delay', async () => {
  await using cluster = new TestCluster();
  const { id } = cluster.control.createService(serviceSpec('web'));
  cluster.run(500);
  const [first] = cluster.running(id);
  cluster.report(first?.id ?? '', TaskState.FAILED);
  cluster.run(4500);
  const held = cluster.tasks(id).find((task) => task.id !== first?.id);
  assert.equal(held?.desiredState, TaskState.READY);
  assert.equal(cluster.tasks(id).find((task) => task.id === first?.id)?.desiredState, TaskState.SHUTDOWN);
  cluster.run(1000);
  const [second] = cluster.running(id);
  assert.deepEqual([second?.id, second?.slot], [held?.id, 1n]);
});

test('the restart condition decides: none never, on-failure not after success', async () => {
  const { NONE, ON_FAILURE } = RestartPolicy_RestartCondition;
  const cases = [
    [NONE, TaskState.FAILED, 0],
    [ON_FAILURE, TaskState.COMPLETE, 0],
    [ON_FAILURE, TaskState.FAILED, 1],
  ] as const;
  for (const [condition, end, expected] of cases) {
    await using cluster = new TestCluster();
    const spec = serviceSpec('job');
    if (spec.task) spec.task.restart = restartPolicy(condition, 0);
    const { id } = cluster.control.createService(spec);
    cluster.run(500);
    cluster.report(cluster.running(id)[0]?.id ?? '', end);
    cluster.run(20_000);
    assert.equal(cluster.running(id).length, expected);
    assert.equal(cluster.tasks(id).length, 1 + expected);
  }
});

test('after the allowed attempts a slot is given up; within a window attempts count only for a while', async () => {
  for (const [windowMs, expected] of [
    [0, 3],
    [60_000, 3],
  ] as const) {
    await using cluster = new TestCluster();
    cluster.behaviour = () => TaskState.FAILED;
    const spec = serviceSpec('web');
    if (spec.task) spec.task.restart = restartPolicy(RestartPolicy_RestartCondition.ANY, 1000, 2n, windowMs);
    const { id } = cluster.control.createService(spec);
    cluster.run(15_000);
    assert.equal(cluster.tasks(id).length, expected, 'the first and two more');
  }
});

test('five tasks of a slot are kept', async () => {
  await using cluster = new TestCluster();
  cluster.behaviour = () => TaskState.FAILED;
  const { id } = cluster.control.createService(serviceSpec('web'));
  cluster.run(60_000);
  assert.equal(cluster.tasks(id).length, 5);
});

test('a drained node loses its tasks to the others, which start when the old ones have stopped', async () => {
  await using cluster = new TestCluster();
  cluster.addNode('n2');
  const { id } = cluster.control.createService(serviceSpec('web', { replicas: 4 }));
  cluster.run(500);
  assert.deepEqual(perNode(cluster.running(id)), { n1: 2, n2: 2 });
  cluster.changeNode('n2', ({ spec }) => {
    if (spec) spec.availability = NodeSpec_Availability.DRAIN;
  });
  cluster.run(1000);
  assert.deepEqual(perNode(cluster.running(id)), { n1: 4 });
  assert.deepEqual(slots(cluster.running(id)), [1, 2, 3, 4]);
});

test("a down node's tasks are replaced at once, orphaned after a day, and deleted when the service goes", async () => {
  await using cluster = new TestCluster();
  cluster.addNode('n2');
  const { id } = cluster.control.createService(serviceSpec('web', { replicas: 2 }));
  cluster.run(500);
  cluster.changeNode('n2', ({ status }) => {
    if (status) status.state = NodeStatus_State.DOWN;
  });
  cluster.run(500);
  assert.deepEqual(perNode(cluster.running(id)), { n1: 2 });
  const lost = () => cluster.tasks(id).find((task) => task.nodeId === 'n2');
  assert.equal(stateOf(lost() ?? assert.fail()), TaskState.RUNNING);
  cluster.clock.advance(24 * 3_600_000);
  assert.equal(stateOf(lost() ?? assert.fail()), TaskState.ORPHANED);
  cluster.control.removeService(id);
  cluster.run(500);
  assert.deepEqual(cluster.tasks(), []);
});

test("a removed node's tasks are replaced, and nothing of it stays when the service goes", async () => {
  await using cluster = new TestCluster();
  cluster.addNode('n2');
  const net = cluster.createNetwork('net');
  const { id } = cluster.control.createService(serviceSpec('web', { replicas: 2, networks: [net] }));
  const everywhere = cluster.control.createService(serviceSpec('agent', { global: true }));
  cluster.run(500);
  cluster.control.removeNode('n2', true);
  cluster.run(6000);
  assert.deepEqual(perNode(cluster.running(id)), { n1: 2 });
  assert.deepEqual(perNode(cluster.tasks(everywhere.id)), { n1: 1 });
  cluster.control.removeService(id);
  cluster.control.removeService(everywhere.id);
  cluster.run(500);
  assert.deepEqual(cluster.tasks(), []);
});

test('a global service has one task on each node that is active and meets its constraints', async () => {
  await using cluster = new TestCluster();
  cluster.addNode('n2', ({ spec }) => {
    if (spec)
      spec.annotations = { $typeName: 'docker.swarmkit.v1.Annotations', name: '', labels: { zone: 'eu' }, indices: [] };
  });
  const spec = serviceSpec('agent', { global: true });
  const { id } = cluster.control.createService(spec);
  cluster.run(500);
  assert.deepEqual(perNode(cluster.running(id)), { n1: 1, n2: 1 });
  cluster.addNode('n3');
  cluster.run(500);
  assert.deepEqual(perNode(cluster.running(id)), { n1: 1, n2: 1, n3: 1 });
  cluster.update(id, (change) => {
    if (change.task) change.task.placement = create(PlacementSchema, { constraints: ['node.labels.zone == eu'] });
  });
  cluster.run(10_000);
  assert.deepEqual(perNode(cluster.running(id)), { n2: 1 });
  cluster.changeNode('n2', ({ spec: node }) => {
    if (node) node.availability = NodeSpec_Availability.DRAIN;
  });
  cluster.run(500);
  assert.deepEqual(cluster.running(id), []);
  cluster.changeNode('n2', ({ spec: node }) => {
    if (node) node.availability = NodeSpec_Availability.ACTIVE;
  });
  cluster.run(6000);
  assert.deepEqual(perNode(cluster.running(id)), { n2: 1 });
});

test('a paused node keeps its tasks and gets no new ones', async () => {
  await using cluster = new TestCluster();
  cluster.addNode('n2');
  const { id } = cluster.control.createService(serviceSpec('web', { replicas: 2 }));
  cluster.run(500);
  cluster.changeNode('n2', ({ spec }) => {
    if (spec) spec.availability = NodeSpec_Availability.PAUSE;
  });
  setReplicas(cluster, id, 4);
  cluster.run(500);
  assert.deepEqual(perNode(cluster.running(id)), { n1: 3, n2: 1 });
});

test('a task whose node no longer meets its constraints moves', async () => {
  await using cluster = new TestCluster();
  const label = (value: string) => ({
    $typeName: 'docker.swarmkit.v1.Annotations' as const,
    name: '',
    labels: { zone: value },
    indices: [],
  });
  for (const node of ['n1', 'n2'])
    cluster.addNode(node, ({ spec }) => {
      if (spec) spec.annotations = label('eu');
    });
  const spec = serviceSpec('web', { replicas: 2 });
  if (spec.task) spec.task.placement = create(PlacementSchema, { constraints: ['node.labels.zone==eu'] });
  const { id } = cluster.control.createService(spec);
  cluster.run(500);
  cluster.changeNode('n2', ({ spec: node }) => {
    if (node) node.annotations = label('us');
  });
  cluster.run(6500);
  assert.deepEqual(perNode(cluster.running(id)), { n1: 2 });
});

test('loops that start anew in the middle of anything come to the same end', async () => {
  for (const restartAt of [0, 100, 200, 400, 1200]) {
    await using cluster = new TestCluster();
    cluster.addNode('n2');
    const net = cluster.createNetwork('net');
    const { id } = cluster.control.createService(serviceSpec('web', { replicas: 6, networks: [net] }));
    cluster.run(restartAt);
    await cluster.restartLoops();
    cluster.run(1000);
    const victim = cluster.running(id)[0];
    cluster.report(victim?.id ?? '', TaskState.FAILED);
    cluster.run(restartAt);
    await cluster.restartLoops();
    cluster.run(7000);
    assert.deepEqual(slots(cluster.running(id)), [1, 2, 3, 4, 5, 6], `restarted after ${restartAt} ms`);
    assert.equal(cluster.tasks(id).length, 7);
    cluster.control.removeService(id);
    await cluster.restartLoops();
    cluster.run(1000);
    assert.deepEqual(cluster.tasks(), []);
  }
});

test('whatever happens, a service comes to exactly its replicas, all of its last spec', async () => {
  const action = fc.oneof(
    fc.record({ kind: fc.constant('scale' as const), replicas: fc.nat(9) }),
    fc.record({ kind: fc.constant('update' as const), startFirst: fc.boolean(), parallelism: fc.nat(3) }),
    fc.record({ kind: fc.constant('fail' as const), task: fc.nat(20) }),
    fc.record({
      kind: fc.constantFrom('drain' as const, 'pause' as const, 'down' as const, 'up' as const),
      node: fc.nat(2),
    }),
    fc.record({ kind: fc.constantFrom('restart' as const, 'stuck' as const, 'moving' as const) }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.record({ action, waitMs: fc.constantFrom(0, 100, 300, 2000, 6000) }), {
        minLength: 3,
        maxLength: 16,
      }),
      fc.boolean(),
      async (steps, global) => {
        await using cluster = new TestCluster();
        for (const id of ['n0', 'n2']) cluster.addNode(id);
        const { id } = cluster.control.createService(serviceSpec('web', { replicas: 3, global, image: 'image:0' }));
        let version = 0;
        let replicas = 3;
        for (const { action: step, waitMs } of steps) {
          const node = 'node' in step ? `n${step.node}` : '';
          if (step.kind === 'scale' && !global) {
            replicas = step.replicas;
            setReplicas(cluster, id, replicas);
          }
          if (step.kind === 'update')
            cluster.update(id, (spec) => {
              setImage(spec, `image:${++version}`);
              spec.update = create(UpdateConfigSchema, {
                parallelism: BigInt(step.parallelism),
                order: step.startFirst ? 1 : 0,
                failureAction: UpdateConfig_FailureAction.CONTINUE,
              });
            });
          if (step.kind === 'fail') {
            const alive = cluster.tasks(id).filter((task) => isAlive(task) && task.nodeId !== '');
            const task = alive[step.task % Math.max(alive.length, 1)];
            if (task) cluster.report(task.id, TaskState.FAILED);
          }
          if (step.kind === 'restart') await cluster.restartLoops();
          if (step.kind === 'stuck') cluster.behaviour = () => TaskState.PREPARING;
          if (step.kind === 'moving') cluster.behaviour = () => TaskState.RUNNING;
          if (step.kind === 'up') cluster.addNode(node);
          if (step.kind === 'down')
            cluster.changeNode(node, ({ status }) => status && Object.assign(status, { state: NodeStatus_State.DOWN }));
          if (step.kind === 'drain')
            cluster.changeNode(node, ({ spec }) => spec && Object.assign(spec, { availability: 2 }));
          if (step.kind === 'pause')
            cluster.changeNode(node, ({ spec }) => spec && Object.assign(spec, { availability: 1 }));
          cluster.run(waitMs);
        }
        cluster.behaviour = () => TaskState.RUNNING;
        for (const node of ['n0', 'n1', 'n2'])
          cluster.addNode(node, ({ spec }) => spec && Object.assign(spec, { availability: 0 }));
        cluster.run(90_000);
        const expected = global ? [0, 0, 0] : Array.from({ length: replicas }, (_, index) => index + 1);
        const found = slots(cluster.running(id));
        if (global) assert.deepEqual(perNode(cluster.running(id)), { n0: 1, n1: 1, n2: 1 });
        else assert.equal(found.length, expected.length, `slots ${found}`);
        assert.equal(new Set(found).size, global ? 1 : expected.length, `slots ${found}`);
        for (const task of cluster.running(id))
          assert.equal(task.spec?.runtime.case === 'container' && task.spec.runtime.value.image, `image:${version}`);
        for (const task of cluster.tasks(id))
          assert.ok(
            isWanted(task) === (stateOf(task) === TaskState.RUNNING),
            JSON.stringify([task.desiredState, task.status?.state]),
          );
        const state = cluster.service(id).updateStatus?.state;
        assert.ok(state === undefined || state === UpdateStatus_UpdateState.COMPLETED, `update ${state}`);
      },
    ),
    { numRuns: 60 },
  );
});

test('a task that cannot be prepared is tried again after the delay, not at once', async () => {
  await using cluster = new TestCluster();
  const { id } = cluster.control.createService(
    serviceSpec('web', {
      change: (spec) => {
        if (spec.task) spec.task.restart = restartPolicy(RestartPolicy_RestartCondition.ANY, 1_000);
      },
    }),
  );
  for (let passed = 0; passed < 5_000; passed += 100) {
    cluster.run(100);
    for (const task of cluster.tasks(id))
      if (isWanted(task) && isAlive(task) && stateOf(task) >= TaskState.ASSIGNED)
        cluster.report(task.id, TaskState.REJECTED);
  }
  const { length } = cluster.tasks(id);
  assert.ok(length >= 5 && length <= 6, `${length} tasks in five seconds`);
});
