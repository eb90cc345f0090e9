import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { NetworkSpecSchema } from '../../gen/specs_pb.js';
import { NodeStatus_State, PortConfig_PublishMode, TaskState } from '../../gen/types_pb.js';
import { isAlive } from '../tasks.ts';
import { addressesOf, serviceSpec, TestCluster } from '../testing/cluster.ts';
import { AddressBook } from './addresses.ts';
import { Quarantine, quarantineMs } from './quarantine.ts';
import { vxlanIdsOption } from './vxlan.ts';

const subnetsOf = (cluster: TestCluster, name: string) =>
  cluster.control.findNetwork(name).ipam?.configs.map(({ subnet }) => subnet);
const vxlanOf = (cluster: TestCluster, name: string) =>
  cluster.control.findNetwork(name).driverState?.options[vxlanIdsOption];

test('networks get subnets from the pools and VXLAN IDs in order, and what a removed one had comes last', async () => {
  await using cluster = new TestCluster({ pools: ['10.0.0.0/22'] });
  const holdings = (name: string) => [subnetsOf(cluster, name), vxlanOf(cluster, name)];
  assert.deepEqual(holdings('ingress'), [['10.0.0.0/24'], '4096']);
  const a = cluster.createNetwork('a');
  const b = cluster.createNetwork('b');
  assert.deepEqual(holdings('a'), [['10.0.1.0/24'], '4097']);
  assert.deepEqual(holdings('b'), [['10.0.2.0/24'], '4098']);
  cluster.control.removeNetwork(b);
  cluster.run(1000);
  cluster.control.removeNetwork(a);
  cluster.createNetwork('c');
  assert.deepEqual(holdings('c'), [['10.0.3.0/24'], '4099']);
  cluster.createNetwork('d');
  assert.deepEqual(
    holdings('d'),
    [['10.0.2.0/24'], '4100'],
    'every free subnet rests: the one that has rested longest',
  );
  cluster.run(quarantineMs);
  cluster.createNetwork('e');
  assert.deepEqual(holdings('e'), [['10.0.1.0/24'], '4101']);
});

test('after a restart of the manager the walk goes on behind the newest network and the newest task', async () => {
  await using cluster = new TestCluster();
  const a = cluster.createNetwork('a');
  const b = cluster.createNetwork('b');
  const { id } = cluster.control.createService(serviceSpec('web', { networks: [b], replicas: 3 }));
  cluster.run(500);
  const before = cluster.running(id).map((task) => addressesOf(task)[b]);
  for (const task of cluster.running(id)) cluster.report(task.id, TaskState.FAILED);
  cluster.control.removeNetwork(a);
  await cluster.restartLoops();
  cluster.createNetwork('c');
  assert.deepEqual([subnetsOf(cluster, 'c'), vxlanOf(cluster, 'c')], [['10.0.3.0/24'], '4099']);
  cluster.run(7000);
  const after = cluster.running(id).map((task) => addressesOf(task)[b]);
  assert.equal(after.length, 3);
  assert.deepEqual(
    after.filter((address) => before.includes(address)),
    [],
  );
});

test('automatic subnets step over explicit ones and over the routes of the host', async () => {
  const routes = [
    { destination: 'default', device: 'eth0' },
    { destination: '0.0.0.0/0', device: 'eth0' },
    { destination: '10.0.1.0/25', device: 'vpn0' },
  ];
  await using cluster = new TestCluster({ routes });
  cluster.createNetwork('explicit', '10.0.2.0/23');
  cluster.createNetwork('automatic');
  assert.deepEqual(subnetsOf(cluster, 'automatic'), ['10.0.4.0/24']);
});

test('when routes cover every pool, the pools are used all the same', async () => {
  await using cluster = new TestCluster({ routes: [{ destination: '10.0.0.0/8', device: 'eth0' }] });
  assert.deepEqual(subnetsOf(cluster, 'ingress'), ['10.0.0.0/24']);
});

