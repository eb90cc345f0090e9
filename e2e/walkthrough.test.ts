/** The walk-through, word for word, with the real docker command line and with skein, on a two-host lab. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { playStory, type Story } from './story.ts';
import { Capture, captured } from './support/capture.ts';
import { type Client, Cluster, eventually } from './support/cluster.ts';
import { outsideGreeting, startOutsideServer } from './support/outside.ts';

const clients: readonly Client[] = ['docker', 'skein'];

for (const client of clients) {
  test(`the story plays with ${client}: init, join, network, service, ping and traceroute through VXLAN`, async (context) => {
    await using cluster = await Cluster.start(`walk-${client}`, 2);
    await startOutsideServer(cluster);
    const story = await playStory(cluster, client, () => undefined);

    await context.test('init and join print the tokens and confirm', () => {
      assert.match(
        story.find('node1', 'swarm init').stdout,
        /^Swarm initialized: current node \([0-9a-z]{25}\) is now a manager\.\n\nTo add a worker to this swarm, run the following command:\n\n {4}\S+ swarm join --token SWMTKN-1-[0-9a-z]{50}-[0-9a-z]{25} 172\.31\.1\.5:2377\n/,
      );
      assert.equal(story.find('node2', 'swarm join').stdout, 'This node joined a swarm as a worker.\n');
    });
    await context.test('node ls shows both hosts ready, the leader and oneself', () => checkNodes(story));
    await context.test('node2 sees uber-net only once a task of it runs there', () => checkVisibility(story));
    await context.test('the service converges and service ps shows a task on each node', () => checkService(story));
    await context.test('network inspect shows subnet, VNI, endpoints and peers', () => checkNetwork(story));
    await context.test('4 of 4 pings, and one hop by its DNS name', () => checkPing(story));
    await context.test('DNS answers with the virtual IP, the tasks, and the PTR name', () => checkNames(story));
    await context.test('a container reaches the outside, masqueraded', () => {
      assert.equal(story.find('node1', 'wget').stdout, `${outsideGreeting}, 172.31.1.5\n`);
    });
    await context.test('the underlay carries the VNI and the inner ICMP', () => checkFrames(cluster, client, story));
    await context.test('service rm and network rm take everything away', () => checkRemoval(cluster, client));
  });
}

function rows(table: string): string[] {
  return table.trimEnd().split('\n').slice(1);
}

function checkNodes(story: Story): void {
  const lines = rows(story.find('node1', 'node ls').stdout);
  assert.equal(lines.length, 2, lines.join('\n'));
  assert.match(lines[0] ?? '', /^[0-9a-z]{25} \* +node1 +Ready +Active +Leader/);
  assert.match(lines[1] ?? '', /^[0-9a-z]{25} +node2 +Ready +Active/);
}

function checkVisibility(story: Story): void {
  const names = (host: string, nth: number): string[] =>
    rows(story.find(host, 'network ls', nth).stdout).map((line) => line.split(/ {2,}/)[1] ?? '');
  assert.ok(names('node1', 0).includes('uber-net'), story.find('node1', 'network ls').stdout);
  assert.ok(names('node1', 0).includes('ingress'));
  assert.ok(!names('node2', 0).includes('uber-net'), story.find('node2', 'network ls').stdout);
  assert.ok(names('node2', 1).includes('uber-net'), story.find('node2', 'network ls', 1).stdout);
  assert.ok(names('node2', 1).includes('docker_gwbridge'));
}

function checkService(story: Story): void {
  const created = story.find('node1', 'service create').stdout;
  assert.match(created, /^[0-9a-z]{25}\n/);
  assert.match(created, /overall progress: 2 out of 2 tasks/);
  assert.match(created, /verify: Service [0-9a-z]{25} converged/);
  assert.match(rows(story.find('node1', 'service ls').stdout)[0] ?? '', /test +replicated +2\/2 +ubuntu:latest/);
  const tasks = rows(story.find('node1', 'service ps').stdout);
  assert.deepEqual(
    tasks
      .map((line) => /(test\.\d) +ubuntu:latest +(node\d) +Running +Running/.exec(line)?.slice(1, 3).join(' '))
      .map((task) => task?.split(' ')[0])
      .sort(),
    ['test.1', 'test.2'],
    tasks.join('\n'),
  );
  assert.deepEqual(tasks.map((line) => /node\d/.exec(line)?.[0]).sort(), ['node1', 'node2'], tasks.join('\n'));
}

interface NetworkInspect {
  readonly IPAM: { readonly Config: readonly { readonly Subnet: string; readonly Gateway: string }[] };
  readonly Containers: Readonly<
    Record<string, { readonly Name: string; readonly IPv4Address: string; readonly MacAddress: string }>
  >;
  readonly Options: Readonly<Record<string, string>>;
  readonly Peers: readonly { readonly IP: string }[];
}

function checkNetwork(story: Story): void {
  const [network] = JSON.parse(story.find('node1', 'network inspect').stdout) as NetworkInspect[];
  assert.ok(network);
  assert.deepEqual(network.IPAM.Config, [{ Subnet: '10.0.1.0/24', Gateway: '10.0.1.1' }]);
  assert.equal(network.Options['com.docker.network.driver.overlay.vxlanid_list'], '4097');
  const own = Object.values(network.Containers).find((container) => container.Name.startsWith('test.'));
  assert.equal(own?.IPv4Address, `${story.addresses.node1}/24`);
  assert.match(own?.MacAddress ?? '', /^02:42:0a:00:01:/);
  assert.deepEqual(network.Peers.map((peer) => peer.IP).sort(), ['172.31.1.5', '172.31.1.6']);
}

function checkPing(story: Story): void {
  const ping = story.find('node1', 'ping -c 4').stdout;
  assert.match(ping, /4 packets transmitted, 4 packets received, 0% packet loss/, ping);
  const hops = rows(story.find('node1', 'traceroute').stdout);
  assert.equal(hops.length, 1, hops.join('\n'));
  assert.match(hops[0] ?? '', /^ 1 {2}test\.\d\.[0-9a-z]{25}\.uber-net \(10\.0\.1\.\d+\)/);
}

function checkNames(story: Story): void {
  assert.match(story.find('node1', 'nslookup test').stdout, /Address: 10\.0\.1\.2\b/);
  const tasks = story.find('node1', 'nslookup tasks.test').stdout;
  for (const address of Object.values(story.addresses)) assert.ok(tasks.includes(`Address: ${address}\n`), tasks);
  assert.match(
    story.find('node1', `nslookup ${story.addresses.node2}`).stdout,
    /name = test\.\d\.[0-9a-z]{25}\.uber-net/,
  );
  assert.match(story.find('node1', 'resolv.conf').stdout, /nameserver 127\.0\.0\.11\n/);
}

async function checkFrames(cluster: Cluster, client: Client, story: Story): Promise<void> {
  const network = cluster
    .must('node1', [client, 'network', 'ls', '-q', '--no-trunc', '--filter', 'name=uber-net'])
    .trim();
  const sandbox = `/proc/${cluster.lab.host('node1').holder}/root/run/skein/netns/1-${network.slice(0, 10)}`;
  const [bridge, vtep, underlay] = [
    Capture.start(sandbox, 'br0'),
    Capture.start(sandbox, 'vxlan0'),
    Capture.start(cluster.lab.host('node1').networkNamespace, 'eth0'),
  ];
  cluster.must('node1', [client, 'exec', story.containers.node1, 'ping', '-c', '1', story.addresses.node2]);
  for (const frames of [await bridge.stop(), await vtep.stop()]) {
    for (const type of ['echo request', 'echo reply'])
      assert.ok(
        frames.some((frame) => frame.icmp?.type === type),
        captured(frames),
      );
  }
  const frames = await underlay.stop();
  const request = frames.find((frame) => frame.vxlan?.inner.icmp?.type === 'echo request');
  assert.ok(request, captured(frames));
  assert.equal(request.sourceIp, '172.31.1.5');
  assert.equal(request.destinationIp, '172.31.1.6');
  assert.equal(request.udp?.destinationPort, 4789);
  assert.equal(request.vxlan?.vni, 4097);
  assert.equal(request.vxlan?.inner.sourceIp, story.addresses.node1);
  assert.equal(request.vxlan?.inner.destinationIp, story.addresses.node2);
  assert.ok(
    frames.some((frame) => frame.vxlan?.inner.icmp?.type === 'echo reply'),
    captured(frames),
  );
}

async function checkRemoval(cluster: Cluster, client: Client): Promise<void> {
  assert.equal(cluster.must('node1', [client, 'service', 'rm', 'test']), 'test\n');
  await eventually('no container is left', () => {
    const left = ['node1', 'node2'].map((host) => cluster.must(host, [client, 'container', 'ls', '-aq'])).join('');
    return left === '' ? true : undefined;
  });
  await eventually(
    'the network can be removed',
    () => cluster.run('node1', [client, 'network', 'rm', 'uber-net']).exitCode === 0 || undefined,
  );
  assert.ok(!cluster.must('node1', [client, 'network', 'ls']).includes('uber-net'));
  assert.ok(!cluster.must('node2', [client, 'network', 'ls']).includes('uber-net'));
}
