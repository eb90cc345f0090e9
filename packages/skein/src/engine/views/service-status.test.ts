import assert from 'node:assert/strict';
import { it } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { ServiceSchema, type Task, TaskSchema } from '../../swarm/gen/objects_pb.js';
import { TaskState } from '../../swarm/gen/types_pb.js';
import { serviceStatus } from './service-status.ts';

const task = (desiredState: TaskState, state: TaskState, iteration?: bigint): Task =>
  create(TaskSchema, {
    desiredState,
    status: { state },
    ...(iteration === undefined ? {} : { jobIteration: { index: iteration } }),
  });
const { RUNNING, SHUTDOWN, FAILED, COMPLETE, PREPARING } = TaskState;

it('counts a replicated service from its spec', () => {
  const service = create(ServiceSchema, { spec: { mode: { case: 'replicated', value: { replicas: 3n } } } });
  const tasks = [task(RUNNING, RUNNING), task(RUNNING, PREPARING), task(SHUTDOWN, FAILED)];
  assert.deepEqual(serviceStatus(service, tasks), { RunningTasks: 1, DesiredTasks: 3, CompletedTasks: 0 });
});

it('counts a global service from its tasks', () => {
  const service = create(ServiceSchema, { spec: { mode: { case: 'global', value: {} } } });
  const tasks = [task(RUNNING, RUNNING), task(RUNNING, PREPARING), task(SHUTDOWN, RUNNING)];
  assert.deepEqual(serviceStatus(service, tasks), { RunningTasks: 2, DesiredTasks: 2, CompletedTasks: 0 });
});

it('counts the present iteration of a job only', () => {
  const service = create(ServiceSchema, {
    spec: { mode: { case: 'globalJob', value: {} } },
    jobStatus: { jobIteration: { index: 2n } },
  });
  const tasks = [task(COMPLETE, COMPLETE, 1n), task(COMPLETE, COMPLETE, 2n), task(COMPLETE, RUNNING, 2n)];
  assert.deepEqual(serviceStatus(service, tasks), { RunningTasks: 1, DesiredTasks: 1, CompletedTasks: 1 });
});
