/** Options of networks and of the swarm's data path, with traffic; and a network that grows while its tasks run. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Capture, captured } from './support/capture.ts';
import { Cluster, eventually } from './support/cluster.ts';

const dataPath = { node1: '172.31.1.105', node2: '172.31.1.106' } as const;
type Host = keyof typeof dataPath;
const hosts: readonly Host[] = ['node1', 'node2'];
/** An address beyond the underlay. */
const outside = '203.0.113.10';

test('network options, the data path, and growth', async (context) => {
  await using cluster = await Cluster.start('networks', 2);
  for (const host of hosts) cluster.must(host, `ip address add ${dataPath[host]}/24 dev eth0`);
  const docker = (host: Host, words: string): string => cluster.must(host, `docker ${words}`).trim();
  const inspect = (host: Host, words: string, format: string): string =>
    cluster.must(host, ['docker', ...words.split(' '), '--format', format]).trim();
  const refused = (words: string, message: RegExp): void => {
    const { exitCode, stderr } = cluster.run('node1', words);
    assert.match(stderr, message, words);
    assert.notEqual(exitCode, 0, words);
  };
  const run = (host: Host, name: string, network: string, options = ''): void => {
    docker(host, `run -d --name ${name} --network ${network} ${options}ubuntu sleep infinity`);
  };
  const reaches = (host: Host, name: string, target: string): Promise<true> =>
    eventually(`${name} on ${host} reaches ${target}`, () => {
      docker(host, `exec ${name} ping -c 1 -W 1 ${target}`);
      return true;
    });
  const addressOf = (host: Host, name: string, network: string): string =>
    inspect(host, `inspect ${name}`, `{{(index .NetworkSettings.Networks "${network}").IPAddress}}`);

  await context.test('what a swarm cannot have is refused in the words of Docker', () => {
    const init = 'docker swarm init --advertise-addr 172.31.1.5';
    refused(`${init} --data-path-port 80`, /Datapath port number is not in valid range \(1024-49151\) : 80/);
    refused(`${init} --data-path-addr 0.0.0.0`, /data path address must be a non-zero IP address or network interface/);
    refused(
      `${init} --default-addr-pool 10.77.0.0/16 --default-addr-pool-mask-length 30`,
      /subnet size is out of range: 30/,
    );
    refused(`${init} --default-addr-pool 10.77.0.0/25`, /invalid CIDR: "10\.77\.0\.0\/25"\. Subnet size is too small/);
  });

  await context.test('pool, mask length, data path address and port are those that were asked for', async () => {
    const pool = '--default-addr-pool 10.77.0.0/16 --default-addr-pool-mask-length 26';
    const path = `--data-path-addr ${dataPath.node1} --data-path-port 4999`;
    const init = docker('node1', `swarm init --advertise-addr 172.31.1.5 ${pool} ${path}`);
    const token = /SWMTKN\S+/.exec(init)?.[0] ?? '';
    docker(
      'node2',
      `swarm join --token ${token} --advertise-addr 172.31.1.6 --data-path-addr ${dataPath.node2} 172.31.1.5:2377`,
    );
    docker('node1', 'network create -d overlay --attachable --opt com.docker.network.driver.mtu=1300 pooled');
    assert.equal(inspect('node1', 'network inspect pooled', '{{(index .IPAM.Config 0).Subnet}}'), '10.77.0.64/26');
    for (const host of hosts) run(host, `pooled-${host}`, 'pooled');
    const capture = Capture.start(cluster.lab.host('node2').networkNamespace, 'eth0');
    await reaches('node1', 'pooled-node1', 'pooled-node2');
    const frames = await capture.stop();
    const ours = frames.filter(({ udp }) => udp?.destinationPort === 4999);
    const ways = new Set(ours.map(({ sourceIp, destinationIp }) => `${sourceIp} ${destinationIp}`));
    assert.deepEqual(
      [...ways].sort(),
      [`${dataPath.node1} ${dataPath.node2}`, `${dataPath.node2} ${dataPath.node1}`],
      captured(frames),
    );
    assert.match(docker('node1', 'exec pooled-node1 ip link show eth0'), /mtu 1250/);
    for (const host of hosts) docker(host, `rm -f pooled-${host}`);
  });

  await context.test(
    'several subnets, with range, gateway and reserved addresses; containers of all of them talk',
    async () => {
      const create = 'docker network create -d overlay --attachable';
      refused(`${create} --subnet 10.5.0.0/24 --ip-range 10.6.0.0/25 bad`, /no matching subnet for range/);
      refused(`${create} --subnet 10.5.0.0/24 --gateway 10.6.0.1 bad`, /no matching subnet for gateway/);
      refused(`${create} --subnet 10.5.0.0/24 --subnet 10.5.0.0/25 bad`, /overlap/);
      refused(`${create} --opt com.docker.network.driver.mtu=large bad`, /invalid MTU value: large/);
      const first = '--subnet 10.5.0.0/24 --ip-range 10.5.0.128/25 --gateway 10.5.0.200 --aux-address x=10.5.0.129';
      // Not by docker, which sends two subnets in either order; tasks have their addresses of the first.
      cluster.must('node1', `skein network create -d overlay --attachable ${first} --subnet 10.6.0.0/24 several`);
      for (const host of hosts) run(host, `range-${host}`, 'several');
      run('node2', 'other', 'several', '--ip 10.6.0.7 ');
      const given = hosts.map((host) => addressOf(host, `range-${host}`, 'several'));
      for (const address of given) {
        assert.match(address, /^10\.5\.0\.(12[89]|1[3-9]\d|2\d\d)$/);
        assert.ok(!['10.5.0.129', '10.5.0.200'].includes(address), address);
      }
      await reaches('node1', 'range-node1', 'range-node2');
      for (const host of hosts) await reaches(host, `range-${host}`, 'other');
      await reaches('node2', 'other', given[0] ?? '');
      for (const name of ['range-node2', 'other']) docker('node2', `rm -f ${name}`);
      docker('node1', 'rm -f range-node1');
    },
  );

  await context.test('an internal network has names and no way out; an encrypted one is refused in words', async () => {
    docker('node1', 'network create -d overlay --attachable --internal inner');
    for (const host of hosts) run(host, `inner-${host}`, 'inner');
    await reaches('node1', 'inner-node1', 'inner-node2');
    assert.doesNotMatch(docker('node1', 'exec inner-node1 ip route'), /default/);
    refused(`docker exec inner-node1 ping -c 1 -W 1 ${outside}`, /Network is unreachable/);
    for (const host of hosts) docker(host, `rm -f inner-${host}`);

    docker('node1', 'network create -d overlay --attachable --opt encrypted secret');
    refused(
      'docker run --rm --network secret ubuntu true',
      /cannot join secure network secret: .*IPsec ESP is missing/,
    );
    docker('node1', 'service create --quiet --detach --name secret --network secret --restart-condition none ubuntu');
    await eventually('the task says why', () => {
      const states = docker('node1', 'service ps --no-trunc --format {{.CurrentState}}/{{.Error}} secret');
      return /Rejected.*cannot join secure network secret/.test(states) || undefined;
    });
    docker('node1', 'service rm secret');
  });

  await context.test('a full network grows: its tasks run on, waiting ones come, and all of them talk', async () => {
    docker('node1', 'network create -d overlay --attachable --subnet 10.8.0.0/29 small');
    const running = (): string[] => docker('node1', 'service ps --filter desired-state=running -q web').split('\n');
    const states = (): string =>
      docker('node1', 'service ps --no-trunc --format {{.CurrentState}}/{{.Error}} --filter desired-state=running web');
    docker('node1', 'service create --quiet --detach --name web --network small --replicas 6 ubuntu sleep infinity');
    await eventually('the network is full', () => /no addresses left on network small/.test(states()) || undefined);
    const before = (): string[] => hosts.flatMap((host) => docker(host, 'ps -q --filter name=web').split('\n'));
    await eventually('three tasks run', () => (states().match(/Running/g) ?? []).length === 3 || undefined);
    const [first, ids] = [before().filter(Boolean), running()];

    refused(
      'skein network update --subnet-add 10.5.0.0/24 small',
      /overlaps subnet 10\.5\.0\.0\/24 of network several/,
    );
    refused('skein network update small', /nothing to update/);
    cluster.must('node1', 'skein network update --subnet-add 10.9.0.0/24 small');
    await eventually('all six run', () => (states().match(/Running/g) ?? []).length === 6 || undefined);
    assert.deepEqual(running().sort(), ids.sort(), 'no task was made anew');
    assert.deepEqual(
      first.filter((id) => !before().includes(id)),
      [],
      'no container was made anew',
    );
    const [old = ''] = first;
    const host = hosts.find((each) => docker(each, 'ps -q').includes(old)) ?? 'node1';
    await eventually('an old task reaches all six by name', () => {
      const answer = docker(host, `exec ${old} nslookup tasks.web`);
      const addresses = [...new Set(answer.match(/10\.[89]\.0\.\d+/g) ?? [])];
      assert.equal(addresses.length, 6, answer);
      assert.ok(addresses.some((address) => address.startsWith('10.9.')));
      for (const address of addresses) docker(host, `exec ${old} ping -c 1 -W 1 ${address}`);
      return true;
    });
    assert.equal(inspect('node1', 'network inspect small', '{{len .IPAM.Config}}'), '2');
    docker('node1', 'service rm web');
  });
});
