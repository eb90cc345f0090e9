import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { createClient } from '@connectrpc/connect';
import { LogBroker as LogBrokerService, LogStream } from '../../gen/logbroker_pb.js';
import { TaskSchema } from '../../gen/objects_pb.js';
import { TaskState } from '../../gen/types_pb.js';
import { connectManager, managerRole } from '../../identity/index.ts';
import { startTestCluster } from '../server/testing.ts';

/** A manager, and its own node as the one that has the logs. */
async function setUp(t: Parameters<typeof startTestCluster>[0]) {
  const cluster = await startTestCluster(t);
  const { rootCa, certificate, key } = cluster.identity.credentials;
  const security = { rootCa, serverName: managerRole, client: { certificate, key } };
  const connection = connectManager(cluster.address, security);
  t.after(() => connection[Symbol.dispose]());
  const client = createClient(LogBrokerService, connection.transport);
  const { nodeId } = cluster.identity;
  cluster.store.update((transaction) => {
    const status = { state: TaskState.RUNNING };
    transaction.create('task', create(TaskSchema, { id: 't1', serviceId: 's1', nodeId, status }));
  });
  const abort = new AbortController();
  t.after(() => abort.abort());
  const subscriptions = client.listenSubscriptions({}, { signal: abort.signal })[Symbol.asyncIterator]();
  const first = subscriptions.next();
  const publish = async (subscriptionId: string, messages: object[], close = false) => {
    const stream = async function* () {
      yield { subscriptionId, messages };
      if (close) yield { subscriptionId, close };
    };
    await client.publishLogs(stream()).catch((error: unknown) => Promise.reject(connection.error(error)));
  };
  // The broker knows a node once its ListenSubscriptions call has arrived: before a later call on the same connection.
  await assert.rejects(publish('', []));
  return { ...cluster, nodeId, subscriptions, first, publish };
}

async function readAll<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

const request = { serviceIds: ['s1'], taskIds: [], stdout: true, stderr: false };

test('the node is told what to read, and what it sends reaches the reader', async (t) => {
  const { server, nodeId, first, publish } = await setUp(t);
  const signal = AbortSignal.timeout(5_000);
  const since = 1_700_000_000_123_456_789n;
  const reading = readAll(server.logs.subscribe({ ...request, follow: false, tail: 5, since, signal }));
  const subscription = (await first).value;
  assert.deepEqual(subscription?.selector?.serviceIds, ['s1']);
  assert.deepEqual(subscription?.options?.streams, [LogStream.STDOUT]);
  assert.equal(subscription?.options?.tail, -6n);
  assert.equal(subscription?.options?.since?.nanos, 123_456_789);
  const context = { serviceId: 's1', nodeId, taskId: 't1' };
  const timestamp = { seconds: 1_700_000_000n, nanos: 5 };
  await publish(
    subscription?.id ?? '',
    [{ context, timestamp, stream: LogStream.STDERR, data: Buffer.from('x') }],
    true,
  );
  const [message, ...rest] = await reading;
  assert.deepEqual(rest, []);
  assert.equal(message?.taskId, 't1');
  assert.equal(message?.stream, 'stderr');
  assert.equal(message?.timestamp, '2023-11-14T22:13:20.000000005Z');
});

test('a reader that goes away closes the subscription on the node', async (t) => {
  const { server, first, subscriptions } = await setUp(t);
  const stop = new AbortController();
  const reading = readAll(server.logs.subscribe({ ...request, follow: true, signal: stop.signal }));
  const opened = (await first).value;
  assert.equal(opened?.close, false);
  stop.abort();
  assert.deepEqual(await reading, []);
  const closed = (await subscriptions.next()).value;
  assert.equal(closed?.id, opened?.id);
  assert.equal(closed?.close, true);
});

test("logs without a subscription, of an unknown one or in another node's name are refused", async (t) => {
  const { server, first, publish } = await setUp(t);
  const stop = new AbortController();
  const reading = readAll(server.logs.subscribe({ ...request, follow: true, signal: stop.signal }));
  const id = (await first).value?.id ?? '';
  await assert.rejects(publish('', []), { description: 'missing subscription ID', code: 'InvalidArgument' });
  await assert.rejects(publish('unknown', []), { description: 'unknown subscription ID', code: 'NotFound' });
  await assert.rejects(publish(id, [{ context: { nodeId: 'another' } }]), { code: 'PermissionDenied' });
  stop.abort();
  await reading;
});
