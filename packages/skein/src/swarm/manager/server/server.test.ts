import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect as connectHttp2 } from 'node:http2';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { connect as tlsConnect } from 'node:tls';
import { clone, create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { createClient } from '@connectrpc/connect';
import * as grpc from '@grpc/grpc-js';
import { newObjectId, silentLogger, systemClock } from '../../../common/index.ts';
import { CA, GetRootCACertificateRequestSchema, GetRootCACertificateResponseSchema, NodeCA } from '../../gen/ca_pb.js';
import { Dispatcher, SessionMessageSchema, SessionRequestSchema } from '../../gen/dispatcher_pb.js';
import { Health } from '../../gen/health_pb.js';
import { ClusterSchema, NetworkSchema, TaskSchema } from '../../gen/objects_pb.js';
import { ResourceAllocator } from '../../gen/resource_pb.js';
import { NodeSpec_Availability } from '../../gen/specs_pb.js';
import { IssuanceStatus_State } from '../../gen/types_pb.js';
import {
  caServerName,
  connectManager,
  createCertificateRequest,
  createRootCa,
  generateJoinToken,
  managerRole,
  NodeIdentity,
  signNodeCertificate,
  workerRole,
} from '../../identity/index.ts';
import { startTestCluster, type TestCluster } from './testing.ts';

type TestContext = Parameters<typeof startTestCluster>[0];

async function joinCluster(
  t: TestContext,
  cluster: TestCluster,
  token = cluster.workerToken,
  address = cluster.address,
) {
  const directory = mkdtempSync(join(tmpdir(), 'skein-worker-'));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const identity = await NodeIdentity.join(
    { directory, clock: cluster.clock, logger: silentLogger() },
    { addresses: [address], token, availability: NodeSpec_Availability.DRAIN, signal: AbortSignal.timeout(10_000) },
  );
  t.after(() => identity[Symbol.dispose]());
  return identity;
}

function connectAs(t: TestContext, cluster: TestCluster, identity?: { certificate: string; key: string }) {
  const { rootCa } = cluster.identity.credentials;
  const connection = connectManager(
    cluster.address,
    identity === undefined
      ? { rootCa, serverName: caServerName }
      : { rootCa, serverName: managerRole, client: identity },
  );
  t.after(() => connection[Symbol.dispose]());
  return connection;
}

test('a worker joins with the token and gets a certificate and a Node object with its availability', async (t) => {
  const cluster = await startTestCluster(t);
  const identity = await joinCluster(t, cluster);
  assert.equal(identity.credentials.role, workerRole);
  assert.equal(identity.credentials.organization, cluster.clusterId);
  const node = cluster.store.view((transaction) => transaction.get('node', identity.nodeId));
  assert.equal(node?.spec?.availability, NodeSpec_Availability.DRAIN);
  assert.equal(Buffer.from(node?.certificate?.certificate ?? '').toString(), identity.credentials.certificate);
});

test('a second manager is refused in words, and leaves no Node object', async (t) => {
  const cluster = await startTestCluster(t);
  const nodes = () => cluster.store.view((transaction) => transaction.list('node').map(({ id }) => id));
  const before = nodes();
  await assert.rejects(joinCluster(t, cluster, cluster.managerToken), {
    message:
      'rpc error: code = Unimplemented desc = a swarm has one manager in this version: ' +
      'join as a worker, with the token of "docker swarm join-token worker"',
  });
  assert.deepEqual(nodes(), before);
});

test("a wrong secret, a wrong digest and an address where nobody listens are refused in Docker's words", async (t) => {
  const cluster = await startTestCluster(t);
  const { rootCa } = cluster.identity.credentials;
  await assert.rejects(joinCluster(t, cluster, generateJoinToken(rootCa)), {
    message: 'rpc error: code = InvalidArgument desc = A valid join token is necessary to join this cluster',
  });
  await assert.rejects(joinCluster(t, cluster, generateJoinToken('another root')), {
    message: /^remote CA does not match fingerprint\. Expected: [0-9a-f]{64}$/,
  });
  await assert.rejects(joinCluster(t, cluster, 'SWMTKN-1-x-y'), { message: 'invalid join token' });

  const unused = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => unused.once('listening', resolve));
  const { port } = unused.address() as { port: number };
  await new Promise((resolve) => unused.close(resolve));
  const impatient = { ...cluster, clock: { ...systemClock, setTimeout: (action: () => void) => setImmediate(action) } };
  await assert.rejects(joinCluster(t, impatient, cluster.workerToken, `127.0.0.1:${port}`), {
    message:
      'rpc error: code = Unavailable desc = connection error: desc = "transport: Error while dialing: ' +
      `dial tcp 127.0.0.1:${port}: connect: connection refused"`,
  });
});

