import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { durationMs } from '@bufbuild/protobuf/wkt';
import { createClient } from '@connectrpc/connect';
import { silentLogger } from '../../../common/index.ts';
import { AssignmentsMessage_Type, Dispatcher as DispatcherService } from '../../gen/dispatcher_pb.js';
import { NodeSchema, TaskSchema } from '../../gen/objects_pb.js';
import { NodeSpec_Availability } from '../../gen/specs_pb.js';
import { NodeStatus_State, TaskState } from '../../gen/types_pb.js';
import { connectManager, managerRole, NodeIdentity } from '../../identity/index.ts';
import { TestClock } from '../../identity/testing.ts';
import { openStore } from '../../store/index.ts';
import { startTestCluster } from '../server/testing.ts';
import type { HostWitness } from '../types.ts';
import { Dispatcher } from './index.ts';

type TestContext = Parameters<typeof startTestCluster>[0];

/** A manager on a clock that the test moves, and a joined node's client of its dispatcher. */
async function setUp(t: TestContext, witness?: HostWitness) {
  const clock = new TestClock();
  const cluster = await startTestCluster(t, clock, undefined, witness);
  const directory = mkdtempSync(join(tmpdir(), 'skein-node-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const identity = await NodeIdentity.join(
    { directory, clock, logger: silentLogger() },
    {
      addresses: [cluster.address],
      token: cluster.workerToken,
      availability: NodeSpec_Availability.ACTIVE,
      signal: AbortSignal.timeout(10_000),
    },
  );
  const { rootCa } = identity.credentials;
  const connection = connectManager(cluster.address, { rootCa, serverName: managerRole, client: identity.credentials });
  t.after(() => connection[Symbol.dispose]());
  const client = createClient(DispatcherService, connection.transport);
  const { store } = cluster;
  const node = () => store.view((transaction) => transaction.get('node', identity.nodeId));
  /** Opens a session and reads its first message. */
  const openSession = async (sessionId = '') => {
    const abort = new AbortController();
    t.after(() => abort.abort());
    const messages = client.session({ sessionId }, { signal: abort.signal })[Symbol.asyncIterator]();
    const first = await messages.next().catch((error: unknown) => Promise.reject(connection.error(error)));
    if (first.done === true) assert.fail('no session message');
    return { messages, first: first.value, sessionId: first.value.sessionId };
  };
  const failure = async (call: Promise<unknown>) =>
    connection.error(
      await call.then(
        () => assert.fail('was accepted'),
        (error: unknown) => error,
      ),
    ).message;
  return {
    ...cluster,
    managerIdentity: cluster.identity,
    clock,
    client,
    connection,
    identity,
    node,
    openSession,
    failure,
  };
}

const rpc = (code: string, text: string) => `rpc error: code = ${code} desc = ${text}`;

test('a node without heartbeats is DOWN after three periods, and its tasks are orphaned after a day', async (t) => {
  const { clock, client, node, openSession, store, identity, failure } = await setUp(t);
  store.update((transaction) => {
    const status = { state: TaskState.RUNNING };
    transaction.create('task', create(TaskSchema, { id: 't1', nodeId: identity.nodeId, status }));
  });
  const { sessionId, messages } = await openSession();
  assert.equal(node()?.status?.state, NodeStatus_State.READY);
  await clock.advance(14_000);
  const { period } = await client.heartbeat({ sessionId });
  const periodMs = period === undefined ? 0 : durationMs(period);
  assert.ok(periodMs >= 4_500 && periodMs <= 5_500, `${periodMs} ms`);
  await clock.advance(3 * periodMs - 10);
  assert.equal(node()?.status?.state, NodeStatus_State.READY);
  await clock.advance(20);
  assert.equal(node()?.status?.state, NodeStatus_State.DOWN);
  assert.equal(node()?.status?.message, 'heartbeat failure');
  const rest = async () => {
    for (let next = await messages.next(); next.done !== true; next = await messages.next());
  };
  assert.equal(await failure(rest()), rpc('Aborted', 'node must disconnect'));
  assert.equal(await failure(client.heartbeat({ sessionId })), rpc('NotFound', 'node not registered'));
  await clock.advance(24 * 3_600_000);
  assert.equal(store.view((transaction) => transaction.get('task', 't1'))?.status?.state, TaskState.ORPHANED);
});

test('a node whose host is gone is DOWN before its heartbeats are missed; one that the gossip alone has lost is not', async (t) => {
  const lost = new Set<string>();
  const witness = { lost: () => [...lost], answers: () => Promise.resolve(false) };
  const setting = await setUp(t, witness);
  const { clock, clusterId, connection, address, node, openSession, store } = setting;
  // Two more, of whom another manager tells: the node must not be half of all.
  const { credentials } = setting.managerIdentity;
  const { rootCa } = credentials;
  const forwarder = connectManager(address, { rootCa, serverName: managerRole, client: credentials });
  t.after(() => forwarder[Symbol.dispose]());
  for (const id of ['far1', 'far2']) {
    store.update((transaction) => transaction.create('node', create(NodeSchema, { id })));
    const headers = {
      forwarded_cert: 'true',
      forwarded_cert_cn: id,
      forwarded_cert_ou: 'swarm-worker',
      forwarded_cert_org: clusterId,
      remote_addr: '192.0.2.9:1',
    };
    const abort = new AbortController();
    t.after(() => abort.abort());
    const far = createClient(DispatcherService, forwarder.transport).session({}, { headers, signal: abort.signal });
    await far[Symbol.asyncIterator]().next();
  }
  const { messages } = await openSession();
  const pass = async (milliseconds: number) => {
    for (let passed = 0; passed < milliseconds; passed += 100) {
      await clock.advance(100);
      await new Promise((resolve) => setTimeout(resolve, 5)); // For answers to pings.
    }
  };
  lost.add(node()?.status?.addr ?? '');
  await pass(5_000);
  assert.equal(node()?.status?.state, NodeStatus_State.READY, 'its daemon answers on its connection');
  const ended = assert.rejects(async () => await messages.next());
  connection[Symbol.dispose]();
  await ended;
  await pass(2_000);
  assert.equal(node()?.status?.state, NodeStatus_State.DOWN);
  assert.equal(node()?.status?.message, 'host does not answer');
});

test('a known session goes on, another ID makes a new one, and too many are refused', async (t) => {
  const { client, openSession, failure, identity } = await setUp(t);
  const first = await openSession();
  assert.equal((await openSession(first.sessionId)).sessionId, first.sessionId);
  const second = await openSession('expired');
  assert.notEqual(second.sessionId, first.sessionId);
  assert.equal(
    await failure(client.heartbeat({ sessionId: first.sessionId })),
    rpc('InvalidArgument', 'session invalid'),
  );
  await openSession();
  assert.equal(
    await failure(openSession()),
    rpc('Unavailable', `node ${identity.nodeId} exceeded rate limit count of registrations`),
  );
});

test('a starting manager does not know its nodes: UNKNOWN, then DOWN after six periods', async (t) => {
  const clock = new TestClock();
  const logger = silentLogger();
  const store = openStore({ path: ':memory:', logger });
  t.after(() => store[Symbol.dispose]());
  store.update((transaction) => {
    transaction.create('node', create(NodeSchema, { id: 'n1', status: { state: NodeStatus_State.READY } }));
  });
  const dispatcher = new Dispatcher({ store, clusterId: 'c', nodeId: 'm', clock, logger });
  t.after(() => dispatcher.close());
  const status = () => store.view((transaction) => transaction.get('node', 'n1'))?.status;
  assert.equal(status()?.state, NodeStatus_State.UNKNOWN);
  await clock.advance(29_000);
  assert.equal(status()?.state, NodeStatus_State.UNKNOWN);
  await clock.advance(1_500);
  assert.equal(status()?.state, NodeStatus_State.DOWN);
  assert.equal(status()?.message, 'heartbeat failure for node in "unknown" state');
});

test('assignments begin COMPLETE and go on in numbered steps, many changes in one', async (t) => {
  const { clock, client, openSession, store, identity } = await setUp(t);
  const { sessionId } = await openSession();
  const abort = new AbortController();
  t.after(() => abort.abort());
  const messages = client.assignments({ sessionId }, { signal: abort.signal })[Symbol.asyncIterator]();
  const first = (await messages.next()).value;
  assert.equal(first?.type, AssignmentsMessage_Type.COMPLETE);
  assert.deepEqual([first?.appliesTo, first?.resultsIn, first?.changes.length], ['', '1', 0]);
  const { nodeId } = identity;
  for (const id of ['t1', 't2', 't3']) {
    store.update((transaction) => {
      transaction.create('task', create(TaskSchema, { id, nodeId, status: { state: TaskState.ASSIGNED } }));
    });
  }
  const next = messages.next();
  await new Promise((resolve) => setImmediate(resolve));
  await clock.advance(100);
  const second = (await next).value;
  assert.equal(second?.type, AssignmentsMessage_Type.INCREMENTAL);
  assert.deepEqual([second?.appliesTo, second?.resultsIn, second?.changes.length], ['1', '2', 3]);

  const third = messages.next();
  await clock.advance(1000);
  store.update((transaction) => transaction.delete('task', 't1'));
  await new Promise((resolve) => setImmediate(resolve));
  await clock.advance(0);
  assert.deepEqual((await third).value?.changes.length, 1, 'after a pause a change is sent at once');
});

test('reported statuses are written together; a lower state and foreign tasks are not taken', async (t) => {
  const { clock, client, openSession, store, identity, failure } = await setUp(t);
  const { sessionId } = await openSession();
  store.update((transaction) => {
    const make = (id: string, nodeId: string) =>
      transaction.create('task', create(TaskSchema, { id, nodeId, status: { state: TaskState.ASSIGNED } }));
    make('t1', identity.nodeId);
    make('t2', identity.nodeId);
    make('foreign', 'another');
  });
  const report = (taskId: string, state: TaskState) =>
    client.updateTaskStatus({ sessionId, updates: [{ taskId, status: { state } }] });
  const before = store.version;
  await report('t1', TaskState.RUNNING);
  await report('t2', TaskState.PREPARING);
  await report('gone', TaskState.RUNNING);
  await clock.advance(0);
  assert.equal(store.version, before + 1n, 'at once, in one transaction');
  await report('t1', TaskState.STARTING);
  await report('t2', TaskState.READY);
  await clock.advance(90);
  assert.equal(store.version, before + 1n, 'not sooner than after 100 ms');
  await clock.advance(10);
  const states = ['t1', 't2'].map((id) => store.view((transaction) => transaction.get('task', id))?.status?.state);
  assert.deepEqual(states, [TaskState.RUNNING, TaskState.READY]);
  assert.equal(
    await failure(report('foreign', TaskState.RUNNING)),
    rpc('PermissionDenied', 'cannot update a task not assigned this node'),
  );
});

test('a stopping manager sends a last message, ends the session and marks the node', async (t) => {
  const { openSession, server, node } = await setUp(t);
  const { messages } = await openSession();
  let last: unknown;
  const reading = assert.rejects(async () => {
    for (let next = await messages.next(); next.done !== true; next = await messages.next()) last = next.value;
  }, /node must disconnect/);
  await server.close();
  await reading;
  assert.ok(last !== undefined, 'a last message came first');
  assert.equal(node()?.status?.state, NodeStatus_State.DISCONNECTED);
});

test('a node that is removed from the cluster loses its session', async (t) => {
  const { openSession, store, identity, failure } = await setUp(t);
  const { messages } = await openSession();
  store.update((transaction) => transaction.delete('node', identity.nodeId));
  assert.equal(await failure(messages.next()), rpc('Aborted', 'node must disconnect'));
  assert.equal(await failure(openSession()), rpc('Unknown', 'node not found'));
});
