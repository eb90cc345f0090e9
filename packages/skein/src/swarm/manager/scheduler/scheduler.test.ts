import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import { EndpointSpecSchema, NodeSpec_Availability, type ServiceSpec } from '../../gen/specs_pb.js';
import {
  AnnotationsSchema,
  NodeStatus_State,
  PlacementSchema,
  PortConfig_PublishMode,
  PortConfigSchema,
  ResourceRequirementsSchema,
  TaskState,
} from '../../gen/types_pb.js';
import { serviceSpec, TestCluster } from '../testing/cluster.ts';

/** Creates a service and lets it settle. @returns its ID. */
function deploy(cluster: TestCluster, replicas: number, change: (spec: ServiceSpec) => void): string {
  const { id } = cluster.control.createService(serviceSpec(`s${cluster.tasks().length}`, { replicas, change }));
  cluster.run(500);
  return id;
}

const perNode = (cluster: TestCluster, id: string) =>
  Object.fromEntries(
    [...Map.groupBy(cluster.running(id), ({ nodeId }) => nodeId)].map(([node, group]) => [node, group.length]).sort(),
  );
const errors = (cluster: TestCluster, id: string) => [
  ...new Set(
    cluster
      .tasks(id)
      .filter((task) => task.status?.state === TaskState.PENDING)
      .map((task) => task.status?.err),
  ),
];
const placement = (init: Parameters<typeof create<typeof PlacementSchema>>[1]) => (spec: ServiceSpec) => {
  if (spec.task) spec.task.placement = create(PlacementSchema, init);
};
const reserve = (nanoCpus: bigint, memoryBytes: bigint) => (spec: ServiceSpec) => {
  if (spec.task) spec.task.resources = create(ResourceRequirementsSchema, { reservations: { nanoCpus, memoryBytes } });
};
const hostPort = (spec: ServiceSpec) => {
  const port = create(PortConfigSchema, {
    targetPort: 80,
    publishedPort: 8080,
    publishMode: PortConfig_PublishMode.HOST,
  });
  spec.endpoint = create(EndpointSpecSchema, { ports: [port] });
};

test('each filter keeps tasks off unsuitable nodes and says why in the waiting task', async () => {
  const cases: [string, number, (spec: ServiceSpec) => void, string][] = [
    [
      'constraint',
      1,
      placement({ constraints: ['node.labels.zone==mars'] }),
      'scheduling constraints not satisfied on 2 nodes',
    ],
    [
      'platform',
      1,
      placement({ platforms: [{ architecture: 'arm64', os: 'linux' }] }),
      'unsupported platform on 2 nodes',
    ],
    ['resources', 1, reserve(8_000_000_000n, 0n), 'insufficient resources on 2 nodes'],
    ['host port', 3, hostPort, 'host-mode port already in use on 2 nodes'],
    ['max replicas', 3, placement({ maxReplicas: 1n }), 'max replicas per node limit exceed'],
    [
      'log driver',
      1,
      (spec) => {
        if (spec.task) spec.task.logDriver = { $typeName: 'docker.swarmkit.v1.Driver', name: 'gelf', options: {} };
      },
      'missing plugin on 2 nodes',
    ],
  ];
  for (const [name, replicas, change, explanation] of cases) {
    await using cluster = new TestCluster();
    const addLog = (node: { description?: { engine?: { plugins: unknown[] } | undefined } | undefined }) =>
      node.description?.engine?.plugins.push({
        $typeName: 'docker.swarmkit.v1.PluginDescription',
        type: 'Log',
        name: 'json-file',
      });
    for (const node of ['n1', 'n2']) cluster.addNode(node, addLog);
    const id = deploy(cluster, replicas, change);
    assert.deepEqual(errors(cluster, id), [`no suitable node (${explanation})`], name);
    assert.equal(cluster.running(id).length, replicas - 1, name);
  }
});

test('several reasons stand in one sentence, the most frequent first', async () => {
  await using cluster = new TestCluster();
  for (const node of ['n2', 'n3'])
    cluster.addNode(node, ({ spec }) => {
      if (spec) spec.availability = NodeSpec_Availability.PAUSE;
    });
  const id = deploy(cluster, 1, placement({ constraints: ['node.id!=n1'] }));
  assert.deepEqual(errors(cluster, id), [
    'no suitable node (2 nodes not available for new tasks; scheduling constraints not satisfied on 1 node)',
  ]);
  cluster.addNode('n4');
  cluster.run(300);
  assert.deepEqual(perNode(cluster, id), { n4: 1 });
});