test('an explicit subnet that overlaps a network or a route is refused with both named', async () => {
  await using cluster = new TestCluster({ routes: [{ destination: '10.77.0.0/16', device: 'vpn0' }] });
  cluster.createNetwork('first', '10.9.0.0/24');
  assert.throws(() => cluster.createNetwork('second', '10.9.0.128/25'), {
    code: 'InvalidArgument',
    message:
      /subnet 10\.9\.0\.128\/25 of network second overlaps subnet 10\.9\.0\.0\/24 of network first: choose another subnet/,
  });
  assert.throws(() => cluster.createNetwork('third', '10.77.3.0/24'), {
    message: /subnet 10\.77\.3\.0\/24 of network third overlaps the route 10\.77\.0\.0\/16 of this host's device vpn0/,
  });
});

test('pools that are used up are named', async () => {
  await using cluster = new TestCluster({ pools: ['10.5.0.0/23'] });
  cluster.createNetwork('a');
  assert.throws(() => cluster.createNetwork('b'), {
    code: 'FailedPrecondition',
    message: /no subnet left for network b: the address pools 10\.5\.0\.0\/23, cut into \/24, are used up by 2 subnets/,
  });
});

test('what was freed rests over a restart of the manager, although what had it is gone', async () => {
  await using cluster = new TestCluster();
  const kept = cluster.createNetwork('kept');
  const old = cluster.createNetwork('old');
  assert.deepEqual([subnetsOf(cluster, 'old'), vxlanOf(cluster, 'old')], [['10.0.2.0/24'], '4098']);
  const deploy = (name: string) => {
    const { id } = cluster.control.createService(serviceSpec(name, { networks: [kept], replicas: 2 }));
    cluster.run(500);
    const tasks = cluster.running(id).map((task) => addressesOf(task)[kept] ?? '');
    const virtualIps = cluster.service(id).endpoint?.virtualIps.map(({ addr }) => addr) ?? [];
    cluster.control.removeService(id);
    cluster.run(500);
    return [...virtualIps, ...tasks].sort();
  };
  const before = deploy('before');
  assert.equal(before.length, 3);
  cluster.control.removeNetwork(old);
  assert.deepEqual(cluster.tasks(), []);
  await cluster.restartLoops();
  await cluster.restartLoops();
  cluster.createNetwork('new');
  assert.deepEqual([subnetsOf(cluster, 'new'), vxlanOf(cluster, 'new')], [['10.0.3.0/24'], '4099']);
  assert.deepEqual(
    deploy('after').filter((address) => before.includes(address)),
    [],
  );
  cluster.control.removeNetwork(cluster.control.findNetwork('new').id);
  cluster.run(quarantineMs);
  await cluster.restartLoops();
  cluster.createNetwork('later');
  assert.deepEqual([subnetsOf(cluster, 'later'), vxlanOf(cluster, 'later')], [['10.0.2.0/24'], '4098'], 'not for ever');
});

test('what is remembered of freed addresses does not grow, whoever had them and whatever is asked for', async () => {
  await using cluster = new TestCluster({ pools: ['10.0.0.0/8'] });
  for (let round = 0; round < 5; round++) {
    const net = cluster.createNetwork('net');
    const { id } = cluster.control.createService(serviceSpec('web', { networks: [net], replicas: 4 }));
    cluster.run(500);
    cluster.control.removeService(id);
    cluster.run(500);
    cluster.control.removeNetwork(net);
    assert.equal(cluster.store.notes().size, 8, 'a virtual IP, a load balancer, four tasks, a subnet, a VXLAN ID');
    cluster.run(quarantineMs);
  }
});

test('a VXLAN ID that another network has is refused with its name', async () => {
  await using cluster = new TestCluster();
  cluster.createNetwork('a');
  const spec = create(NetworkSpecSchema, {
    annotations: { name: 'b' },
    driverConfig: { name: 'overlay', options: { [vxlanIdsOption]: '4097', encrypted: '' } },
  });
  assert.throws(() => cluster.control.createNetwork(spec), {
    message: /VXLAN ID 4097 of network b is in use by network a/,
  });
  if (spec.driverConfig) spec.driverConfig.options[vxlanIdsOption] = '9000';
  assert.deepEqual(cluster.control.createNetwork(spec).driverState?.options, {
    [vxlanIdsOption]: '9000',
    encrypted: '',
  });
});

