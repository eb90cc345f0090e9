import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { type Task, TaskSchema } from '../gen/objects_pb.js';
import { TaskState } from '../gen/types_pb.js';
import { step } from './task-step.ts';
import { FakeController } from './testing.ts';
import { TemporaryError } from './types.ts';

const never = new AbortController().signal;

function task(state: TaskState, desiredState: TaskState): Task {
  return create(TaskSchema, { id: 't', desiredState, status: { state, message: 'before' } });
}

/** Steps until the task pauses. @returns `STATE message` of each step. */
async function walk(start: Task, controller: FakeController): Promise<string[]> {
  const seen: string[] = [];
  let current = start;
  for (let steps = 0; steps < 20; steps++) {
    const { kind, status } = await step(current, controller, never, () => 0);
    if (kind !== 'moved') return seen;
    seen.push(`${TaskState[status.state]} ${status.message}`);
    current = create(TaskSchema, { ...current, status });
  }
  return assert.fail(`no pause after ${seen.join(', ')}`);
}

test("a task walks through its states in swarmkit's words", async () => {
  const controller = new FakeController(task(TaskState.ASSIGNED, TaskState.RUNNING));
  controller.exit();
  assert.deepEqual(await walk(controller.task, controller), [
    'ACCEPTED accepted',
    'PREPARING preparing',
    'READY prepared',
    'STARTING starting',
    'RUNNING started',
    'COMPLETE finished',
  ]);
});

test('it pauses at READY when no more is desired', async () => {
  const controller = new FakeController(task(TaskState.ASSIGNED, TaskState.READY));
  assert.equal((await walk(controller.task, controller)).at(-1), 'READY prepared');
  assert.ok(!controller.calls.includes('start'));
});

test('a failure before STARTING rejects the task, a later one fails it; the message stays', async () => {
  const controller = new FakeController(task(TaskState.PREPARING, TaskState.RUNNING));
  controller.preparing = async () => {
    throw new Error('No such image: x');
  };
  const rejected = await step(controller.task, controller, never, () => 0);
  assert.equal(rejected.status.state, TaskState.REJECTED);
  assert.equal(rejected.status.err, 'No such image: x');
  assert.equal(rejected.status.message, 'before');
  assert.equal(rejected.status.container, undefined);

  controller.exit(new Error('task: non-zero exit (1)'));
  const failed = await step(task(TaskState.RUNNING, TaskState.RUNNING), controller, never, () => 0);
  assert.equal(failed.status.state, TaskState.FAILED);
  assert.equal(failed.status.container?.pid, 4711);
});

test('a temporary error and an interruption leave the state as it is', async () => {
  const controller = new FakeController(task(TaskState.PREPARING, TaskState.RUNNING));
  controller.preparing = async () => {
    throw new TemporaryError('registry is busy');
  };
  assert.equal((await step(controller.task, controller, never, () => 0)).kind, 'retry');
  const abort = new AbortController();
  const waiting = step(task(TaskState.RUNNING, TaskState.RUNNING), controller, abort.signal, () => 0);
  abort.abort(new Error('stop'));
  assert.equal((await waiting).kind, 'retry');
});

test('from any state, towards any desired state, no step goes back', async () => {
  const states = Object.values(TaskState).filter((value) => typeof value === 'number');
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...states),
      fc.constantFrom(...states),
      fc.boolean(),
      async (state, desired, fails) => {
        const controller = new FakeController(task(state, desired));
        controller.exit(fails ? new Error('exit') : undefined);
        const { status } = await step(controller.task, controller, never, () => 0);
        assert.ok(status.state >= state, `${TaskState[state]} → ${TaskState[status.state]}`);
        if (state > TaskState.RUNNING) assert.equal(status.state, state);
      },
    ),
  );
});

test('a status bears the time at which its step was over', async () => {
  let now = 1_000;
  const controller = new FakeController(task(TaskState.RUNNING, TaskState.RUNNING));
  controller.wait = async () => {
    now = 9_000;
  };
  const { status } = await step(controller.task, controller, never, () => now);
  assert.equal(status.state, TaskState.COMPLETE);
  assert.equal(status.timestamp?.seconds, 9n);
});
