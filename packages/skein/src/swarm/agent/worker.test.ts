import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { silentLogger } from '../../common/index.ts';
import {
  type AssignmentChange,
  AssignmentChange_AssignmentAction,
  AssignmentChangeSchema,
} from '../gen/dispatcher_pb.js';
import { ConfigSchema, type Task, TaskSchema } from '../gen/objects_pb.js';
import { TaskSpecSchema } from '../gen/specs_pb.js';
import { TaskState, TaskStatusSchema } from '../gen/types_pb.js';
import { TestClock } from '../identity/testing.ts';
import { TaskDatabase } from './task-database.ts';
import { aborted, FakeExecutor } from './testing.ts';
import { Worker } from './worker.ts';

const { UPDATE, REMOVE } = AssignmentChange_AssignmentAction;

function setUp(t: { after(action: () => unknown): void }, path?: string) {
  const directory = mkdtempSync(join(tmpdir(), 'skein-worker-'));
  const database = new TaskDatabase(path ?? join(directory, 'tasks.db'));
  const executor = new FakeExecutor();
  const clock = new TestClock(0);
  /** The states reported of each task, in order. */
  const reported = new Map<string, string[]>();
  const worker = new Worker({
    executor,
    database,
    clock,
    logger: silentLogger(),
    report: (taskId, { state }) => reported.set(taskId, [...(reported.get(taskId) ?? []), TaskState[state]]),
    started: () => {},
  });
  t.after(async () => {
    await worker.close();
    database[Symbol.dispose]();
    rmSync(directory, { recursive: true, force: true });
  });
  return { worker, executor, clock, reported, database };
}

function assigned(id: string, desiredState = TaskState.RUNNING): Task {
  return create(TaskSchema, { id, desiredState, status: { state: TaskState.ASSIGNED } });
}

const change = (task: Task, action = UPDATE): AssignmentChange =>
  create(AssignmentChangeSchema, { action, assignment: { item: { case: 'task', value: task } } });

async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
}

test('a complete list starts what is on it and removes what is not', async (t) => {
  const { worker, executor, reported, database } = setUp(t);
  worker.assign([change(assigned('t1')), change(assigned('t2'))]);
  await settle();
  assert.deepEqual(reported.get('t1'), ['ACCEPTED', 'PREPARING', 'READY', 'STARTING', 'RUNNING']);
  worker.assign([change(assigned('t2'))]);
  await settle();
  assert.deepEqual(executor.controllers.get('t1')?.calls.slice(-2), ['shutdown', 'remove']);
  assert.deepEqual(
    database.tasks().map(({ task, assigned }) => [task.id, TaskState[task.status?.state ?? 0], assigned]),
    [['t2', 'RUNNING', true]],
  );
});

test('a config listed after its task is there when the task is made', async (t) => {
  const { worker, executor } = setUp(t);
  let seen: string | undefined;
  executor.made = (_controller, dependencies) => {
    seen = dependencies.config('c1')?.id;
  };
  const config = { case: 'config', value: create(ConfigSchema, { id: 'c1' }) } as const;
  worker.assign([change(assigned('t1')), create(AssignmentChangeSchema, { assignment: { item: config } })]);
  assert.equal(seen, 'c1');
});

test('a task that was being prepared when the host stopped waits for its config, or is removed with what it left', async (t) => {
  const { worker, executor, database, reported } = setUp(t);
  const config = create(ConfigSchema, { id: 'c1' });
  const withConfig = (id: string): Task => {
    const task = assigned(id);
    task.spec = create(TaskSpecSchema, { runtime: { case: 'container', value: { configs: [{ configId: 'c1' }] } } });
    return task;
  };
  for (const id of ['stays', 'goes']) {
    database.putTask(withConfig(id), create(TaskStatusSchema, { state: TaskState.PREPARING }));
  }
  let seen: string | undefined;
  executor.made = (_controller, dependencies) => {
    seen = dependencies.config('c1')?.id;
  };
  worker.start();
  await settle();
  assert.equal(executor.controllers.size, 0);
  const item = { case: 'config', value: config } as const;
  worker.assign([change(withConfig('stays')), create(AssignmentChangeSchema, { assignment: { item } })]);
  await settle();
  assert.equal(seen, 'c1');
  assert.deepEqual(reported.get('stays'), ['READY', 'STARTING', 'RUNNING']);
  assert.deepEqual(executor.controllers.get('goes')?.calls, ['shutdown', 'remove']);
  assert.deepEqual(
    database.tasks().map(({ task }) => task.id),
    ['stays'],
  );
});

test('shutdown interrupts a long preparation; a lower desired state is ignored afterwards', async (t) => {
  const { worker, executor, reported } = setUp(t);
  executor.made = (controller) => {
    controller.preparing = aborted;
  };
  worker.update([change(assigned('t1'))]);
  await settle();
  assert.deepEqual(reported.get('t1'), ['ACCEPTED', 'PREPARING']);
  worker.update([change(assigned('t1', TaskState.SHUTDOWN))]);
  await settle();
  assert.equal(reported.get('t1')?.at(-1), 'SHUTDOWN');
  worker.update([change(assigned('t1', TaskState.RUNNING))]);
  await settle();
  assert.equal(reported.get('t1')?.at(-1), 'SHUTDOWN');
});

test('a removal that fails is tried again, and a host that stops in between goes on with it', async (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'skein-worker-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const path = join(directory, 'tasks.db');
  const first = setUp(t, path);
  first.executor.made = (controller) => {
    controller.removing = async () => {
      throw new Error('device is busy');
    };
  };
  first.worker.update([change(assigned('t1'))]);
  await settle();
  first.worker.update([change(assigned('t1'), REMOVE)]);
  await settle();
  await first.clock.advance(1_000);
  assert.equal(first.executor.controllers.get('t1')?.calls.filter((call) => call === 'remove').length, 2);
  await first.worker.close();

  const second = setUp(t, path);
  second.worker.start();
  await settle();
  assert.deepEqual(second.executor.controllers.get('t1')?.calls, ['shutdown', 'remove']);
  assert.deepEqual(second.database.tasks(), []);
});

test('a task that nobody can make a controller for is rejected', async (t) => {
  const { worker, executor, database } = setUp(t);
  executor.made = () => {
    throw new Error('unsupported runtime');
  };
  worker.update([change(assigned('t1'))]);
  const [kept] = database.tasks();
  assert.equal(kept?.task.status?.state, TaskState.REJECTED);
  assert.equal(kept?.task.status?.message, 'resolving controller failed');
  assert.equal(kept?.task.status?.err, 'unsupported runtime');
});

test('all statuses are told again on demand', async (t) => {
  const { worker, reported } = setUp(t);
  worker.update([change(assigned('t1'))]);
  await settle();
  reported.clear();
  worker.reportAll();
  assert.deepEqual(reported.get('t1'), ['RUNNING']);
});