test('grpc-js, without a certificate and with one, speaks with the server', async (t) => {
  const cluster = await startTestCluster(t);
  const identity = await joinCluster(t, cluster);
  const { rootCa, key, certificate } = identity.credentials;
  const client = (credentials: grpc.ChannelCredentials, name: string) => {
    const made = new grpc.Client(cluster.address, credentials, { 'grpc.ssl_target_name_override': name });
    t.after(() => made.close());
    return made;
  };
  const anonymous = client(grpc.credentials.createSsl(Buffer.from(rootCa)), 'swarm-ca');
  const root = await new Promise<Uint8Array>((resolve, reject) => {
    anonymous.makeUnaryRequest(
      '/docker.swarmkit.v1.CA/GetRootCACertificate',
      (value) => Buffer.from(toBinary(GetRootCACertificateRequestSchema, value)),
      (bytes) => fromBinary(GetRootCACertificateResponseSchema, bytes),
      create(GetRootCACertificateRequestSchema),
      (error, response) => (error ? reject(error) : resolve(response?.certificate ?? new Uint8Array())),
    );
  });
  assert.equal(Buffer.from(root).toString(), rootCa);

  const pair = [Buffer.from(rootCa), Buffer.from(key), Buffer.from(certificate)] as const;
  const worker = client(grpc.credentials.createSsl(...pair), 'swarm-manager');
  const session = worker.makeServerStreamRequest(
    '/docker.swarmkit.v1.Dispatcher/Session',
    (value) => Buffer.from(toBinary(SessionRequestSchema, value)),
    (bytes) => fromBinary(SessionMessageSchema, bytes),
    create(SessionRequestSchema, { description: { hostname: 'h' } }),
  );
  session.on('error', () => {});
  const message = await new Promise<ReturnType<typeof create<typeof SessionMessageSchema>>>((resolve, reject) => {
    session.once('data', resolve);
    session.once('error', reject);
  });
  session.cancel();
  assert.equal(message.sessionId.length, 25);
  assert.equal(message.node?.id, identity.nodeId);
  assert.equal(message.managers[0]?.peer?.addr, cluster.address);
  assert.equal(message.networkBootstrapKeys.length, 3);

  const code = await new Promise<number | undefined>((resolve) => {
    const empty = () => Buffer.alloc(0);
    worker.makeUnaryRequest('/docker.swarmkit.v1.Raft/ResolveAddress', empty, empty, {}, (error) =>
      resolve(error?.code),
    );
  });
  assert.equal(code, grpc.status.UNIMPLEMENTED);
});

test("calls are refused by certificate, role, cluster and removal, in swarmkit's words", async (t) => {
  const cluster = await startTestCluster(t);
  const identity = await joinCluster(t, cluster);
  const prefix =
    'rpc error: code = PermissionDenied desc = Permission denied: unauthorized peer role: rpc error: code = PermissionDenied desc = ';
  const refused = async (connection: ReturnType<typeof connectAs>, text: string, call: () => Promise<unknown>) => {
    const error = await call().then(
      () => assert.fail('was not refused'),
      (thrown: unknown) => connection.error(thrown),
    );
    assert.equal(error.message, prefix + text);
  };
  const anonymous = connectAs(t, cluster);
  await refused(anonymous, 'no client certificates in request', () =>
    createClient(Dispatcher, anonymous.transport).heartbeat({}),
  );
  const worker = connectAs(t, cluster, identity.credentials);
  await refused(worker, 'Permission denied: remote certificate not part of OUs: [swarm-manager]', () =>
    createClient(Health, worker.transport).check({}),
  );
  await refused(worker, 'Permission denied: remote certificate not part of OUs: [swarm-manager]', () =>
    createClient(CA, worker.transport).getUnlockKey({}),
  );

  const rootCa = cluster.store.view((transaction) => transaction.get('cluster', cluster.clusterId))?.rootCa;
  const authority = {
    certificate: Buffer.from(rootCa?.caCert ?? '').toString(),
    key: Buffer.from(rootCa?.caKey ?? '').toString(),
  };
  const { csr, key } = await createCertificateRequest();
  const subject = { organization: 'another', role: workerRole, nodeId: newObjectId() } as const;
  const certificate = await signNodeCertificate(authority, csr, subject, 3600, Date.now());
  const foreign = connectAs(t, cluster, { certificate, key });
  await refused(foreign, `Permission denied: remote certificate not part of organization: ${cluster.clusterId}`, () =>
    createClient(Dispatcher, foreign.transport).heartbeat({}),
  );

  cluster.store.update((transaction) => {
    const stored = transaction.get('cluster', cluster.clusterId);
    if (stored === undefined) assert.fail('no cluster');
    const next = clone(ClusterSchema, stored);
    Object.assign(
      next.blacklistedCertificates,
      create(ClusterSchema, { blacklistedCertificates: { [identity.nodeId]: {} } }).blacklistedCertificates,
    );
    transaction.update('cluster', next);
  });
  await refused(worker, `Permission denied: node ${identity.nodeId} was removed from swarm`, () =>
    createClient(Dispatcher, worker.transport).heartbeat({}),
  );
});

