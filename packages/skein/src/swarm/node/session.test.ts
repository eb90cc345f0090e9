/** Agent and manager on one wire: what only shows when both are there. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { clone, create } from '@bufbuild/protobuf';
import { type Clock, silentLogger, systemClock } from '../../common/index.ts';
import { Agent } from '../agent/index.ts';
import { FakeExecutor } from '../agent/testing.ts';
import { NodeSchema, SecretSchema, type Task, TaskSchema } from '../gen/objects_pb.js';
import { NodeSpec_Availability } from '../gen/specs_pb.js';
import { IssuanceStatus_State, NodeStatus_State, TaskState } from '../gen/types_pb.js';
import { NodeIdentity } from '../identity/index.ts';
import { startManagerServer } from '../manager/server/index.ts';
import { startTestCluster, type TestCluster } from '../manager/server/testing.ts';
import type { Store } from '../store/types.ts';

type TestContext = Parameters<typeof startTestCluster>[0];

interface Host {
  readonly agent: Agent;
  readonly executor: FakeExecutor;
  readonly identity: NodeIdentity;
  readonly directory: string;
}

async function joinHost(
  t: TestContext,
  cluster: TestCluster,
  executor = new FakeExecutor(),
  clock = systemClock,
): Promise<Host> {
  const directory = mkdtempSync(join(tmpdir(), 'skein-host-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const identity = await NodeIdentity.join(
    { directory: join(directory, 'certificates'), clock: systemClock, logger: silentLogger() },
    {
      addresses: [cluster.address],
      token: cluster.workerToken,
      availability: NodeSpec_Availability.ACTIVE,
      signal: AbortSignal.timeout(10_000),
    },
  );
  t.after(() => identity[Symbol.dispose]());
  const agent = await startAgent(t, identity, executor, directory, [cluster.address], clock);
  return { agent, executor, identity, directory };
}

async function startAgent(
  t: TestContext,
  identity: NodeIdentity,
  executor: FakeExecutor,
  directory: string,
  managers: string[],
  clock = systemClock,
): Promise<Agent> {
  const stateDirectory = join(directory, 'agent');
  const agent = await Agent.start({
    executor,
    identity,
    managers,
    stateDirectory,
    clock,
    logger: silentLogger(),
  });
  t.after(() => agent.close({ stopTasks: false }));
  return agent;
}

/** What the agent does every 20 s happens every 50 ms. */
const impatientClock: Clock = {
  ...systemClock,
  setTimeout: (action, milliseconds) => systemClock.setTimeout(action, milliseconds === 20_000 ? 50 : milliseconds),
};

/** Waits, on the store's events, until `condition` holds. */
async function until(store: Store, what: string, condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 8_000;
  while (!condition()) {
    if (Date.now() > deadline) assert.fail(`${what} did not happen`);
    await new Promise<void>((resolve) => {
      const done = () => {
        unwatch();
        clearTimeout(timer);
        resolve();
      };
      const unwatch = store.watch(done);
      const timer = setTimeout(done, 50);
    });
  }
}

function assignTask(store: Store, nodeId: string, id: string, secretIds: string[] = []): void {
  const secrets = secretIds.map((secretId) => ({ secretId }));
  const task = create(TaskSchema, {
    id,
    nodeId,
    serviceId: 'service',
    spec: { runtime: { case: 'container', value: { image: 'busybox', secrets } } },
    status: { state: TaskState.ASSIGNED },
    desiredState: TaskState.RUNNING,
  });
  store.update((transaction) => transaction.create('task', task));
}

function readTask(store: Store, id: string): Task | undefined {
  return store.view((transaction) => transaction.get('task', id));
}

function setDesired(store: Store, id: string, desiredState: TaskState): void {
  store.update((transaction) => {
    const task = transaction.get('task', id);
    if (task === undefined) assert.fail(`task ${id} is not in the store`);
    transaction.update('task', Object.assign(clone(TaskSchema, task), { desiredState }));
  });
}

const stateOf = (store: Store, id: string) => readTask(store, id)?.status?.state;