test('constraints and platforms choose nodes; kernel and Go names of an architecture are the same', async () => {
  await using cluster = new TestCluster();
  cluster.addNode('n2');
  assert.deepEqual(perNode(cluster, deploy(cluster, 2, placement({ constraints: ['node.hostname == HOST-N2'] }))), {
    n2: 2,
  });
  assert.deepEqual(perNode(cluster, deploy(cluster, 2, placement({ constraints: ['node.role==manager'] }))), { n1: 2 });
  assert.deepEqual(
    perNode(cluster, deploy(cluster, 2, placement({ constraints: ['node.ip==192.0.2.0/24', 'node.id!=n1'] }))),
    { n2: 2 },
  );
  const amd64 = deploy(cluster, 2, placement({ platforms: [{ architecture: 'amd64', os: 'linux' }] }));
  assert.deepEqual(perNode(cluster, amd64), { n1: 1, n2: 1 });
});

test('reservations fill nodes up and no further', async () => {
  await using cluster = new TestCluster();
  cluster.addNode('n2');
  const id = deploy(cluster, 5, reserve(2_000_000_000n, 1024n ** 3n));
  assert.deepEqual(perNode(cluster, id), { n1: 2, n2: 2 });
  cluster.report(cluster.running(id)[0]?.id ?? '', TaskState.FAILED);
  cluster.run(500);
  assert.equal(cluster.running(id).length, 4, 'the waiting task takes the place of the failed one');
});

test('preferences spread a service over the values of a label before over nodes', async () => {
  await using cluster = new TestCluster();
  for (const [node, zone] of [
    ['n1', 'a'],
    ['n2', 'b'],
    ['n3', 'b'],
    ['n4', 'b'],
  ] as const)
    cluster.addNode(node, ({ spec }) => {
      if (spec) spec.annotations = create(AnnotationsSchema, { labels: { zone } });
    });
  const id = deploy(cluster, 6, placement({ preferences: [{ spread: { spreadDescriptor: 'node.labels.zone' } }] }));
  assert.deepEqual(perNode(cluster, id), { n1: 3, n2: 1, n3: 1, n4: 1 });
});

test('a node on which the service keeps failing gets its tasks last', async () => {
  await using cluster = new TestCluster();
  cluster.addNode('n2');
  cluster.behaviour = (task) => (task.nodeId === 'n2' ? TaskState.FAILED : TaskState.RUNNING);
  const id = deploy(cluster, 2, (spec) => {
    if (spec.task)
      spec.task.restart = { $typeName: 'docker.swarmkit.v1.RestartPolicy', condition: 2, maxAttempts: 20n };
  });
  cluster.run(60_000);
  assert.deepEqual(perNode(cluster, id), { n1: 2 });
});

test('tasks wait while no node is ready and are assigned when one comes', async () => {
  await using cluster = new TestCluster();
  cluster.changeNode('n1', ({ status }) => {
    if (status) status.state = NodeStatus_State.UNKNOWN;
  });
  const id = deploy(cluster, 2, () => {});
  assert.deepEqual(errors(cluster, id), ['no suitable node (1 node not available for new tasks)']);
  cluster.addNode('n1');
  cluster.run(300);
  assert.equal(cluster.running(id).length, 2);
  assert.deepEqual(new Set(cluster.running(id).map((task) => task.status?.err)), new Set(['']));
});

test('a node that cannot get a load balancer address on a full network gets no task of it', async () => {
  await using cluster = new TestCluster();
  cluster.addNode('n2');
  const net = cluster.createNetwork('small', '10.9.0.0/29');
  const id = deploy(cluster, 3, (spec) =>
    spec.task?.networks.push({
      $typeName: 'docker.swarmkit.v1.NetworkAttachmentConfig',
      target: net,
      aliases: [],
      addresses: [],
      driverAttachmentOpts: {},
    }),
  );
  assert.equal(cluster.running(id).length, 3);
  assert.equal(Object.keys(perNode(cluster, id)).length, 1);
});
