/** kill -9 of skeind, on either node, while two containers ping each other: no packet is lost, and the new daemon adopts. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { playStory } from './story.ts';
import { Cluster, eventually } from './support/cluster.ts';
import { startOutsideServer } from './support/outside.ts';

/** Long enough for gossip to declare the node dead; short of the three heartbeats after which its tasks are replaced, as its host answers. */
const awayMs = 7_000;
const pingIntervalSeconds = 0.1;

test('kill -9 of skeind on either node loses no packet of a ping, and the restarted daemon adopts its containers', async (context) => {
  await using cluster = await Cluster.start('restart', 2);
  await startOutsideServer(cluster);
  const story = await playStory(cluster, 'docker', () => undefined);

  for (const victim of ['node2', 'node1'] as const) {
    await context.test(`skeind of ${victim} is killed and started again`, async () => {
      const pid = cluster
        .must('node1', ['docker', 'inspect', '--format', '{{.State.Pid}}', story.containers.node1])
        .trim();
      const before = containerLines(cluster, victim);
      const ping = cluster.start('node1', [
        'nsenter',
        `--target=${pid}`,
        '--net',
        'busybox',
        'ping',
        '-i',
        String(pingIntervalSeconds),
        story.addresses.node2,
      ]);
      await sleep(1000);
      await cluster.lab.stopDaemon(victim, 'SIGKILL');
      await sleep(awayMs);
      await cluster.lab.startDaemon(victim);
      await eventually('the daemon has its containers', () => {
        assert.deepEqual(containerLines(cluster, victim), before);
        return true;
      });
      await sleep(5000);
      const { stdout } = await ping.stop('SIGINT');
      const [, sent, received] = /(\d+) packets transmitted, (\d+) packets received/.exec(stdout) ?? [];
      assert.ok(Number(sent) > awayMs / 1000 / pingIntervalSeconds / 2, stdout.slice(-300));
      assert.equal(received, sent, stdout.slice(-300));

      // It serves again: exec, DNS, and the cluster's view.
      const own = victim === 'node1' ? story.containers.node1 : story.containers.node2;
      assert.match(cluster.must(victim, ['docker', 'exec', own, 'nslookup', 'tasks.test']), /Address: 10\.0\.1\./);
      await eventually('both nodes are ready', () =>
        cluster.must('node1', 'docker node ls --format {{.Status}}').trim() === 'Ready\nReady' ? true : undefined,
      );
      await eventually('names of both tasks are known again', () => {
        const answer = cluster.must(victim, ['docker', 'exec', own, 'nslookup', 'tasks.test']);
        return Object.values(story.addresses).every((address) => answer.includes(`${address}\n`)) || undefined;
      });
    });
  }

  await context.test('a service made after the restarts converges and its tasks reach each other', () => {
    cluster.must(
      'node1',
      'docker service create --quiet --name later --network uber-net --replicas 2 ubuntu sleep infinity',
    );
    const task = cluster.must('node1', ['docker', 'exec', story.containers.node1, 'nslookup', 'tasks.later']);
    const addresses = [...task.matchAll(/Address: (10\.0\.1\.\d+)/g)].map((match) => match[1] ?? '');
    assert.equal(addresses.length, 2, task);
    for (const address of addresses)
      cluster.must('node1', ['docker', 'exec', story.containers.node1, 'ping', '-c', '1', '-W', '2', address]);
  });
});

function containerLines(cluster: Cluster, host: string): string[] {
  return cluster
    .must(host, ['docker', 'ps', '--no-trunc', '--format', '{{.ID}} {{.Names}} {{.State}}'])
    .trim()
    .split('\n')
    .sort();
}