test('a task goes from the store to the host and its states come back, until it is shut down and removed', async (t) => {
  const cluster = await startTestCluster(t);
  const { store } = cluster;
  const { agent, executor, identity } = await joinHost(t, cluster);
  await until(store, 'session', () => agent.status().connected);
  assert.deepEqual(executor.told.slice(0, 3), ['managers 1', 'node', 'keys 3']);
  const node = store.view((transaction) => transaction.get('node', identity.nodeId));
  assert.equal(node?.status?.state, NodeStatus_State.READY);
  assert.equal(node?.status?.addr, '127.0.0.1');
  assert.equal(node?.description?.hostname, 'fake');
  assert.ok((node?.description?.tlsInfo?.trustRoot.length ?? 0) > 0);

  store.update((transaction) => {
    transaction.create('secret', create(SecretSchema, { id: 's1', spec: { data: Buffer.from('x') } }));
  });
  let secretSeen = '';
  executor.made = (_controller, dependencies) => {
    secretSeen = Buffer.from(dependencies.secret('s1')?.spec?.data ?? '').toString();
  };
  assignTask(store, identity.nodeId, 'task1', ['s1']);
  await until(store, 'RUNNING', () => stateOf(store, 'task1') === TaskState.RUNNING);
  assert.equal(secretSeen, 'x');
  const status = readTask(store, 'task1')?.status;
  assert.equal(status?.message, 'started');
  assert.equal(status?.container?.containerId, 'container-of-task1');
  assert.equal(status?.appliedBy, cluster.identity.nodeId);

  setDesired(store, 'task1', TaskState.SHUTDOWN);
  await until(store, 'SHUTDOWN', () => stateOf(store, 'task1') === TaskState.SHUTDOWN);
  store.update((transaction) => transaction.delete('task', 'task1'));
  await until(store, 'removal', () => executor.controllers.get('task1')?.calls.includes('remove') === true);
});

test('a restarted host adopts its running task while no manager answers, and reports it when one does', async (t) => {
  const cluster = await startTestCluster(t);
  const { store } = cluster;
  const host = await joinHost(t, cluster);
  assignTask(store, host.identity.nodeId, 'task1');
  await until(store, 'RUNNING', () => stateOf(store, 'task1') === TaskState.RUNNING);
  await host.agent.close({ stopTasks: false });
  assert.ok(!host.executor.controllers.get('task1')?.calls.includes('shutdown'));

  const executor = new FakeExecutor();
  const agent = await startAgent(t, host.identity, executor, host.directory, []);
  assert.deepEqual(executor.controllers.get('task1')?.calls, ['wait'], 'adopted before any session');
  assert.deepEqual(
    agent.status().managers.map(({ address }) => address),
    [cluster.address],
    'remembered',
  );
  executor.controllers.get('task1')?.exit(new Error('task: non-zero exit (3)'));
  await until(store, 'FAILED', () => stateOf(store, 'task1') === TaskState.FAILED);
  assert.equal(readTask(store, 'task1')?.status?.err, 'task: non-zero exit (3)');
});

test('leaving shuts down and removes every task', async (t) => {
  const cluster = await startTestCluster(t);
  const { agent, executor, identity } = await joinHost(t, cluster);
  assignTask(cluster.store, identity.nodeId, 'task1');
  await until(cluster.store, 'RUNNING', () => stateOf(cluster.store, 'task1') === TaskState.RUNNING);
  await agent.close({ stopTasks: true });
  assert.deepEqual(executor.controllers.get('task1')?.calls.slice(-2), ['shutdown', 'remove']);
});

test('a change of the Node object reaches the host before the task that needs it', async (t) => {
  const cluster = await startTestCluster(t);
  const { store } = cluster;
  const { agent, executor, identity } = await joinHost(t, cluster);
  await until(store, 'session', () => agent.status().connected);
  let portAtTask = 0;
  executor.made = () => {
    portAtTask = executor.node?.vxlanUdpPort ?? 0;
  };
  store.update((transaction) => {
    const node = transaction.get('node', identity.nodeId);
    if (node === undefined) assert.fail('no node');
    transaction.update('node', Object.assign(clone(NodeSchema, node), { vxlanUdpPort: 4790 }));
  });
  assignTask(store, identity.nodeId, 'task1');
  await until(store, 'RUNNING', () => stateOf(store, 'task1') === TaskState.RUNNING);
  assert.equal(portAtTask, 4790);
});

test('what the host could not apply of a session is applied as soon as it can, without word from the manager', async (t) => {
  const cluster = await startTestCluster(t);
  const executor = new FakeExecutor();
  const [configure, setKeys] = [t.mock.method(executor, 'configure'), t.mock.method(executor, 'setNetworkKeys')];
  const failing = async (): Promise<void> => {
    throw new Error('a port is taken');
  };
  configure.mock.mockImplementation(failing);
  setKeys.mock.mockImplementation(failing);
  const { agent } = await joinHost(t, cluster, executor, impatientClock);
  await until(cluster.store, 'session', () => agent.status().connected);
  assert.deepEqual(executor.told, ['managers 1']);
  configure.mock.restore();
  setKeys.mock.restore();
  await until(cluster.store, 'second attempt', () => executor.told.length === 3);
  assert.deepEqual(executor.told, ['managers 1', 'node', 'keys 3']);
});