test('the subnet of a removed network stays taken while a task on it is still stopping', async () => {
  await using cluster = new TestCluster();
  const old = cluster.createNetwork('old');
  const { id } = cluster.control.createService(serviceSpec('web', { networks: [old] }));
  cluster.run(500);
  cluster.changeNode('n1', (node) => {
    if (node.status) node.status.state = NodeStatus_State.DISCONNECTED;
  });
  cluster.control.removeService(id);
  cluster.run(200);
  cluster.control.removeNetwork(old);
  cluster.createNetwork('new');
  assert.deepEqual(subnetsOf(cluster, 'new'), ['10.0.2.0/24']);
  cluster.addNode('n1');
  cluster.run(500);
  assert.deepEqual(cluster.tasks(), []);
  cluster.run(quarantineMs);
  const explicit = cluster.createNetwork('newer', '10.0.1.0/24');
  cluster.control.removeNetwork(explicit);
});

test('an ingress service has the ingress network first, a virtual IP on each network and a published port', async () => {
  await using cluster = new TestCluster();
  const net = cluster.createNetwork('net');
  const ingress = cluster.control.findNetwork('ingress').id;
  const spec = serviceSpec('web', {
    networks: [net],
    change: (change) => {
      change.endpoint = { $typeName: 'docker.swarmkit.v1.EndpointSpec', mode: 0, ports: [] };
      for (const [targetPort, publishedPort] of [
        [80, 0],
        [443, 8443],
        [81, 0],
      ] as const)
        change.endpoint.ports.push({
          $typeName: 'docker.swarmkit.v1.PortConfig',
          name: '',
          protocol: 0,
          targetPort,
          publishedPort,
          publishMode: PortConfig_PublishMode.INGRESS,
        });
    },
  });
  const { id } = cluster.control.createService(spec);
  cluster.run(500);
  const service = cluster.service(id);
  assert.deepEqual(
    service.endpoint?.ports.map((port) => port.publishedPort),
    [30000, 8443, 30001],
  );
  assert.deepEqual(
    service.endpoint?.virtualIps.map((vip) => vip.networkId),
    [ingress, net],
  );
  const [task] = cluster.running(id);
  assert.deepEqual(
    task?.networks.map(({ network }) => network?.id),
    [ingress, net],
  );
  assert.deepEqual(
    task?.endpoint?.ports.map((port) => port.publishedPort),
    [30000, 8443, 30001],
  );
  cluster.update(id, (change) => change.endpoint?.ports.shift());
  cluster.run(500);
  assert.deepEqual(
    cluster.service(id).endpoint?.ports.map((port) => port.publishedPort),
    [8443, 30001],
  );
});

test('a full network says so with its numbers in the waiting task, and the task goes on when an address is free', async () => {
  await using cluster = new TestCluster();
  const net = cluster.createNetwork('small', '10.9.0.0/29');
  const { id } = cluster.control.createService(serviceSpec('web', { replicas: 5, networks: [net] }));
  cluster.run(1000);
  assert.equal(cluster.running(id).length, 3);
  const waiting = cluster.tasks(id).filter((task) => task.status?.state === TaskState.NEW);
  assert.equal(waiting.length, 2);
  assert.equal(
    waiting[0]?.status?.err,
    "no addresses left on network small (10.9.0.0/29): 6 usable, 1 gateway, 1 virtual IP, 3 tasks, 1 node's load balancer",
  );
  // One more than the running three: the one waiting task that is left goes on when another one is removed.
  const [first] = cluster.running(id);
  cluster.report(first?.id ?? '', TaskState.FAILED);
  cluster.run(500);
  assert.equal(cluster.running(id).length, 3, 'the freed address went to a waiting task');
});

test('freed addresses rest, and those that have rested longest are woken when there are no others', async () => {
  await using cluster = new TestCluster();
  const net = cluster.createNetwork('net', '10.9.0.0/28');
  const { id } = cluster.control.createService(serviceSpec('web', { networks: [net] }));
  cluster.run(500);
  const given: string[] = [];
  for (let restart = 0; restart < 24; restart++) {
    const [task] = cluster.running(id);
    given.push(addressesOf(task ?? assert.fail())[net] ?? '');
    cluster.report(task?.id ?? '', TaskState.FAILED);
    cluster.run(7000);
  }
  // 13 addresses but the virtual IP and the node's: each comes round after all others.
  given.forEach((address, index) => {
    assert.deepEqual(given.slice(Math.max(0, index - 10), index).indexOf(address), -1, given.join(' '));
    if (index >= 11) assert.equal(address, given[index - 11]);
  });
});

