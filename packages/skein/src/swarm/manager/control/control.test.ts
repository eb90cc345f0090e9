import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clone, create } from '@bufbuild/protobuf';
import { RpcError, SkeinError } from '../../../common/index.ts';
import {
  ClusterSpecSchema,
  ConfigSpecSchema,
  EndpointSpecSchema,
  GlobalJobSchema,
  NetworkSpecSchema,
  NodeSpecSchema,
  ReplicatedJobSchema,
  SecretSpecSchema,
  type ServiceSpec,
} from '../../gen/specs_pb.js';
import {
  NodeRole,
  NodeStatus_State,
  PortConfig_PublishMode,
  PortConfigSchema,
  UpdateConfigSchema,
} from '../../gen/types_pb.js';
import { serviceSpec, setImage, TestCluster } from '../testing/cluster.ts';
import { isImageReference } from './image.ts';

const text = new TextEncoder();

/** Runs and checks the whole message, as dockerd 20.10 printed it (or swarmkit's source has it). */
function refused(run: () => unknown, message: string | RegExp, code?: SkeinError['code']): void {
  assert.throws(run, (error: unknown) => {
    assert.ok(error instanceof SkeinError, String(error));
    if (typeof message === 'string') assert.equal(error.message, message);
    else assert.match(error.message, message);
    if (code) assert.equal(error.code, code);
    return true;
  });
}

const rpc = (code: string, description: string) => `rpc error: code = ${code} desc = ${description}`;
const ports =
  (...list: [target: number, published: number, mode?: PortConfig_PublishMode][]) =>
  (spec: ServiceSpec) => {
    spec.endpoint = create(EndpointSpecSchema, {
      ports: list.map(([targetPort, publishedPort, publishMode = PortConfig_PublishMode.INGRESS]) =>
        create(PortConfigSchema, { targetPort, publishedPort, publishMode }),
      ),
    });
  };

test('services are refused in the words of dockerd', async () => {
  await using cluster = new TestCluster();
  const { control } = cluster;
  const { id } = control.createService(
    serviceSpec('test', { change: ports([80, 8080], [81, 9090, PortConfig_PublishMode.HOST]) }),
  );
  const invalid = (spec: ServiceSpec, description: string) =>
    refused(() => control.createService(spec), rpc('InvalidArgument', description), 'InvalidArgument');
  invalid(serviceSpec('bad name!'), 'name must be valid as a DNS name component');
  invalid(serviceSpec(''), 'meta: name must be provided');
  invalid(serviceSpec('a'.repeat(64)), 'name must be 63 characters or fewer');
  invalid(serviceSpec('a', { image: '' }), 'ContainerSpec: image reference must be provided');
  invalid(serviceSpec('a', { image: 'UPPER CASE' }), 'ContainerSpec: "UPPER CASE" is not a valid repository/tag');
  invalid(
    serviceSpec('a', { networks: ['ingress'] }),
    'Service cannot be explicitly attached to the ingress network "ingress"',
  );
  invalid(
    serviceSpec('a', { change: (spec) => ((spec.mode as { case: unknown }).case = undefined) }),
    'Unrecognized service mode',
  );
  invalid(
    serviceSpec('a', { change: ports([80, 8080]) }),
    `port '8080' is already in use by service 'test' (${id}) as an ingress port`,
  );
  invalid(
    serviceSpec('a', { change: ports([80, 9090]) }),
    `port '9090' is already in use by service 'test' (${id}) as a host-published port`,
  );
  invalid(
    serviceSpec('a', { change: ports([80, 7000], [81, 7000]) }),
    'EndpointSpec: duplicate published ports provided',
  );
  invalid(
    serviceSpec('a', { change: ports([80, 99999]) }),
    'EndpointSpec: published port 99999 is not a port: use 1 to 65535, or 0 for any',
  );
  invalid(serviceSpec('a', { change: ports([0, 80]) }), 'EndpointSpec: target port 0 is not a port: use 1 to 65535');
  invalid(serviceSpec('a', { replicas: 100_000_000 }), '100000000 replicas are more than the 10000 of a service here');
  const job: ServiceSpec['mode'] = {
    case: 'replicatedJob',
    value: create(ReplicatedJobSchema, { maxConcurrent: 20_000n, totalCompletions: 20_000n }),
  };
  invalid(serviceSpec('a', { mode: job }), '20000 concurrent jobs are more than the 10000 of a service here');
  refused(
    () => control.createService(serviceSpec('test')),
    rpc('AlreadyExists', 'name conflicts with an existing object: service test already exists'),
    'AlreadyExists',
  );
  refused(() => control.createService(serviceSpec('a', { networks: ['nope'] })), 'network nope not found', 'Unknown');
  refused(() => control.findService('nope'), 'service nope not found', 'NotFound');
  refused(() => control.findTask('nope'), 'task nope not found', 'NotFound');
  refused(() => control.findNode('nope'), 'node nope not found', 'NotFound');
  const globalJob: ServiceSpec['mode'] = { case: 'globalJob', value: create(GlobalJobSchema) };
  invalid(
    serviceSpec('a', { mode: globalJob, change: (spec) => (spec.update = create(UpdateConfigSchema)) }),
    'Jobs may not have an update config',
  );
  control.createService(serviceSpec('b', { change: ports([80, 9090, PortConfig_PublishMode.HOST]) }));
});