test('service logs come from the host, by last lines and by following, and an absent node is named', async (t) => {
  const cluster = await startTestCluster(t);
  const { store, server } = cluster;
  const { agent, executor, identity } = await joinHost(t, cluster);
  executor.made = (controller) => {
    controller.logLines = ['one', 'two'];
  };
  await until(store, 'session', () => agent.status().connected);
  assignTask(store, identity.nodeId, 'task1');
  await until(store, 'RUNNING', () => stateOf(store, 'task1') === TaskState.RUNNING);
  const request = { serviceIds: ['service'], taskIds: [], follow: false, stdout: true, stderr: true };
  const lines: string[] = [];
  for await (const { data, nodeId, timestamp } of server.logs.subscribe({
    ...request,
    signal: AbortSignal.timeout(5_000),
  })) {
    assert.equal(nodeId, identity.nodeId);
    assert.equal(timestamp, '2026-03-04T05:06:07.123456789Z');
    lines.push(Buffer.from(data).toString());
  }
  assert.deepEqual(lines, ['one', 'two']);

  const stop = new AbortController();
  const followed: string[] = [];
  for await (const { data } of server.logs.subscribe({ ...request, follow: true, signal: stop.signal })) {
    followed.push(Buffer.from(data).toString());
    if (followed.length === 2) assignTask(store, identity.nodeId, 'task2');
    if (followed.length === 4) stop.abort();
  }
  assert.deepEqual(followed, ['one', 'two', 'one', 'two']);

  assignTask(store, 'elsewhere', 'task3');
  setRunning(store, 'task3');
  const absent = server.logs.subscribe({ ...request, signal: AbortSignal.timeout(5_000) });
  await assert.rejects(async () => {
    for await (const _ of absent);
  }, /incomplete log stream.*node elsewhere is not available/);
});

function setRunning(store: Store, id: string): void {
  store.update((transaction) => {
    const task = transaction.get('task', id);
    if (task === undefined) assert.fail(`task ${id} is not in the store`);
    const next = clone(TaskSchema, task);
    if (next.status !== undefined) next.status.state = TaskState.RUNNING;
    transaction.update('task', next);
  });
}

test('an agent finds its manager again after a restart, says meanwhile why not, and reports its tasks anew', async (t) => {
  const cluster = await startTestCluster(t);
  const { store, identity: managerIdentity, clusterId } = cluster;
  const { agent, identity } = await joinHost(t, cluster);
  assignTask(store, identity.nodeId, 'task1');
  await until(store, 'RUNNING', () => stateOf(store, 'task1') === TaskState.RUNNING);
  await cluster.server.close();
  await until(store, 'disconnection', () => !agent.status().connected && agent.status().lastError !== '');
  assert.match(agent.status().lastError, /^rpc error: code = (Aborted|Unavailable|Canceled|Unknown) desc = /);

  store.update((transaction) => {
    const task = transaction.get('task', 'task1');
    if (task === undefined) assert.fail('no task');
    const next = clone(TaskSchema, task);
    if (next.status !== undefined) next.status.state = TaskState.ASSIGNED;
    transaction.update('task', next);
  });
  const port = Number(cluster.address.split(':')[1]);
  const server = await startManagerServer({
    listen: { host: '127.0.0.1', port },
    store,
    identity: managerIdentity,
    clusterId,
    clock: systemClock,
    logger: silentLogger(),
  });
  try {
    await until(store, 'new session', () => agent.status().connected);
    await until(store, 'report', () => stateOf(store, 'task1') === TaskState.RUNNING);
  } finally {
    await server.close();
  }
});

test('a node whose certificate the cluster wants rotated asks for a new one', async (t) => {
  const cluster = await startTestCluster(t);
  const { store } = cluster;
  const { agent, identity } = await joinHost(t, cluster);
  await until(store, 'session', () => agent.status().connected);
  const before = identity.credentials.certificate;
  store.update((transaction) => {
    const node = transaction.get('node', identity.nodeId);
    if (node === undefined) assert.fail('no node');
    const next = clone(NodeSchema, node);
    if (next.certificate?.status !== undefined) next.certificate.status.state = IssuanceStatus_State.ROTATE;
    transaction.update('node', next);
  });
  await until(store, 'renewal', () => identity.credentials.certificate !== before);
});
