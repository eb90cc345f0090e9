import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { newObjectId } from '../../../common/index.ts';
import { TaskSchema } from '../../gen/objects_pb.js';
import { NodeStatus_State, TaskState } from '../../gen/types_pb.js';
import { addressesOf, TestCluster } from '../testing/cluster.ts';

/** Makes the task by which a node attaches a plain container to a network. @returns its ID. */
function attach(cluster: TestCluster, nodeId: string, target: string, addresses: string[] = []): string {
  const id = newObjectId();
  const task = create(TaskSchema, {
    id,
    nodeId,
    desiredState: TaskState.RUNNING,
    spec: { runtime: { case: 'attachment', value: { containerId: 'c' } }, networks: [{ target, addresses }] },
    status: { state: TaskState.NEW },
  });
  cluster.store.update((tx) => tx.create('task', task));
  cluster.run(300);
  return id;
}

const find = (cluster: TestCluster, id: string) => cluster.tasks().find((task) => task.id === id);

test("a plain container's attachment gets its address and its node's in one step, and gives both back", async () => {
  await using cluster = new TestCluster();
  const net = cluster.createNetwork('net');
  const states: [number | undefined, number][] = [];
  cluster.store.watch((events) => {
    for (const { table } of events)
      if (table === 'task') states.push([cluster.tasks()[0]?.status?.state, cluster.node('n1').attachments.length]);
  });
  const id = attach(cluster, 'n1', net);
  assert.deepEqual(addressesOf(find(cluster, id) ?? assert.fail()), { [net]: '10.0.1.2/24' });
  assert.deepEqual(
    states.find(([state]) => state === TaskState.ASSIGNED),
    [TaskState.ASSIGNED, 2],
  );
  cluster.store.update((tx) => tx.delete('task', id));
  cluster.run(300);
  assert.equal(cluster.node('n1').attachments.length, 1);
});

test('a wanted address is given when it is free and refused with its reason when it is not', async () => {
  await using cluster = new TestCluster();
  const net = cluster.createNetwork('net');
  const first = attach(cluster, 'n1', net, ['10.0.1.77']);
  assert.deepEqual(addressesOf(find(cluster, first) ?? assert.fail()), { [net]: '10.0.1.77/24' });
  for (const address of ['10.0.1.77', '10.0.1.1', '10.0.2.5']) {
    const second = find(cluster, attach(cluster, 'n1', net, [address]));
    assert.equal(second?.status?.state, TaskState.NEW);
    assert.equal(second?.status?.err, `address ${address} of network net is in use or outside its subnet`);
  }
});

test('the attachment of a lost node is deleted', async () => {
  await using cluster = new TestCluster();
  cluster.addNode('n2');
  const net = cluster.createNetwork('net');
  const id = attach(cluster, 'n2', net);
  cluster.changeNode('n2', ({ status }) => status && Object.assign(status, { state: NodeStatus_State.DOWN }));
  cluster.control.removeNode('n2', false);
  cluster.run(300);
  assert.equal(find(cluster, id), undefined);
});