test('services are updated from their last version only, and keep name and mode', async () => {
  await using cluster = new TestCluster();
  const { control } = cluster;
  const { id } = control.createService(serviceSpec('web'));
  cluster.run(300);
  const version = cluster.service(id).meta?.version?.index ?? 0n;
  const update = (spec: ServiceSpec, index = version) => control.updateService(id, index, spec, { rollback: 'none' });
  refused(() => update(serviceSpec('web'), version - 1n), rpc('Unknown', 'update out of sequence'));
  refused(() => update(serviceSpec('other')), rpc('Unimplemented', 'renaming services is not supported'));
  refused(
    () => update(serviceSpec('web', { global: true })),
    rpc('Unimplemented', 'service mode change is not allowed'),
  );
  const spec = serviceSpec('web');
  setImage(spec, 'nginx:1');
  const updated = update(spec);
  assert.equal(
    updated.previousSpec?.task?.runtime.case === 'container' && updated.previousSpec.task.runtime.value.image,
    'ubuntu:latest',
  );
  assert.deepEqual([updated.specVersion?.index, updated.previousSpecVersion?.index], [version, 0n]);
  refused(
    () => control.updateService('nope', 1n, spec, { rollback: 'none' }),
    rpc('NotFound', 'service nope not found'),
  );
});

test('objects are found by ID, name and unique beginning of the ID', async () => {
  await using cluster = new TestCluster();
  const { control } = cluster;
  cluster.addNode('n1abc');
  cluster.addNode('n1abd');
  const { id } = control.createService(serviceSpec('web'));
  assert.equal(control.findService('web').id, id);
  assert.equal(control.findService(id.slice(0, 20)).id, id);
  assert.equal(control.findNode('host-n1abc').id, 'n1abc');
  assert.equal(control.findNode('n1').id, 'n1');
  refused(() => control.findNode('n1a'), 'node n1a is ambiguous (2 matches found)', 'InvalidArgument');
});