test('a label asks for a virtual IP, which may be one that the network keeps reserved', async () => {
  await using cluster = new TestCluster();
  const spec = create(NetworkSpecSchema, {
    annotations: { name: 'net' },
    driverConfig: { name: 'overlay' },
    ipam: { configs: [{ subnet: '10.9.0.0/24', reserved: { web: '10.9.0.80' } }] },
  });
  const net = cluster.control.createNetwork(spec).id;
  const wants = (name: string, address: string) =>
    serviceSpec(name, {
      networks: [net],
      change: ({ annotations }) => {
        if (annotations) annotations.labels['skein.virtual-ip'] = address;
      },
    });
  const virtualIps = (id: string) => cluster.service(id).endpoint?.virtualIps.map(({ addr }) => addr);
  for (let time = 0; time < 2; time++) {
    const { id } = cluster.control.createService(wants('web', '10.9.0.80'));
    cluster.run(500);
    assert.deepEqual(virtualIps(id), ['10.9.0.80/24']);
    const other = cluster.control.createService(wants('other', '10.9.0.80')).id;
    cluster.run(500);
    assert.equal(cluster.tasks(other)[0]?.status?.err, 'virtual IP 10.9.0.80 of network net is in use');
    cluster.control.removeService(other);
    cluster.control.removeService(id);
    cluster.run(500);
  }
  assert.throws(() => cluster.control.createService(wants('web', '10.8.0.1')), {
    message: /label skein\.virtual-ip: 10\.8\.0\.1 is no address of the service's networks/,
  });
});

test('a rollback to a network that is gone is refused', async () => {
  await using cluster = new TestCluster();
  const net = cluster.createNetwork('net');
  const { id } = cluster.control.createService(serviceSpec('web', { networks: [net] }));
  cluster.update(id, ({ task }) => {
    if (task) task.networks = [];
  });
  cluster.control.removeNetwork(net);
  const service = cluster.service(id);
  assert.throws(
    () =>
      cluster.control.updateService(id, service.meta?.version?.index ?? 0n, service.spec ?? assert.fail(), {
        rollback: 'previous',
      }),
    { message: new RegExp(`network ${net} not found`) },
  );
});

test('a node has a load balancer address on a network only while a task of it is there', async () => {
  await using cluster = new TestCluster();
  cluster.addNode('n2');
  const net = cluster.createNetwork('net');
  const { id } = cluster.control.createService(serviceSpec('web', { replicas: 1, networks: [net] }));
  cluster.run(500);
  const [task] = cluster.running(id);
  const names = (node: string) => cluster.node(node).attachments.map(({ network }) => network?.spec?.annotations?.name);
  const other = task?.nodeId === 'n1' ? 'n2' : 'n1';
  assert.deepEqual(names(task?.nodeId ?? ''), ['ingress', 'net']);
  assert.deepEqual(names(other), ['ingress']);
  cluster.control.removeService(id);
  cluster.run(500);
  assert.deepEqual(names(task?.nodeId ?? ''), ['ingress']);
});

test('a node keeps its address on a network while its only task there restarts', async () => {
  await using cluster = new TestCluster();
  const net = cluster.createNetwork('net');
  const { id } = cluster.control.createService(serviceSpec('web', { networks: [net] }));
  cluster.run(500);
  const seen = new Set<string | undefined>();
  cluster.store.watch(() => {
    seen.add(cluster.node('n1').attachments.find(({ network }) => network?.id === net)?.addresses[0]);
  });
  for (let restart = 0; restart < 3; restart++) {
    cluster.report(cluster.running(id)[0]?.id ?? '', TaskState.FAILED);
    cluster.run(7000);
  }
  assert.deepEqual([...seen], ['10.0.1.4/24']);
});

