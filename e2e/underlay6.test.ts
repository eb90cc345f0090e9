/** Hosts that talk to each other over IPv6: a swarm without any IPv4 between them, and hosts that have both. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Capture, captured } from './support/capture.ts';
import { type Client, Cluster, eventually } from './support/cluster.ts';

const hosts = ['node1', 'node2'] as const;
type HostName = (typeof hosts)[number];
const addresses = { node1: 'fd00:31:1::5', node2: 'fd00:31:1::6' } as const;
const manager = `[${addresses.node1}]:2377`;
/** Of the lab's links. */
const underlayMtu = 1500;
/** Outer IPv6, UDP and VXLAN headers, and the Ethernet header inside (RFC 7348 section 5). */
const vxlanOverhead = 70;
/** IPv4 and ICMP headers. */
const pingOverhead = 28;
const webServer = 'hostname > /tmp/index.html; exec httpd -f -p 80 -h /tmp';

interface Task {
  readonly id: string;
  readonly name: string;
  readonly address: string;
}

test('a swarm over IPv6 only', async (context) => {
  await using cluster = await Cluster.start('underlay6', 2, { underlay: 'ipv6' });
  const init = cluster.must('node1', ['docker', 'swarm', 'init', '--advertise-addr', addresses.node1]);

  await context.test(
    'init prints an address with brackets, and who leaves them out is told in the words of Docker',
    () => {
      assert.match(init, /swarm join --token SWMTKN-1-\S+ \[fd00:31:1::5\]:2377\n/);
      assert.match(cluster.must('node1', 'docker swarm join-token worker'), / \[fd00:31:1::5\]:2377\n/);
      for (const [address, why] of [
        [`${addresses.node1}:2377`, `dial udp: address ${addresses.node1}:2377: too many colons in address`],
        [`[${addresses.node1}`, `dial udp: address [${addresses.node1}: missing ']' in address`],
        ['[2001:db8:1::1]:x', 'dial udp: address udp/x: unknown port'],
        ['172.31.1.5:2377', 'dial udp 172.31.1.5:2377: connect: network is unreachable'],
      ]) {
        const { exitCode, stderr } = cluster.run('node2', [
          'docker',
          'swarm',
          'join',
          '--token',
          token(init),
          `${address}`,
        ]);
        assert.equal(exitCode, 1);
        assert.equal(stderr, `Error response from daemon: could not find local IP address: ${why}\n`);
      }
    },
  );

  await context.test('the worker joins, and the nodes are known by their IPv6 addresses', async () => {
    assert.equal(
      cluster.must('node2', ['docker', 'swarm', 'join', '--token', token(init), manager]),
      'This node joined a swarm as a worker.\n',
    );
    await untilReady(cluster, 'docker', 2);
    const status = (node: string) => cluster.must('node1', ['docker', 'node', 'inspect', '-f', '{{json .}}', node]);
    const [first, second] = hosts.map((host) => JSON.parse(status(host)));
    assert.deepEqual([first.Status.Addr, second.Status.Addr], Object.values(addresses));
    assert.equal(first.ManagerStatus.Addr, manager);
    const swarm = JSON.parse(cluster.must('node2', ['docker', 'info', '-f', '{{json .Swarm}}']));
    assert.equal(swarm.NodeAddr, addresses.node2);
    assert.deepEqual(
      swarm.RemoteManagers.map(({ Addr }: { Addr: string }) => Addr),
      [manager],
    );
  });

  await context.test(
    'tasks reach each other by name, address and virtual IP, in one hop and with whole frames',
    async () => {
      const tasks = await deploy(cluster, 'docker');
      await checkTraffic(cluster, 'docker', tasks);
      const [network] = JSON.parse(cluster.must('node1', 'docker network inspect net6'));
      assert.deepEqual(network.Peers.map(({ IP }: { IP: string }) => IP).sort(), Object.values(addresses));
    },
  );

  await context.test('the frames between the hosts are VXLAN over UDP over IPv6', async () => {
    const tasks = await deployed(cluster, 'docker');
    await checkFrames(cluster, 'docker', tasks);
  });

  await context.test('traffic goes on while the daemons are killed and started again', async () => {
    const { node1, node2 } = await deployed(cluster, 'docker');
    // An exec would end with its daemon.
    const sandbox = cluster.must('node1', ['docker', 'inspect', '-f', '{{.NetworkSettings.SandboxKey}}', node1.id]);
    const ping = cluster.start('node1', [
      ...['nsenter', `--net=${sandbox.trim()}`, 'busybox', 'ping', '-c', '8', '-i', '0.5', '-W', '2', node2.address],
    ]);
    await Promise.all(hosts.map((host) => cluster.lab.stopDaemon(host, 'SIGKILL')));
    await Promise.all(hosts.map((host) => cluster.lab.startDaemon(host)));
    await untilReady(cluster, 'docker', 2);
    const { stdout } = await ping.finished;
    assert.match(stdout, / 0% packet loss/, stdout);
  });
});

