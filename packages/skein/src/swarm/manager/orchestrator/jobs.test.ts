import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';
import fc from 'fast-check';
import type { Task } from '../../gen/objects_pb.js';
import { GlobalJobSchema, NodeSpec_Availability, ReplicatedJobSchema, type ServiceSpec } from '../../gen/specs_pb.js';
import {
  RestartPolicy_RestartCondition as Condition,
  NodeStatus_State,
  RestartPolicySchema,
  TaskState,
} from '../../gen/types_pb.js';
import { isAlive, isWanted, stateOf } from '../tasks.ts';
import { serviceSpec, TestCluster } from '../testing/cluster.ts';

function jobSpec(total: number, concurrent = total, change: (spec: ServiceSpec) => void = () => {}): ServiceSpec {
  const value = create(ReplicatedJobSchema, { totalCompletions: BigInt(total), maxConcurrent: BigInt(concurrent) });
  return serviceSpec('job', { mode: { case: 'replicatedJob', value }, change });
}

const globalJobSpec = () => serviceSpec('job', { mode: { case: 'globalJob', value: create(GlobalJobSchema) } });

function restart(spec: ServiceSpec, condition: Condition, maxAttempts: number): void {
  if (!spec.task) return;
  spec.task.restart = create(RestartPolicySchema, {
    condition,
    delay: durationFromMs(500),
    maxAttempts: BigInt(maxAttempts),
  });
}

function force(cluster: TestCluster, id: string): void {
  cluster.update(id, (spec) => {
    if (spec.task) spec.task.forceUpdate++;
  });
}

const inState = (tasks: readonly Task[], state: TaskState) => tasks.filter((task) => stateOf(task) === state);
const slots = (tasks: readonly Task[]) => tasks.map(({ slot }) => Number(slot)).sort((a, b) => a - b);

/** Ends every task of the job that runs. */
function endRunning(cluster: TestCluster, id: string, state: TaskState): void {
  for (const task of inState(cluster.tasks(id), TaskState.RUNNING)) cluster.report(task.id, state);
}

test('a replicated job runs so many tasks at a time until as many as asked have completed', async () => {
  await using cluster = new TestCluster();
  const { id } = cluster.control.createService(jobSpec(5, 2));
  cluster.run(300);
  assert.deepEqual(slots(inState(cluster.tasks(id), TaskState.RUNNING)), [0, 1]);
  assert.ok(cluster.tasks(id).every(({ desiredState }) => desiredState === TaskState.COMPLETE));
  for (const completed of [2, 4, 5]) {
    endRunning(cluster, id, TaskState.COMPLETE);
    cluster.run(300);
    assert.equal(inState(cluster.tasks(id), TaskState.COMPLETE).length, completed);
  }
  cluster.run(20_000);
  assert.deepEqual(slots(cluster.tasks(id)), [0, 1, 2, 3, 4], 'each slot once, and nothing more');
});

test('a task of a job that failed is run again in its slot, one that completed is not, with any restart condition', async () => {
  await using cluster = new TestCluster();
  const { id } = cluster.control.createService(jobSpec(2, 2, (spec) => restart(spec, Condition.ANY, 0)));
  cluster.run(300);
  const [first, second] = cluster.tasks(id).sort((a, b) => Number(a.slot - b.slot));
  cluster.report(first?.id ?? '', TaskState.FAILED);
  cluster.report(second?.id ?? '', TaskState.COMPLETE);
  cluster.run(400);
  const held = cluster.tasks(id).find((task) => task.slot === 0n && isWanted(task));
  assert.equal(held?.desiredState, TaskState.READY, 'it waits for the restart delay');
  cluster.run(1_000);
  assert.deepEqual(slots(inState(cluster.tasks(id), TaskState.RUNNING)), [0]);
  endRunning(cluster, id, TaskState.COMPLETE);
  cluster.run(5_000);
  assert.equal(inState(cluster.tasks(id), TaskState.COMPLETE).length, 2);
  assert.equal(cluster.tasks(id).length, 3);
});

test("a job's slot is given up after its attempts, and the others go on", async () => {
  await using cluster = new TestCluster();
  const { id } = cluster.control.createService(jobSpec(3, 1, (spec) => restart(spec, Condition.ON_FAILURE, 2)));
  for (let round = 0; round < 60; round++) {
    cluster.run(300);
    for (const task of inState(cluster.tasks(id), TaskState.RUNNING))
      cluster.report(task.id, task.slot === 0n ? TaskState.FAILED : TaskState.COMPLETE);
  }
  const tasks = cluster.tasks(id);
  assert.equal(inState(tasks, TaskState.FAILED).length, 3, 'the first try and two more');
  assert.deepEqual(slots(inState(tasks, TaskState.COMPLETE)), [1, 2]);
});

