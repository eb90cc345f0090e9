/** Hosts that are gone are replaced within seconds; daemons that are silent, and hosts that are back soon, lose no task. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, eventually } from './support/cluster.ts';

const hosts = ['node1', 'node2', 'node3', 'node4'] as const;
/** Shorter than what a host has to be silent for: 1.4 s until the gossip holds it for dead, 1.5 s until the manager does. */
const blinkMs = 2_000;
/** Long enough for gossip to hold the daemon for dead; short of three heartbeats. */
const silentMs = 7_000;
/** How soon tasks of a dead host should run elsewhere is 6 s; on a machine with much else to do, sooner than by heartbeats. */
const replacedMs = 12_000;

test('what a host, and what its daemon, may be away for', { timeout: 240_000 }, async (context) => {
  await using cluster = await Cluster.start('deaths', hosts.length);
  const docker = (words: string) => cluster.must('node1', `docker ${words}`).trim();
  docker('swarm init --advertise-addr 172.31.1.5');
  const token = docker('swarm join-token -q worker');
  for (const host of hosts.slice(1)) cluster.must(host, `docker swarm join --token ${token} 172.31.1.5:2377`);
  docker('service create --detach --quiet --no-resolve-image --name web --replicas 8 ubuntu sleep 10000');
  const tasks = () =>
    docker('service ps --filter desired-state=running --format {{.ID}}|{{.Node}}|{{.CurrentState}} web');
  const running = () =>
    tasks()
      .split('\n')
      .filter((line) => line.includes('|Running'));
  await eventually('eight tasks run', () => running().length === 8 || undefined);
  const ids = () =>
    running()
      .map((line) => line.split('|')[0])
      .sort();
  const lost = () => cluster.must('node1', 'docker node ls').includes('Down');
  const setReachable = (host: string, reachable: boolean) =>
    cluster.must('underlay', [
      'ip',
      'link',
      'set',
      `to-${host}`,
      ...(reachable ? ['master', 'underlay0'] : ['nomaster']),
    ]);
  const before = ids();
  const untouched = async (why: string) => {
    await sleep(3_000);
    assert.deepEqual(ids(), before, why);
    await eventually('all nodes are ready', () => !/Down|Unknown/.test(docker('node ls')) || undefined);
  };

  await context.test(`a host that is off the network for ${blinkMs} ms keeps its tasks`, async () => {
    setReachable('node4', false);
    await sleep(blinkMs);
    setReachable('node4', true);
    await untouched('after the host was away');
  });

  await context.test(`a daemon that stands still for ${silentMs} ms keeps its tasks`, async () => {
    const { daemon } = cluster.lab.host('node3');
    assert.ok(daemon !== undefined);
    process.kill(daemon, 'SIGSTOP');
    try {
      await sleep(silentMs);
      assert.equal(lost(), false);
    } finally {
      process.kill(daemon, 'SIGCONT');
    }
    await untouched('after the daemon stood still');
  });

  await context.test(`a daemon that is killed, and back after ${silentMs} ms, keeps its tasks`, async () => {
    await cluster.lab.stopDaemon('node2', 'SIGKILL');
    await sleep(silentMs);
    assert.equal(lost(), false);
    await cluster.lab.startDaemon('node2');
    await untouched('after the daemon was killed');
  });

  await context.test(
    'the tasks of a host that is gone run elsewhere before its heartbeats are missed',
    async (step) => {
      const begin = Date.now();
      setReachable('node4', false);
      await eventually('the node is down', () => lost() || undefined, replacedMs);
      const downMs = Date.now() - begin;
      const elsewhere = () => running().length === 8 && !running().some((line) => line.includes('|node4|'));
      await eventually('its tasks run elsewhere', () => elsewhere() || undefined, replacedMs);
      const elapsed = Date.now() - begin;
      step.diagnostic(`down after ${downMs} ms, all tasks elsewhere after ${elapsed} ms`);
      assert.ok(elapsed < replacedMs, `${elapsed} ms`);
      setReachable('node4', true);
      await eventually('it is back', () => !lost() || undefined);
      await eventually(
        'and its old tasks are gone',
        () => cluster.must('node4', 'docker ps --quiet') === '' || undefined,
      );
    },
  );
});