test('hosts with both families', async (context) => {
  await using cluster = await Cluster.start('underlay6-dual', 3, { underlay: 'dual' });
  // As with Docker, an address need not be in its shortest form.
  const init = cluster.must('node1', [
    ...['skein', 'swarm', 'init', '--advertise-addr', 'FD00:31:1:0::5', '--listen-addr', '[::]:2377'],
    ...['--data-path-addr', addresses.node1],
  ]);
  assert.match(init, /swarm join --token SWMTKN-1-\S+ \[fd00:31:1::5\]:2377\n/);
  cluster.must('node2', ['skein', 'swarm', 'join', '--token', token(init), manager]);
  const otherPath = ['--data-path-addr', '172.31.1.7', '--token', token(init), manager];
  cluster.must('node3', ['skein', 'swarm', 'join', ...otherPath]);
  await untilReady(cluster, 'skein', 3);
  const tasks = await deploy(cluster, 'skein');

  await context.test('who joins by an IPv6 address is known by its own, and tunnels over IPv6', async () => {
    const address = cluster.must('node2', ['skein', 'info', '-f', '{{.Swarm.NodeAddr}}']);
    assert.equal(address.trim(), addresses.node2);
    await checkFrames(cluster, 'skein', tasks);
  });

  await context.test('a data path of the other family is named in the logs of all', async () => {
    for (const [host, other] of [
      ['node1', '172.31.1.7'],
      ['node2', '172.31.1.7'],
      ['node3', addresses.node1],
    ] as const)
      await eventually(`${host} says that it has no tunnel`, () => {
        const log = readFileSync(cluster.lab.host(host).paths.log, 'utf8');
        return log.includes(`no tunnel to the containers behind ${other}`) || undefined;
      });
  });
});

const token = (init: string): string => /--token (\S+)/.exec(init)?.[1] ?? assert.fail(`no token:\n${init}`);

async function untilReady(cluster: Cluster, client: Client, nodes: number): Promise<void> {
  const expected = Array.from({ length: nodes }, () => 'Ready').join('\n');
  await eventually(
    `${nodes} nodes are ready`,
    () => cluster.must('node1', [client, 'node', 'ls', '--format', '{{.Status}}']).trim() === expected || undefined,
  );
}

/** Makes the network and a service with a task on each host. */
async function deploy(cluster: Cluster, client: Client): Promise<Record<HostName, Task>> {
  cluster.must('node1', [client, 'network', 'create', '-d', 'overlay', 'net6']);
  cluster.must('node1', [
    ...[client, 'service', 'create', '-d', '--no-resolve-image', '--name', 'web', '--network', 'net6'],
    ...['--mode', 'global', '--stop-grace-period', '1s', 'ubuntu', 'sh', '-c', webServer],
  ]);
  return deployed(cluster, client);
}

async function deployed(cluster: Cluster, client: Client): Promise<Record<HostName, Task>> {
  return { node1: await taskOn(cluster, client, 'node1'), node2: await taskOn(cluster, client, 'node2') };
}

function taskOn(cluster: Cluster, client: Client, host: HostName): Promise<Task> {
  const filter = 'label=com.docker.swarm.service.name=web';
  return eventually(`a task on ${host}`, () => {
    const id = cluster.must(host, [client, 'ps', '-q', '--filter', filter]).trim();
    if (id === '') return undefined;
    const format = '{{.Name}} {{.NetworkSettings.Networks.net6.IPAddress}}';
    const [name = '', address = ''] = cluster
      .must(host, [client, 'inspect', '-f', format, id])
      .trim()
      .slice(1)
      .split(' ');
    return { id, name, address };
  });
}

async function checkTraffic(cluster: Cluster, client: Client, tasks: Record<HostName, Task>): Promise<void> {
  const { node1, node2 } = tasks;
  const inside = (...words: string[]): string => cluster.must('node1', [client, 'exec', node1.id, ...words]);
  assert.match(inside('ip', '-o', 'link', 'show', 'eth0'), new RegExp(` mtu ${underlayMtu - vxlanOverhead} `));
  await eventually(
    'the name of the other task is known',
    () => inside('nslookup', 'tasks.web').includes(node2.address) || undefined,
  );
  const whole = `${underlayMtu - vxlanOverhead - pingOverhead}`;
  assert.match(inside('ping', '-c', '2', '-W', '2', '-s', whole, node2.name), / 0% packet loss/);
  const hops = inside('traceroute', '-n', node2.address).trimEnd().split('\n').slice(1);
  assert.equal(hops.length, 1, hops.join('\n'));
  assert.match(hops[0] ?? '', new RegExp(`^ 1 {2}${node2.address.replaceAll('.', '\\.')} `));
  const answers = new Set<string>();
  await eventually('both tasks answer at the virtual IP', () => {
    answers.add(inside('wget', '-q', '-O', '-', 'http://web/').trim());
    return (answers.has(node1.id) && answers.has(node2.id)) || undefined;
  });
}

async function checkFrames(cluster: Cluster, client: Client, { node1, node2 }: Record<HostName, Task>): Promise<void> {
  const reached = () => cluster.run('node1', [client, 'exec', node1.id, 'ping', '-c', '1', '-W', '1', node2.address]);
  await eventually('the tasks reach each other', () => reached().exitCode === 0 || undefined);
  const vni = cluster.must('node1', [
    ...[
      client,
      'network',
      'inspect',
      '-f',
      '{{index .Options "com.docker.network.driver.overlay.vxlanid_list"}}',
      'net6',
    ],
  ]);
  const capture = Capture.start(cluster.lab.host('node1').networkNamespace, 'eth0');
  assert.equal(reached().exitCode, 0);
  const frames = await capture.stop();
  for (const [type, from, to] of [
    ['echo request', 'node1', 'node2'],
    ['echo reply', 'node2', 'node1'],
  ] as const) {
    const frame = frames.find(({ vxlan }) => vxlan?.inner.icmp?.type === type);
    assert.ok(frame, captured(frames));
    assert.deepEqual([frame.sourceIp, frame.destinationIp], [addresses[from], addresses[to]]);
    assert.equal(frame.udp?.destinationPort, 4789);
    assert.equal(frame.vxlan?.vni, Number(vni));
  }
}
