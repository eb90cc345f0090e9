/** After the last task and the network are gone, a host is what it was before: dockerd 20.10 leaves things behind here. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cluster, eventually } from './support/cluster.ts';
import { hostState } from './support/state.ts';

const tasks = 40;

test(`${tasks} tasks on two nodes, removed, leave no namespace, link, nft table, mount, process or address behind`, async () => {
  await using cluster = await Cluster.start('leftovers', 2);
  const hosts = ['node1', 'node2'];
  const init = cluster.must('node1', 'docker swarm init --advertise-addr 172.31.1.5');
  const token = /SWMTKN\S+/.exec(init)?.[0] ?? '';
  cluster.must('node2', ['docker', 'swarm', 'join', '--token', token, '172.31.1.5:2377']);

  const cycle = async (replicas: number): Promise<void> => {
    cluster.must('node1', 'docker network create -d overlay many');
    cluster.must('node1', [
      'docker',
      'service',
      'create',
      '--detach',
      '--name',
      'many',
      '--network',
      'many',
      '--replicas',
      String(replicas),
      'ubuntu',
      'sleep',
      'infinity',
    ]);
    await eventually(
      `${replicas} tasks run`,
      () =>
        cluster.must('node1', 'docker service ls --format {{.Replicas}}').trim() === `${replicas}/${replicas}`
          ? true
          : undefined,
      180_000,
    );
    cluster.must('node1', 'docker service rm many');
    await eventually(
      'the containers are gone',
      () => (hosts.every((host) => cluster.must(host, 'docker ps -aq') === '') ? true : undefined),
      120_000,
    );
    await eventually(
      'the network can be removed',
      () => cluster.run('node1', 'docker network rm many').exitCode === 0 || undefined,
    );
    await eventually('the network is gone on both', () =>
      hosts.every((host) => !cluster.must(host, 'docker network ls').includes('many')) ? true : undefined,
    );
  };

  // The first cycle makes what stays as long as the host is in a swarm: docker_gwbridge and its nft table.
  await cycle(2);
  const before = hosts.map((host) => hostState(cluster, host));
  await cycle(tasks);
  const after = await eventually('both hosts are as before', () => {
    const now = hosts.map((host) => hostState(cluster, host));
    assert.deepEqual(now, before);
    return now;
  });
  assert.deepEqual(after, before);

  // The subnet is free again, and rests: who asks for it has it, others get one that nobody had.
  cluster.must('node1', 'docker network create -d overlay other');
  assert.doesNotMatch(cluster.must('node1', 'docker network inspect other'), /"10\.0\.1\.0\/24"/);
  cluster.must('node1', 'docker network create -d overlay --subnet 10.0.1.0/24 again');
  assert.match(cluster.must('node1', 'docker network inspect again'), /"10\.0\.1\.0\/24"/);

  for (const host of [...hosts].reverse()) cluster.must(host, 'docker swarm leave --force');
  for (const host of hosts) {
    const { links = [], nftTables, namespaceFiles } = hostState(cluster, host);
    assert.deepEqual(links.map((link) => link.replace(/@.*/, '')).sort(), ['eth0', 'lo'], host);
    assert.deepEqual({ nftTables, namespaceFiles }, { nftTables: [], namespaceFiles: [] }, host);
  }
});