test('every update of a job runs it once more and ends what still ran', async () => {
  await using cluster = new TestCluster();
  const { id } = cluster.control.createService(jobSpec(3, 2));
  cluster.run(300);
  endRunning(cluster, id, TaskState.COMPLETE);
  cluster.run(300);
  assert.equal(cluster.service(id).jobStatus?.jobIteration?.index, 0n);
  force(cluster, id);
  cluster.run(500);
  assert.equal(cluster.service(id).jobStatus?.jobIteration?.index, 1n);
  const tasks = cluster.tasks(id);
  assert.deepEqual(slots(tasks.filter((task) => task.jobIteration?.index === 0n)), [0, 1], 'only the completed stay');
  assert.deepEqual(slots(inState(tasks, TaskState.RUNNING)), [0, 1]);
  assert.equal(cluster.service(id).updateStatus, undefined);
  for (let round = 0; round < 3; round++) {
    endRunning(cluster, id, TaskState.COMPLETE);
    cluster.run(300);
  }
  assert.equal(
    inState(cluster.tasks(id), TaskState.COMPLETE).filter((task) => task.jobIteration?.index === 1n).length,
    3,
  );
});

test('a job is rolled back by a new iteration, without a status that never changes', async () => {
  await using cluster = new TestCluster();
  const { id } = cluster.control.createService(jobSpec(1));
  cluster.run(300);
  force(cluster, id);
  cluster.run(300);
  const service = cluster.service(id);
  const spec = service.spec ?? assert.fail();
  cluster.control.updateService(id, service.meta?.version?.index ?? 0n, spec, { rollback: 'previous' });
  cluster.run(300);
  assert.equal(cluster.service(id).jobStatus?.jobIteration?.index, 2n);
  assert.equal(cluster.service(id).updateStatus, undefined);
  assert.equal(inState(cluster.tasks(id), TaskState.RUNNING).length, 1);
});

test('a task of a job whose node dies or is drained runs again elsewhere', async () => {
  await using cluster = new TestCluster();
  for (const id of ['n2', 'n3']) cluster.addNode(id);
  const { id } = cluster.control.createService(jobSpec(3, 3, (spec) => restart(spec, Condition.ON_FAILURE, 0)));
  cluster.run(300);
  cluster.changeNode('n2', (node) => {
    if (node.status) node.status.state = NodeStatus_State.DOWN;
  });
  cluster.changeNode('n3', (node) => {
    if (node.spec) node.spec.availability = NodeSpec_Availability.DRAIN;
  });
  cluster.run(3_000);
  const running = cluster.tasks(id).filter((task) => isWanted(task) && stateOf(task) === TaskState.RUNNING);
  assert.deepEqual(slots(running), [0, 1, 2]);
  assert.ok(running.every(({ nodeId }) => nodeId === 'n1'));
});

test('a global job runs once on each node, also on those that come later, and not again where it completed', async () => {
  await using cluster = new TestCluster();
  cluster.addNode('n2');
  const { id } = cluster.control.createService(globalJobSpec());
  cluster.run(300);
  endRunning(cluster, id, TaskState.COMPLETE);
  cluster.changeNode('n2', (node) => {
    if (node.status) node.status.state = NodeStatus_State.DOWN;
  });
  cluster.run(1_000);
  cluster.changeNode('n2', (node) => {
    if (node.status) node.status.state = NodeStatus_State.READY;
  });
  cluster.addNode('n3');
  cluster.run(1_000);
  endRunning(cluster, id, TaskState.COMPLETE);
  cluster.run(10_000);
  assert.deepEqual(
    cluster
      .tasks(id)
      .map(({ nodeId }) => nodeId)
      .sort(),
    ['n1', 'n2', 'n3'],
  );
  assert.equal(inState(cluster.tasks(id), TaskState.COMPLETE).length, 3);
});

test('whatever happens, a job never runs more at a time than allowed and completes every slot', () => {
  const event = fc.constantFrom('complete', 'fail', 'restart manager', 'node down', 'node up');
  return fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 6 }),
      fc.integer({ min: 1, max: 4 }),
      fc.array(event, { maxLength: 12 }),
      async (total, concurrent, events) => {
        await using cluster = new TestCluster();
        cluster.addNode('n2');
        const { id } = cluster.control.createService(
          jobSpec(total, concurrent, (spec) => restart(spec, Condition.ON_FAILURE, 0)),
        );
        const setNode = (state: NodeStatus_State) =>
          cluster.changeNode('n2', (node) => {
            if (node.status) node.status.state = state;
          });
        const act = async (what: string) => {
          const [running] = inState(cluster.tasks(id), TaskState.RUNNING);
          if (what === 'complete' && running) cluster.report(running.id, TaskState.COMPLETE);
          if (what === 'fail' && running) cluster.report(running.id, TaskState.FAILED);
          if (what === 'node down') setNode(NodeStatus_State.DOWN);
          if (what === 'node up') setNode(NodeStatus_State.READY);
          if (what === 'restart manager') await cluster.restartLoops();
          cluster.run(300);
          const active = cluster.tasks(id).filter((task) => isWanted(task) && isAlive(task));
          assert.ok(active.length <= concurrent, `${active.length} of ${concurrent} active after ${what}`);
          assert.equal(new Set(slots(active)).size, active.length, 'one task a slot');
        };
        for (const what of events) await act(what);
        setNode(NodeStatus_State.READY);
        for (let round = 0; round < 40; round++) await act('complete');
        const completed = inState(cluster.tasks(id), TaskState.COMPLETE);
        assert.deepEqual([...new Set(slots(completed))], [...Array(total).keys()]);
      },
    ),
    { numRuns: 30 },
  );
});