test('a client certificate of another root ends the connection, even for calls that need none', async (t) => {
  const cluster = await startTestCluster(t);
  const stranger = await createRootCa(Date.now());
  const { csr, key } = await createCertificateRequest();
  const subject = { organization: cluster.clusterId, role: managerRole, nodeId: 'x' } as const;
  const certificate = await signNodeCertificate(stranger, csr, subject, 3600, Date.now());
  const connection = connectAs(t, cluster, { certificate, key });
  await assert.rejects(createClient(CA, connection.transport).getRootCACertificate({}, { timeoutMs: 5_000 }));
});

test('the server offers h2, and nothing below TLS 1.2', async (t) => {
  const cluster = await startTestCluster(t);
  const handshake = (options: object) =>
    new Promise<string | false | null>((resolve, reject) => {
      const socket = tlsConnect({
        host: '127.0.0.1',
        port: cluster.server.port,
        rejectUnauthorized: false,
        ALPNProtocols: ['h2'],
        ...options,
      });
      socket.once('error', reject);
      socket.once('secureConnect', () => {
        resolve(socket.alpnProtocol);
        socket.destroy();
      });
    });
  assert.equal(await handshake({}), 'h2');
  await assert.rejects(handshake({ minVersion: 'TLSv1', maxVersion: 'TLSv1.1' }));
});

test("a node renews its certificate with the old one; new connections see the manager's renewed one", async (t) => {
  const cluster = await startTestCluster(t);
  const identity = await joinCluster(t, cluster);
  const before = identity.credentials;
  identity.startRenewal(() => [cluster.address]);
  let told = '';
  identity.onChange(({ certificate }) => {
    told = certificate;
  });
  await identity.renew(AbortSignal.timeout(10_000));
  assert.notEqual(identity.credentials.certificate, before.certificate);
  assert.equal(told, identity.credentials.certificate);
  assert.equal(identity.nodeId, before.nodeId);
  const node = cluster.store.view((transaction) => transaction.get('node', before.nodeId));
  assert.equal(node?.certificate?.status?.state, IssuanceStatus_State.ISSUED);

  cluster.identity.startRenewal(() => [cluster.address]);
  await cluster.identity.renew(AbortSignal.timeout(10_000));
  const served = await new Promise<string>((resolve, reject) => {
    const socket = tlsConnect({ host: '127.0.0.1', port: cluster.server.port, rejectUnauthorized: false }, () => {
      resolve(socket.getPeerX509Certificate()?.toString() ?? '');
      socket.destroy();
    });
    socket.once('error', reject);
  });
  assert.equal(served, cluster.identity.credentials.certificate);
});

test('an unknown node and an unreadable request are answered, not left waiting', async (t) => {
  const cluster = await startTestCluster(t);
  const connection = connectAs(t, cluster);
  const client = createClient(NodeCA, connection.transport);
  const failure = async (call: Promise<unknown>) => connection.error(await call.catch((error: unknown) => error)).code;
  assert.equal(await failure(client.nodeCertificateStatus({ nodeId: 'nobody' })), 'NotFound');
  assert.equal(await failure(client.issueNodeCertificate({ token: cluster.workerToken })), 'InvalidArgument');
  const csr = Buffer.from('no request');
  const { nodeId } = await client.issueNodeCertificate({ token: cluster.workerToken, csr });
  const { status } = await client.nodeCertificateStatus({ nodeId }, { timeoutMs: 5_000 });
  assert.equal(status?.state, IssuanceStatus_State.FAILED);
  assert.notEqual(status?.err, '');
});