test('networks are refused in the words of dockerd', async () => {
  await using cluster = new TestCluster();
  const { control } = cluster;
  const spec = (name: string, config?: { subnet: string; gateway?: string; range?: string }, driver = 'overlay') =>
    create(NetworkSpecSchema, {
      annotations: { name },
      driverConfig: { name: driver },
      ipam: config ? { configs: [config] } : undefined,
    });
  const { id } = control.createNetwork(spec('uber-net'));
  refused(() => control.createNetwork(spec('uber-net')), 'network with name uber-net already exists', 'AlreadyExists');
  refused(
    () => control.createNetwork(spec('bad name!')),
    rpc('InvalidArgument', 'name must be valid as a DNS name component'),
  );
  refused(
    () => control.createNetwork(spec('host')),
    'host is a pre-defined network and cannot be created',
    'PermissionDenied',
  );
  refused(
    () => control.createNetwork(spec('n2', { subnet: 'nonsense' })),
    'Invalid subnet nonsense : invalid CIDR address: nonsense',
    'Unknown',
  );
  refused(() => control.createNetwork(spec('n3', undefined, 'nosuch')), 'plugin "nosuch" not found', 'NotFound');
  refused(
    () => control.createNetwork(spec('n4', { subnet: '10.9.0.0/30', gateway: '10.10.0.1' })),
    rpc('InvalidArgument', 'ipam configuration: subnet 10.9.0.0/30 does not contain gateway 10.10.0.1'),
  );
  refused(
    () => control.createNetwork(spec('n5', { subnet: '10.9.0.0/24', range: '10.8.0.0/28' })),
    rpc('InvalidArgument', 'ipam configuration: subnet 10.9.0.0/24 does not contain range 10.8.0.0/28'),
  );
  refused(() => control.findNetwork('nope'), 'network nope not found', 'NotFound');
  const service = control.createService(serviceSpec('test', { networks: ['uber-net'] }));
  refused(
    () => control.removeNetwork(id),
    rpc('FailedPrecondition', `network ${id} is in use by service ${service.id}`),
    'FailedPrecondition',
  );
  const bridge = control.findNetwork('bridge').id;
  refused(() => control.removeNetwork(bridge), /is a swarm predefined network and cannot be removed/);
  const published = control.createService(serviceSpec('public', { change: ports([80, 0]) }));
  const ingress = control.findNetwork('ingress').id;
  refused(
    () => control.removeNetwork(ingress),
    rpc('FailedPrecondition', `ingress network cannot be removed because service ${published.id} depends on it`),
  );
  control.removeService(published.id);
  control.removeNetwork(ingress);
  refused(
    () => control.createService(serviceSpec('public', { change: ports([80, 0]) })),
    rpc('FailedPrecondition', 'service needs ingress network, but no ingress network is present'),
  );
  const again = control.createNetwork(
    create(NetworkSpecSchema, { annotations: { name: 'my-ingress' }, ingress: true }),
  );
  refused(
    () => control.createNetwork(create(NetworkSpecSchema, { annotations: { name: 'second' }, ingress: true })),
    rpc('AlreadyExists', `ingress network (${again.id}) is already present`),
  );
});

test('secrets and configs: names, sizes, use and hidden data', async () => {
  await using cluster = new TestCluster();
  const { control } = cluster;
  const spec = (name: string, data: string) =>
    create(SecretSpecSchema, { annotations: { name }, data: text.encode(data) });
  const secret = control.createSecret(spec('key', 'hidden'));
  assert.equal(secret.spec?.data.length, 0);
  assert.equal(control.findSecret('key').spec?.data.length, 0);
  assert.equal(cluster.store.view((tx) => tx.get('secret', secret.id))?.spec?.data.length, 6);
  refused(() => control.createSecret(spec('key', 'x')), rpc('AlreadyExists', 'secret key already exists'));
  refused(() => control.createSecret(spec('-key', 'x')), /invalid name, only 64 \[a-zA-Z0-9-_\.\] characters allowed/);
  refused(
    () => control.createSecret(spec('empty', '')),
    rpc('InvalidArgument', 'secret data must be larger than 0 and less than 512000 bytes'),
  );
  refused(
    () => control.updateSecret(secret.id, 1n, spec('key', 'other')),
    rpc('InvalidArgument', 'only updates to Labels are allowed'),
  );
  const version = secret.meta?.version?.index ?? 0n;
  const labelled = create(SecretSpecSchema, { annotations: { name: 'key', labels: { a: 'b' } } });
  assert.deepEqual(control.updateSecret(secret.id, version, labelled).spec?.annotations?.labels, { a: 'b' });
  const config = control.createConfig(
    create(ConfigSpecSchema, { annotations: { name: 'conf' }, data: text.encode('seen') }),
  );
  assert.equal(control.findConfig('conf').spec?.data.length, 4);

  const using = (secretId: string) =>
    serviceSpec('web', {
      change: ({ task }) => {
        if (task?.runtime.case !== 'container') return;
        task.runtime.value.secrets.push({
          $typeName: 'docker.swarmkit.v1.SecretReference',
          secretId,
          secretName: 'key',
          file: { $typeName: 'docker.swarmkit.v1.FileTarget', name: 'key', uid: '0', gid: '0', mode: 0o444 },
        });
      },
    });
  refused(() => control.createService(using('nope')), rpc('InvalidArgument', 'secret not found: key'));
  const { id } = control.createService(using(secret.id));
  refused(
    () => control.removeSecret(secret.id),
    rpc('InvalidArgument', "secret 'key' is in use by the following service: web"),
  );
  control.removeService(id);
  control.removeSecret(secret.id);
  control.removeConfig(config.id);
  refused(() => control.findSecret('key'), 'secret key not found', 'NotFound');
});

