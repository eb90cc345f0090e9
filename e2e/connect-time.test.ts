/** Virtual IPs at connect time, with real containers: their processes are in the cgroup that the programs are on. */
import assert from 'node:assert/strict';
import { access } from 'node:fs/promises';
import { test } from 'node:test';
import { Cluster, eventually } from './support/cluster.ts';

const webServer = 'mkdir -p /www; hostname > /www/index.html; exec httpd -f -p 80 -h /www';
const healthCheck = ['--health-cmd', 'wget -q -O /dev/null http://127.0.0.1/', '--health-interval', '500ms'];
const unifiedHierarchies = ['/sys/fs/cgroup/cgroup.controllers', '/sys/fs/cgroup/unified/cgroup.controllers'];

test('containers are led to tasks when they connect, also after the daemon was killed and is back', async (context) => {
  if (!(await hasUnifiedCgroups())) return context.skip('this host has no cgroups of version 2');
  await using cluster = await Cluster.start('connect-time', 1);
  cluster.must('node1', 'docker swarm init --advertise-addr 172.31.1.5');
  cluster.must('node1', 'docker network create -d overlay --attachable front');
  const create = ['docker', 'service', 'create', '-d', '-q', '--no-resolve-image', '--network', 'front'];
  cluster.must('node1', [
    ...create,
    '--name',
    'web',
    '--replicas',
    '3',
    ...healthCheck,
    'ubuntu',
    'sh',
    '-c',
    webServer,
  ]);
  cluster.must('node1', 'docker run -d --name client --network front ubuntu sleep 100000');
  const inClient = (script: string): string =>
    cluster.run('node1', ['docker', 'exec', 'client', 'sh', '-c', script]).stdout;
  const virtualIp = await eventually(
    'the name web',
    () => /Name:\s+web\nAddress: (\S+)/.exec(inClient('nslookup web'))?.[1],
  );
  /** @returns how often each task answered; nobody counts as an empty name. */
  const counts = (requests: number): Record<string, number> => {
    const request = `printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 ${virtualIp} 80 2>&1 | tail -n 1`;
    const answers = inClient(`for i in $(seq ${requests}); do ${request}; done`);
    return countOf(answers.trim().split('\n'));
  };
  await eventually('three tasks answer', () => (Object.keys(counts(6)).length === 3 ? true : undefined), 60_000);
  assert.deepEqual(Object.values(counts(30)).sort(), [10, 10, 10]);

  const connectionsTo = (): string[] => {
    const lines = inClient(`(sleep 2 | nc ${virtualIp} 80 &) ; sleep 0.5; netstat -tn`).split('\n');
    return lines.flatMap((line) => /\s(\S+):80\s+ESTABLISHED/.exec(line)?.[1] ?? []);
  };
  const assertLed = (when: string): void => {
    const others = connectionsTo();
    assert.ok(others.length > 0 && !others.includes(virtualIp), `${when}: ${JSON.stringify(others)}`);
  };
  assertLed('at first');
  await cluster.lab.stopDaemon('node1', 'SIGKILL');
  await cluster.lab.startDaemon('node1');
  await eventually('three tasks answer again', () => (Object.keys(counts(6)).length === 3 ? true : undefined), 60_000);
  assertLed('after the daemon was killed and is back');
  cluster.must('node1', 'docker service scale -d web=1');
  await eventually('one task is left', () => (/^[0-9a-f]{12}$/.test(Object.keys(counts(6)).join()) ? true : undefined));
  assert.deepEqual(Object.values(counts(10)), [10]);
  cluster.must('node1', 'docker service scale -d web=0');
  await eventually('nobody is there, and that is said at once', () => {
    const begin = performance.now();
    const said = inClient(`wget -q -O - http://${virtualIp}/ 2>&1`);
    const tookMs = performance.now() - begin;
    if (/refused/.test(said) && tookMs < 2000) return true;
    const pid = cluster.must('node1', 'docker inspect --format {{.State.Pid}} client').trim();
    const rules = cluster.must('node1', `nsenter --net=/proc/${pid}/ns/net nft list table ip skein`);
    throw new Error(`${said} after ${tookMs} ms; ${cluster.must('node1', 'docker ps -a')}${rules}`);
  });
});

function countOf(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

async function hasUnifiedCgroups(): Promise<boolean> {
  const found = await Promise.allSettled(unifiedHierarchies.map((path) => access(path)));
  return found.some(({ status }) => status === 'fulfilled');
}