/** Every address in use: by network, with the objects that have it. */
function holdings(cluster: TestCluster): Map<string, string[]> {
  const held = new Map<string, string[]>();
  const hold = (networkId: string | undefined, address: string | undefined, owner: string) => {
    if (!address) return;
    const key = `${networkId} ${address.split('/')[0]}`;
    held.set(key, [...(held.get(key) ?? []), owner]);
  };
  cluster.store.view((tx) => {
    for (const network of tx.list('network'))
      for (const config of network.ipam?.configs ?? []) hold(network.id, config.gateway, 'gateway');
    for (const service of tx.list('service'))
      for (const vip of service.endpoint?.virtualIps ?? []) hold(vip.networkId, vip.addr, `service ${service.id}`);
    for (const task of tx.list('task').filter(isAlive))
      for (const { network, addresses } of task.networks) hold(network?.id, addresses[0], `task ${task.id}`);
    for (const node of tx.list('node'))
      for (const { network, addresses } of node.attachments) hold(network?.id, addresses[0], `node ${node.id}`);
  });
  return held;
}

test('whatever happens, no address is given twice, and removing everything frees everything', async () => {
  const action = fc.oneof(
    fc.record({ kind: fc.constant('create' as const), net: fc.nat(1), replicas: fc.nat(12) }),
    fc.record({
      kind: fc.constantFrom('scale' as const, 'remove' as const, 'image' as const),
      service: fc.nat(3),
      replicas: fc.nat(12),
    }),
    fc.record({ kind: fc.constantFrom('fail' as const), task: fc.nat(30) }),
    fc.record({ kind: fc.constantFrom('drain' as const, 'activate' as const, 'down' as const), node: fc.nat(2) }),
    fc.record({ kind: fc.constantFrom('restart' as const, 'wait' as const) }),
  );
  await fc.assert(
    fc.asyncProperty(fc.array(action, { minLength: 3, maxLength: 14 }), async (actions) => {
      await using cluster = new TestCluster();
      for (const id of ['n0', 'n2']) cluster.addNode(id);
      const networks = [cluster.createNetwork('tiny', '10.9.0.0/28'), cluster.createNetwork('wide')];
      const services: string[] = [];
      let count = 0;
      for (const step of actions) {
        const service = 'service' in step ? services[step.service % Math.max(services.length, 1)] : undefined;
        const node = 'node' in step ? `n${step.node}` : '';
        if (step.kind === 'create') {
          const networksOf = [networks[step.net] ?? ''];
          services.push(
            cluster.control.createService(serviceSpec(`s${count++}`, { replicas: step.replicas, networks: networksOf }))
              .id,
          );
        } else if (step.kind === 'scale' && service) {
          cluster.update(service, (spec) => {
            if (spec.mode.case === 'replicated') spec.mode.value.replicas = BigInt(step.replicas);
          });
        } else if (step.kind === 'image' && service) {
          cluster.update(service, (spec) => {
            if (spec.task) spec.task.forceUpdate++;
          });
        } else if (step.kind === 'remove' && service) {
          cluster.control.removeService(service);
          services.splice(services.indexOf(service), 1);
        } else if (step.kind === 'fail') {
          const running = cluster.running();
          const task = running[step.task % Math.max(running.length, 1)];
          if (task) cluster.report(task.id, TaskState.FAILED);
        } else if (step.kind === 'drain' || step.kind === 'activate') {
          cluster.changeNode(node, ({ spec }) => {
            if (spec) spec.availability = step.kind === 'drain' ? 2 : 0;
          });
        } else if (step.kind === 'down') {
          cluster.changeNode(node, ({ status }) => {
            if (status)
              status.state = status.state === NodeStatus_State.READY ? NodeStatus_State.DOWN : NodeStatus_State.READY;
          });
        } else if (step.kind === 'restart') await cluster.restartLoops();
        cluster.run(step.kind === 'wait' ? 6000 : 300);
        for (const [address, owners] of holdings(cluster))
          assert.equal(owners.length, 1, `${address}: ${owners.join(', ')}`);
      }
      for (const id of ['n0', 'n1', 'n2']) cluster.addNode(id);
      for (const id of services) cluster.control.removeService(id);
      cluster.run(3000);
      assert.deepEqual(cluster.tasks(), []);
      cluster.store.view((tx) => {
        const book = new AddressBook(tx, new Quarantine(cluster.store, cluster.clock));
        const free = networks.map((id) => book.free(tx.get('network', id) ?? assert.fail()));
        assert.deepEqual(free, [13n, 253n]);
      });
      for (const id of networks) cluster.control.removeNetwork(id);
    }),
    { numRuns: 40 },
  );
});