test('nodes are removed when down or by force, their certificate is refused from then on, and the manager stays', async () => {
  await using cluster = new TestCluster();
  const { control } = cluster;
  cluster.addNode('n2');
  refused(() => control.removeNode('n2', false), rpc('FailedPrecondition', "node n2 is not down and can't be removed"));
  refused(() => control.removeNode('n1', true), /node n1 is a cluster manager and is a member of the raft cluster\./);
  const demoted = clone(NodeSpecSchema, cluster.node('n1').spec ?? assert.fail());
  demoted.desiredRole = NodeRole.WORKER;
  const version = (id: string) => cluster.node(id).meta?.version?.index ?? 0n;
  refused(
    () => control.updateNode('n1', version('n1'), demoted),
    rpc('FailedPrecondition', 'attempting to demote the last manager of the swarm'),
  );
  const promoted = create(NodeSpecSchema, { desiredRole: NodeRole.MANAGER });
  refused(() => control.updateNode('n2', version('n2'), promoted), /cannot become a manager/, 'Unimplemented');
  cluster.changeNode('n2', ({ status }) => {
    if (status) status.state = NodeStatus_State.DOWN;
  });
  control.removeNode('n2', false);
  assert.deepEqual(Object.keys(control.cluster().blacklistedCertificates), ['n2']);
  refused(() => control.findNode('n2'), 'node n2 not found');
});

test('the cluster is shown without keys; tokens are rotated one by one', async () => {
  await using cluster = new TestCluster();
  const { control } = cluster;
  const before = control.cluster();
  assert.deepEqual(before.networkBootstrapKeys, []);
  assert.deepEqual([before.subnetSize, before.vxlanUdpPort], [24, 4789]);
  const spec = before.spec ?? assert.fail();
  const version = before.meta?.version?.index ?? 0n;
  const none = { workerToken: false, managerToken: false, unlockKey: false };
  const after = control.updateCluster(version, spec, { ...none, workerToken: true });
  assert.match(after.rootCa?.joinTokens?.worker ?? '', /^SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25}$/);
  assert.equal(after.rootCa?.joinTokens?.manager, before.rootCa?.joinTokens?.manager);
  refused(() => control.updateCluster(version, spec, none), rpc('Unknown', 'update out of sequence'));
  const current = after.meta?.version?.index ?? 0n;
  refused(
    () => control.updateCluster(current, spec, { ...none, unlockKey: true }),
    /managers cannot be locked/,
    'Unimplemented',
  );
  const renamed = create(ClusterSpecSchema, { annotations: { name: 'mine' } });
  refused(
    () => control.updateCluster(version, renamed, none),
    rpc('InvalidArgument', 'modification of cluster name is not allowed'),
  );
});

test('image references follow the grammar of distribution', () => {
  const good = [
    'ubuntu',
    'ubuntu:24.04',
    'a/b',
    'localhost:5000/a/b:tag',
    'registry.example.com/x__y/z-1.2',
    `a@sha256:${'0'.repeat(64)}`,
    '[2001:db8::1]:5000/a',
    'Registry/a',
  ];
  const bad = [
    'UPPER CASE',
    'Ubuntu',
    'a:',
    'a//b',
    ':tag',
    '-a',
    'a@sha256:123',
    '0'.repeat(64),
    `${'a'.repeat(256)}`,
  ];
  for (const image of good) assert.ok(isImageReference(image), image);
  for (const image of bad) assert.ok(!isImageReference(image), image);
});

test('what swarmkit says carries the rpc prefix, what the daemon says does not', async () => {
  await using cluster = new TestCluster();
  assert.throws(() => cluster.control.createService(serviceSpec('')), RpcError);
  assert.throws(
    () => cluster.control.findService('x'),
    (error) => !(error instanceof RpcError),
  );
});
