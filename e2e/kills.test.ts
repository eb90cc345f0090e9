/**
 * kill -9 of skeind at random points of creates, scales, updates, removals and plain containers: what was asked comes about
 * and nothing is left over. `npm run test:kills` does a hundred; SKEIN_KILLS and SKEIN_KILLS_SEED choose others.
 */
import { test } from 'node:test';
import { Cluster } from './support/cluster.ts';
import { playKills } from './support/kills.ts';

const kills = Number(process.env.SKEIN_KILLS ?? 8);
const seed = Number(process.env.SKEIN_KILLS_SEED ?? Date.now() % 1_000_000);
/** For the making of the lab, and for each kill on a machine with much else to do. */
const timeoutMs = 120_000 + kills * 30_000;

test(`${kills} kills of skeind, seed ${seed}`, { timeout: timeoutMs }, async () => {
  await using cluster = await Cluster.start('kills', 2);
  const init = cluster.must('node1', 'docker swarm init --advertise-addr 172.31.1.5');
  const token = /SWMTKN\S+/.exec(init)?.[0] ?? '';
  cluster.must('node2', ['docker', 'swarm', 'join', '--token', token, '172.31.1.5:2377']);
  cluster.must('node1', ['docker', 'secret', 'create', 'word', '-'], { input: 'hush' });
  cluster.must('node1', ['docker', 'config', 'create', 'text', '-'], { input: 'as it is' });
  await playKills(cluster, { kills, seed, say: (line) => console.log(line) });
});
