/**
 * Containers that come and go on an overlay network, many times over: the host ends as it began. `npm run test:soak`
 * does a thousand and looks at the daemon's memory, too; SKEIN_SOAK chooses another number.
 */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Cluster, eventually } from './support/cluster.ts';
import { differences, hostRemains } from './support/remains.ts';

const cycles = Number(process.env.SKEIN_SOAK ?? 40);
const atOnce = 4;
/** The first cycles make what stays: caches, compiled code, docker_gwbridge. */
const warmUpCycles = Math.ceil(cycles / 10);
/** The heap takes its size in the first hundreds; of so many cycles the second half may add no more than this. */
const memoryCycles = 1000;
const memorySlackKb = 24 * 1024;
const timeoutMs = 120_000 + cycles * 3000;
const command = 'nslookup keeper >/dev/null && ping -c 1 -W 2 keeper >/dev/null';

/** Swarm, gossip, and multicast that a new link makes by itself. */
const daemonsPorts = /port=(2377|7946) |dst=224\.|dst=ff02:/;

interface Counts {
  readonly descriptors: number;
  /** Tracked by the host, but for the daemons' own talk. */
  readonly flows: readonly string[];
  readonly memoryKb: number;
}

test(`${cycles} containers come and go on an overlay network, and nothing grows`, { timeout: timeoutMs }, async () => {
  await using cluster = await Cluster.start('soak', 2);
  const init = cluster.must('node1', 'docker swarm init --advertise-addr 172.31.1.5');
  const token = /SWMTKN\S+/.exec(init)?.[0] ?? '';
  cluster.must('node2', ['docker', 'swarm', 'join', '--token', token, '172.31.1.5:2377']);
  cluster.must('node1', 'docker network create -d overlay --attachable soak');
  // On the same host, so that the network stays there, too.
  cluster.must('node1', 'docker run -d --name keeper --network soak ubuntu sleep infinity');

  await comeAndGo(cluster, warmUpCycles);
  const before = counts(cluster);
  const had = await hostRemains(cluster, 'node1');
  await comeAndGo(cluster, Math.floor(cycles / 2) - warmUpCycles);
  const half = counts(cluster);
  await comeAndGo(cluster, Math.ceil(cycles / 2));
  const after = await eventually(
    'descriptors and flows are as many as before',
    () => {
      const now = counts(cluster);
      return now.descriptors <= before.descriptors && now.flows.length <= before.flows.length ? now : undefined;
    },
    90_000,
  ).catch((cause: unknown) =>
    assert.fail(`${JSON.stringify(before)} became ${JSON.stringify(counts(cluster))}: ${cause}`),
  );
  const left = async (): Promise<string[]> => differences(had, await hostRemains(cluster, 'node1'), () => false);
  // The manager takes a container's task back when the container has gone.
  await eventually('nothing is left', async () => (await left()).length === 0 || undefined).catch(async () =>
    assert.deepEqual(await left(), []),
  );
  console.log(`memory: ${before.memoryKb} kB, ${half.memoryKb} kB after half, ${after.memoryKb} kB at the end`);
  if (cycles < memoryCycles) return;
  assert.ok(after.memoryKb <= half.memoryKb + memorySlackKb, `${half.memoryKb} kB became ${after.memoryKb} kB`);
});

async function comeAndGo(cluster: Cluster, times: number): Promise<void> {
  let left = times;
  const worker = async (): Promise<void> => {
    while (left-- > 0) {
      const words = ['docker', 'run', '--rm', '--network', 'soak', 'ubuntu', 'sh', '-c', command];
      const { exitCode, stdout, stderr } = await cluster.start('node1', words).finished;
      assert.equal(exitCode, 0, `${stdout}${stderr}`);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

function counts(cluster: Cluster): Counts {
  const { daemon } = cluster.lab.host('node1');
  const status = readFileSync(`/proc/${daemon}/status`, 'utf8');
  return {
    descriptors: readdirSync(`/proc/${daemon}/fd`).length,
    flows: cluster
      .must('node1', 'cat /proc/net/nf_conntrack')
      .split('\n')
      .filter((line) => line !== '' && !daemonsPorts.test(line)),
    memoryKb: Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]),
  };
}