test('a container attaches to an attachable network only, and detaches only its own', async (t) => {
  const cluster = await startTestCluster(t);
  const identity = await joinCluster(t, cluster);
  cluster.store.update((transaction) => {
    const network = (id: string, attachable: boolean) =>
      create(NetworkSchema, { id, spec: { annotations: { name: `name-${id}` }, attachable } });
    transaction.create('network', network('n1', true));
    transaction.create('network', network('n2', false));
    transaction.create(
      'task',
      create(TaskSchema, { id: 'other', nodeId: 'x', spec: { runtime: { case: 'attachment', value: {} } } }),
    );
  });
  const connection = connectAs(t, cluster, identity.credentials);
  const client = createClient(ResourceAllocator, connection.transport);
  const text = async (call: Promise<unknown>) =>
    connection.error(
      await call.then(
        () => assert.fail('was accepted'),
        (error: unknown) => error,
      ),
    ).description;
  assert.equal(await text(client.attachNetwork({ config: { target: 'no' } })), 'network no not found');
  assert.equal(await text(client.attachNetwork({ config: { target: 'n2' } })), 'network n2 not manually attachable');
  const { attachmentId } = await client.attachNetwork({ config: { target: 'name-n1' }, containerId: 'c1' });
  const task = cluster.store.view((transaction) => transaction.get('task', attachmentId));
  assert.equal(task?.nodeId, identity.nodeId);
  assert.equal(task?.spec?.networks[0]?.target, 'n1');
  assert.equal(
    await text(client.detachNetwork({ attachmentId: 'other' })),
    "attachment other doesn't belong to this node",
  );
  await client.detachNetwork({ attachmentId });
  assert.equal(await text(client.detachNetwork({ attachmentId })), `attachment ${attachmentId} not found`);
});

function openTls(cluster: TestCluster) {
  const [host = '', port = ''] = cluster.address.split(':');
  return tlsConnect({
    host,
    port: Number(port),
    ca: cluster.identity.credentials.rootCa,
    servername: caServerName,
  });
}

/** Asks by hand, with headers of its own. */
async function askForRoot(t: TestContext, cluster: TestCluster, headers: Record<string, string> = {}): Promise<string> {
  const session = connectHttp2(`https://${cluster.address}`, { createConnection: () => openTls(cluster) });
  t.after(() => session.destroy());
  const call = session.request({
    ':method': 'POST',
    ':path': '/docker.swarmkit.v1.CA/GetRootCACertificate',
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  });
  call.end(Buffer.alloc(5));
  const answer: Buffer = Buffer.concat(await call.toArray());
  const { certificate } = fromBinary(GetRootCACertificateResponseSchema, answer.subarray(5));
  return Buffer.from(certificate).toString();
}

test('a client may name any authority', async (t) => {
  const cluster = await startTestCluster(t);
  for (const authority of ['swarm-ca', 'fd00::5:2377', '10.0.0.1:99999'])
    assert.equal(await askForRoot(t, cluster, { ':authority': authority }), cluster.identity.credentials.rootCa);
});

test('a manager that listens everywhere is joined over both families, and knows each node by its address', async (t) => {
  const cluster = await startTestCluster(t, systemClock, '0.0.0.0');
  for (const host of ['127.0.0.1', '::1']) {
    const address = host === '::1' ? `[::1]:${cluster.server.port}` : cluster.address;
    const identity = await joinCluster(t, cluster, cluster.workerToken, address);
    const { rootCa, certificate, key } = identity.credentials;
    const connection = connectManager(address, { rootCa, serverName: managerRole, client: { certificate, key } });
    t.after(() => connection[Symbol.dispose]());
    const session = createClient(Dispatcher, connection.transport).session({});
    await session[Symbol.asyncIterator]().next();
    const node = cluster.store.view((transaction) => transaction.get('node', identity.nodeId));
    assert.equal(node?.status?.addr, host);
  }
});

test('a client that names no protocol is served, as dockerd 20.10 after its renewal; HTTP/1 is not', async (t) => {
  const cluster = await startTestCluster(t);
  assert.equal(await askForRoot(t, cluster), cluster.identity.credentials.rootCa);

  const plain = openTls(cluster);
  plain.on('error', () => {});
  plain.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  const bytes = Buffer.concat(await plain.toArray().catch(() => []));
  assert.doesNotMatch(bytes.toString(), /HTTP\/1/);
});
