import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clone, create } from '@bufbuild/protobuf';
import { silentLogger } from '../../../common/index.ts';
import { type AssignmentChange, AssignmentChange_AssignmentAction } from '../../gen/dispatcher_pb.js';
import { ConfigSchema, SecretSchema, type Task, TaskSchema } from '../../gen/objects_pb.js';
import { TaskState } from '../../gen/types_pb.js';
import { openStore } from '../../store/index.ts';
import { AssignmentSet } from './assignments.ts';

function task(id: string, state: TaskState, secrets: string[] = [], configs: string[] = []): Task {
  const container = {
    image: 'busybox',
    secrets: secrets.map((secretId) => ({ secretId })),
    configs: configs.map((configId) => ({ configId })),
  };
  return create(TaskSchema, { id, status: { state }, spec: { runtime: { case: 'container', value: container } } });
}

function inState(of: Task, state: TaskState): Task {
  const copy = clone(TaskSchema, of);
  if (copy.status !== undefined) copy.status.state = state;
  return copy;
}

const names = (changes: AssignmentChange[]) =>
  changes.map(({ action, assignment }) => {
    const item = assignment?.item;
    return `${action === AssignmentChange_AssignmentAction.REMOVE ? '-' : '+'}${item?.case} ${item?.value?.id}`;
  });

/** An empty set, and a view in which secrets s1, s2 and config c1 exist. */
function setUp(t: { after(action: () => void): void }) {
  const store = openStore({ path: ':memory:', logger: silentLogger() });
  t.after(() => store[Symbol.dispose]());
  store.update((transaction) => {
    for (const id of ['s1', 's2']) {
      transaction.create('secret', create(SecretSchema, { id, spec: { annotations: { name: id } } }));
    }
    transaction.create('config', create(ConfigSchema, { id: 'c1', spec: { annotations: { name: 'c1' } } }));
  });
  const set = new AssignmentSet();
  return { set, update: (changed: Task) => store.view((transaction) => set.update(changed, transaction)) };
}

test('a task is sent from ASSIGNED on, and after that only when more than its status changed', (t) => {
  const { set, update } = setUp(t);
  const pending = task('t1', TaskState.PENDING);
  update(pending);
  assert.deepEqual(names(set.takeChanges()), []);
  update(inState(pending, TaskState.ASSIGNED));
  assert.deepEqual(names(set.takeChanges()), ['+task t1']);
  update(inState(pending, TaskState.ASSIGNED));
  assert.deepEqual(names(set.takeChanges()), ['+task t1'], 'up to ASSIGNED every update is sent');
  update(inState(pending, TaskState.RUNNING));
  assert.deepEqual(names(set.takeChanges()), []);
  const stopping = inState(pending, TaskState.RUNNING);
  stopping.desiredState = TaskState.SHUTDOWN;
  update(stopping);
  assert.deepEqual(names(set.takeChanges()), ['+task t1']);
});

test('secrets and configs come with the first task that needs them and go with the last', (t) => {
  const { set, update } = setUp(t);
  const [first, second] = [
    task('t1', TaskState.ASSIGNED, ['s1', 's2'], ['c1']),
    task('t2', TaskState.ASSIGNED, ['s1']),
  ];
  update(first);
  assert.deepEqual(names(set.takeChanges()), ['+secret s1', '+secret s2', '+config c1', '+task t1']);
  update(second);
  assert.deepEqual(names(set.takeChanges()), ['+task t2']);
  update(inState(first, TaskState.FAILED));
  assert.deepEqual(names(set.takeChanges()), ['-secret s2', '-config c1']);
  set.remove('t1');
  assert.deepEqual(names(set.takeChanges()), ['-task t1']);
  set.remove('t2');
  assert.deepEqual(names(set.takeChanges()), ['-task t2', '-secret s1']);
});

test('a task that is over brings no secrets along', (t) => {
  const { set, update } = setUp(t);
  update(task('t1', TaskState.COMPLETE, ['s1']));
  assert.deepEqual(names(set.takeChanges()), ['+task t1']);
});
