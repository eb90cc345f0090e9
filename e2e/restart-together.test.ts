/** Daemons of many hosts that are killed and come back at the same time: each host finds all others again, whoever is up first. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Cluster, eventually } from './support/cluster.ts';

const hosts = 5;
/** After the last daemon is up; the exchanges that there are in any case come each 30 s. */
const reunionMs = 12_000;

test('the daemons of all workers, of all hosts, and of every other host restart together, and every task knows all others', async (context) => {
  await using cluster = await Cluster.start('restart-together', hosts);
  const names = cluster.lab.hosts().map(({ name }) => name);
  const [manager = '', ...workers] = cluster.lab.hosts();
  assert.ok(manager);
  cluster.must(manager.name, ['docker', 'swarm', 'init', '--advertise-addr', manager.address]);
  const token = cluster.must(manager.name, 'docker swarm join-token -q worker').trim();
  for (const { name } of workers)
    cluster.must(name, ['docker', 'swarm', 'join', '--token', token, `${manager.address}:2377`]);
  cluster.must(manager.name, 'docker network create -d overlay red');
  cluster.must(
    manager.name,
    'docker service create --quiet --name red --network red --mode global ubuntu sleep infinity',
  );
  const tasks = names.map((host) => ({
    host,
    container: cluster.must(host, 'docker ps -q --filter label=com.docker.swarm.service.name=red').trim(),
  }));
  await everyoneKnowsAll(cluster, tasks);

  const together = { workers: names.slice(1), 'all hosts': names, 'every other host': names.filter((_, at) => at % 2) };
  for (const [who, victims] of Object.entries(together)) {
    await context.test(who, async () => {
      await Promise.all(victims.map((host) => cluster.lab.stopDaemon(host, 'SIGKILL')));
      await Promise.all(victims.map((host) => cluster.lab.startDaemon(host)));
      await everyoneKnowsAll(cluster, tasks);
    });
  }
});

/** Waits until each task's DNS has the addresses of all, and all of them answer. */
async function everyoneKnowsAll(
  cluster: Cluster,
  tasks: readonly { host: string; container: string }[],
): Promise<void> {
  const script =
    'nslookup tasks.red | sed -n "s/^Address: //p" | while read -r one; do ping -c 1 -W 1 $one >/dev/null && echo $one; done';
  await eventually(
    'every task knows and reaches all',
    () => {
      const seen = tasks.map(({ host, container }) => {
        const { stdout } = cluster.run(host, ['docker', 'exec', container, 'sh', '-c', script]);
        return `${host}: ${stdout.split('\n').filter(Boolean).length}`;
      });
      assert.deepEqual(
        seen,
        tasks.map(({ host }) => `${host}: ${tasks.length}`),
      );
      return true;
    },
    reunionMs,
  );
}
