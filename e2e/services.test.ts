/** Services as clients see them: virtual IPs, the routing mesh, ports of mode host, under load and changes. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Cluster, eventually, type Outcome } from './support/cluster.ts';
import type { LoadReport } from './support/load.ts';
import type { Seen } from './support/who.ts';

const load = join(import.meta.dirname, 'support/load.ts');
const who = join(import.meta.dirname, 'support/who.ts');
/** What a healthy one says. A task is published when it is healthy: without a check it would be before it listens. */
const healthCheck = ['--health-cmd', 'wget -q -O /dev/null http://127.0.0.1/', '--health-interval', '500ms'];
const webServer =
  'mkdir -p /www; hostname > /www/index.html; trap "exit 0" TERM; httpd -p 80 -h /www; sleep 100000 & wait';
/** Of chi-square with three degrees of freedom: exceeded by chance once in ten thousand. */
const chiSquareLimit = 21.1;

test('services behind virtual IPs, the mesh and ports of mode host', async (context) => {
  await using cluster = await Cluster.start('services', 2);
  await swarm(cluster);
  create(cluster, 'web', [
    '--network',
    'front',
    '--replicas',
    '4',
    '-p',
    '8080:80',
    ...healthCheck,
    'ubuntu',
    'sh',
    '-c',
    webServer,
  ]);
  create(cluster, 'client', ['--network', 'front', '--mode', 'global', 'ubuntu', 'sleep', '100000']);
  await running(cluster, 'web', 4);
  await running(cluster, 'client', 2);
  const client = task(cluster, 'node1', 'client');
  const virtualIp = await eventually(
    'the name web',
    () =>
      /Name:\s+web\nAddress: (\S+)/.exec(
        cluster.run('node1', ['docker', 'exec', client.id, 'nslookup', 'web']).stdout,
      )?.[1],
  );
  const url = `http://${virtualIp}/`;
  await eventually('all four tasks answer on all ways', async () => {
    const reports = await Promise.all([
      loadFrom(cluster, client.place, url, 1, 8),
      loadFrom(cluster, at('outside'), 'http://172.31.1.5:8080/', 1, 8),
      loadFrom(cluster, at('outside'), 'http://172.31.1.6:8080/', 1, 8),
    ]);
    return reports.every((report) => Object.keys(report.answers).length === 4) || undefined;
  });

  await context.test('a virtual IP is spread evenly over the tasks of both nodes, and answers ping', async () => {
    const report = await loadFrom(cluster, client.place, url, 2, 100);
    assertEven(report, 4);
    assert.match(
      cluster.must('node1', ['docker', 'exec', client.id, 'ping', '-c', '2', virtualIp]),
      /2 packets transmitted, 2 packets received/,
    );
  });

  await context.test("a service's own tasks reach it, themselves among them", async () => {
    assertEven(await loadFrom(cluster, task(cluster, 'node1', 'web').place, url, 1, 80), 4);
  });

  await context.test('a published port is reached from outside, each node, localhost and a container', async () => {
    const outside = await loadFrom(cluster, at('outside'), 'http://172.31.1.5:8080/', 1, 80);
    assertEven(outside, 4);
    for (const [where, place, address] of [
      ['outside', at('outside'), '172.31.1.6'],
      ['its own localhost', at('node1'), '127.0.0.1'],
      ['its own localhost of IPv6', at('node1'), '[::1]'],
      ['its own address', at('node1'), '172.31.1.5'],
      ['the other node', at('node1'), '172.31.1.6'],
      ['a container, its node', client.place, '172.31.1.5'],
      ['a container, the other node', client.place, '172.31.1.6'],
    ] as const) {
      const report = await loadFrom(cluster, place, `http://${address}:8080/`, 1, 8);
      assert.deepEqual(report.failures, {}, `from ${where}`);
      assert.equal(Object.keys(report.answers).length, 4, `from ${where}: ${JSON.stringify(report)}`);
    }
  });

  await context.test(
    "the task sees the client's own address, over TCP and UDP, on whichever node it is asked",
    async () => {
      const ports = [
        '-p',
        '8081:81',
        '-p',
        '8081:81/udp',
        '--stop-grace-period',
        '1s',
        '--constraint',
        'node.hostname==node2',
      ];
      create(cluster, 'who', [...ports, 'ubuntu', 'sleep', '100000']);
      await running(cluster, 'who', 1);
      const server = await serveWho(cluster, 'node2', 'who');
      const own = (place: Place): string =>
        /src (\S+)/.exec(cluster.must(place.host, [...place.enter, ...'ip route get 172.31.1.6'.split(' ')]))?.[1] ??
        '';
      const ingress = /^10\.0\.0\.\d+$/;
      const asked = [
        ['outside, by the other node', at('outside'), '172.31.1.5', own(at('outside'))],
        ["outside, by the task's node", at('outside'), '172.31.1.6', own(at('outside'))],
        ['the other node itself', at('node1'), '172.31.1.5', '172.31.1.5'],
        ["the task's node itself", at('node2'), '172.31.1.6', '172.31.1.6'],
        ["the other node, by the task's", at('node1'), '172.31.1.6', '172.31.1.5'],
        ["the task's node, by the other", at('node2'), '172.31.1.5', '172.31.1.6'],
        ["a container, by the task's node", client.place, '172.31.1.6', '172.31.1.5'],
        ['a container, by its own node: as that', client.place, '172.31.1.5', ingress],
        ["the other node's localhost: as that", at('node1'), '127.0.0.1', ingress],
        ['the task, by its own node: as that', task(cluster, 'node2', 'who').place, '172.31.1.6', ingress],
      ] as const;
      await eventually('each is seen with its address', async () => {
        const answers = await Promise.all(asked.map(([, place, address]) => askWho(cluster, place, address, 8081)));
        for (const [index, [where, , , seen]] of asked.entries()) {
          for (const answer of Object.values(answers[index] ?? {})) {
            const isSeen = typeof seen === 'string' ? answer === seen : seen.test(answer);
            assert.ok(isSeen, `${where}: ${JSON.stringify(answers[index])}, not ${seen}`);
          }
        }
        return true;
      });
      await server.stop('SIGKILL');
      cluster.must('node1', 'docker service update -d -q --force --label-add skein.ingress.source=masquerade who');
      const before = task(cluster, 'node2', 'who').id;
      await eventually('a new task', () => task(cluster, 'node2', 'who').id !== before || undefined);
      await running(cluster, 'who', 1);
      const again = await serveWho(cluster, 'node2', 'who');
      await eventually("with the label it sees the entrance's", async () => {
        for (const address of ['172.31.1.5', '172.31.1.6']) {
          const answers = await askWho(cluster, at('outside'), address, 8081);
          assert.ok(
            Object.values(answers).every((answer) => ingress.test(answer)),
            JSON.stringify(answers),
          );
        }
        return true;
      });
      await again.stop('SIGKILL');
      cluster.must('node1', 'docker service rm who');
    },
  );

  await context.test('scaling down and up again and a rolling update lose no request', async () => {
    const inside = loadFrom(cluster, client.place, url, 25, 50);
    const outside = loadFrom(cluster, at('outside'), 'http://172.31.1.6:8080/', 25, 30);
    await sleep(500);
    cluster.must('node1', 'docker service scale -d web=2');
    await sleep(5000);
    cluster.must('node1', 'docker service scale -d web=4');
    await sleep(4000);
    cluster.must('node1', 'docker service update -d -q --force --update-order start-first --update-delay 0s web');
    for (const report of await Promise.all([inside, outside])) {
      assert.deepEqual(report.failures, {}, JSON.stringify(report));
    }
    await running(cluster, 'web', 4);
  });

  await context.test('our tables are back when others flush them, and theirs stay as they are', async () => {
    cluster.must('node1', 'docker run -d --rm --name plain -p 8090:80 ubuntu sleep 1000');
    cluster.must('node1', 'nft add table ip foreign');
    const host = ['skein', 'skein-ports', 'skein-local'].map((name) => ({ enter: [] as string[], name }));
    const inside = ['skein', 'skein-dns'].map((name) => ({ enter: client.place.enter, name }));
    const read = ({ enter, name }: { enter: readonly string[]; name: string }): string =>
      cluster.run('node1', [...enter, 'nft', 'list', 'table', 'ip', name]).stdout;
    const tables = [...host, ...inside, { enter: [], name: 'foreign' }];
    const before = tables.map(read);
    for (const { enter, name } of host) cluster.must('node1', [...enter, 'nft', 'delete', 'table', 'ip', name]);
    cluster.must('node1', [...client.place.enter, 'nft', 'flush', 'ruleset']);
    await eventually('all tables are as they were', () => {
      assert.deepEqual(tables.map(read), before);
      return true;
    });
    assert.match(cluster.must('node1', ['docker', 'exec', client.id, 'nslookup', 'web']), /Name:\s+web/);
    for (const [place, target] of [
      [client.place, url],
      [at('node1'), 'http://127.0.0.1:8080/'],
    ] as const) {
      assertEven(await loadFrom(cluster, place, target, 1, 40), 4);
    }
    cluster.must('node1', 'docker rm -f plain');
    cluster.must('node1', 'nft delete table ip foreign');
  });

  await context.test('kill -9 of the daemon and its restart interrupt nothing', async () => {
    const inside = loadFrom(cluster, client.place, url, 12, 50);
    const outside = loadFrom(cluster, at('outside'), 'http://172.31.1.5:8080/', 12, 30);
    await sleep(1000);
    process.kill(cluster.lab.host('node1').daemon ?? 0, 'SIGKILL');
    await sleep(2000);
    await cluster.lab.startDaemon('node1');
    for (const report of await Promise.all([inside, outside])) {
      assert.deepEqual(report.failures, {}, JSON.stringify(report));
      assert.equal(Object.keys(report.answers).length, 4, JSON.stringify(report));
    }
  });

  await context.test('mode host publishes on the nodes of its tasks; what is taken is refused by name', async () => {
    const ports = ['--publish', 'mode=host,published=9090,target=80', '--publish', 'mode=host,target=80'];
    create(cluster, 'here', ['--constraint', 'node.hostname==node2', ...ports, 'ubuntu', 'sh', '-c', webServer]);
    await running(cluster, 'here', 1);
    const listed = cluster.must('node1', 'docker service ps here --format {{.Ports}}');
    const chosen = /\*:9090->80\/tcp,\*:(\d+)->80\/tcp/.exec(listed)?.[1];
    assert.ok(chosen, listed);
    for (const port of ['9090', chosen]) {
      const report = await loadFrom(cluster, at('outside'), `http://172.31.1.6:${port}/`, 1, 4);
      assert.deepEqual(report.failures, {}, `${port}: ${JSON.stringify(report)}`);
    }
    const elsewhere = await loadFrom(cluster, at('outside'), 'http://172.31.1.5:9090/', 1, 4);
    assert.deepEqual(elsewhere.answers, {});
    const holder = cluster.start('node2', ['busybox', 'nc', '-l', '-p', '7070']);
    await sleep(300);
    create(cluster, 'clash', [
      ...['--constraint', 'node.hostname==node2', '--publish', 'mode=host,published=7070,target=80'],
      ...['ubuntu', 'sleep', '1000'],
    ]);
    await eventually('the task says who has the port', () => {
      const told = cluster.must('node1', 'docker service ps --no-trunc --format {{.Error}} clash');
      return /port 7070\/tcp of this host is held by busybox \(process \d+\)/.test(told) || undefined;
    });
    await holder.stop('SIGKILL');
    const run = ['docker', 'run', '-d', '--rm', 'ubuntu', 'sleep', '1000'];
    const plain = (port: string, name: string): string[] => [
      ...run.slice(0, 4),
      '-p',
      port,
      '--name',
      name,
      ...run.slice(4),
    ];
    assert.match(
      cluster.run('node2', plain('127.0.0.1:8080:80', 'late')).stderr,
      /Bind for 127\.0\.0\.1:8080 failed: port is already allocated: it is held by service web in the routing mesh/,
    );
    assert.match(
      cluster.run('node2', plain('9090:80', 'late')).stderr,
      /port is already allocated: it is held by task here\.1\.\w+/,
    );
    cluster.must('node2', plain('7071:80', 'first'));
    cluster.must('node1', [
      ...['docker', 'service', 'update', '-d', '-q', '--publish-rm', '80'],
      ...['--publish-add', 'mode=host,published=7071,target=80', 'clash'],
    ]);
    await eventually('the task says that the container has the port', () => {
      const told = cluster.must('node1', 'docker service ps --no-trunc --format {{.Error}} clash');
      return /port 7071\/tcp of this host is held by container first/.test(told) || undefined;
    });
    cluster.must('node2', 'docker rm -f first');
  });

  await context.test('with its services everything of them goes', async () => {
    cluster.must('node1', 'docker service rm web client here clash');
    await eventually('no container is left', () => {
      const left = ['node1', 'node2'].map((host) => cluster.must(host, 'docker ps -aq')).join('');
      return left === '' || undefined;
    });
    for (const host of ['node1', 'node2']) {
      await eventually(`no published port is left on ${host}`, () => {
        // The default bridge, once made, stays.
        const tables = cluster.must(host, 'nft list tables').replace('table ip skein-local\n', '').trim().split('\n');
        if (tables.sort().join() !== 'table ip skein,table ip6 skein')
          throw new Error(cluster.must(host, 'nft list ruleset'));
        return true;
      });
      const sockets = cluster.must(host, 'busybox netstat -ltn');
      assert.ok(!/:(8080|9090|7070) /.test(sockets), sockets);
    }
  });
});

/** Where a client runs: a host of the lab, and the words that enter a container's network there. */
interface Place {
  readonly host: string;
  readonly enter: readonly string[];
}
const at = (host: string): Place => ({ host, enter: [] });

interface Task {
  readonly id: string;
  readonly place: Place;
}

async function swarm(cluster: Cluster): Promise<void> {
  cluster.must('node1', 'docker swarm init --advertise-addr 172.31.1.5');
  const token = cluster.must('node1', 'docker swarm join-token -q worker').trim();
  cluster.must('node2', ['docker', 'swarm', 'join', '--token', token, '172.31.1.5:2377']);
  cluster.must('node1', 'docker network create -d overlay front');
}

function create(cluster: Cluster, name: string, words: readonly string[]): void {
  cluster.must('node1', ['docker', 'service', 'create', '-d', '-q', '--no-resolve-image', '--name', name, ...words]);
}

async function running(cluster: Cluster, service: string, count: number): Promise<void> {
  await eventually(
    `${count} tasks of ${service}`,
    () => {
      const states = cluster.must(
        'node1',
        `docker service ps --filter desired-state=running --format {{.CurrentState}} ${service}`,
      );
      const tasks = states.trim().split('\n');
      return (tasks.length === count && tasks.every((state) => state.startsWith('Running'))) || undefined;
    },
    60_000,
  );
}

/** A task of the service on the host. */
function task(cluster: Cluster, host: string, service: string): Task {
  const filter = `label=com.docker.swarm.service.name=${service}`;
  const [id = ''] = cluster.must(host, ['docker', 'ps', '-q', '--filter', filter]).trim().split('\n');
  const pid = cluster.must(host, ['docker', 'inspect', '--format', '{{.State.Pid}}', id]).trim();
  return { id, place: { host, enter: ['nsenter', '--target', pid, '--net', '--'] } };
}

/** Answers in the network of the service's task on the host. */
async function serveWho(cluster: Cluster, host: string, service: string): Promise<ReturnType<Cluster['start']>> {
  const { enter } = task(cluster, host, service).place;
  const server = cluster.start(host, [...enter, process.execPath, who, 'serve', '81']);
  await eventually(
    'the server listens',
    () => cluster.must(host, [...enter, ...'busybox netstat -lun'.split(' ')]).includes(':81 ') || undefined,
  );
  return server;
}

async function askWho(cluster: Cluster, { host, enter }: Place, address: string, port: number): Promise<Seen> {
  const outcome = await cluster.start(host, [...enter, process.execPath, who, 'ask', address, String(port)]).finished;
  assert.equal(outcome.exitCode, 0, outcome.stderr);
  return JSON.parse(outcome.stdout) as Seen;
}

/** Runs the load client at a place. */
async function loadFrom(
  cluster: Cluster,
  { host, enter }: Place,
  url: string,
  seconds: number,
  perSecond: number,
): Promise<LoadReport> {
  const words = [...enter, process.execPath, load, url, String(seconds), String(perSecond)];
  const outcome: Outcome = await cluster.start(host, words).finished;
  assert.equal(outcome.exitCode, 0, outcome.stderr);
  return JSON.parse(outcome.stdout) as LoadReport;
}

function assertEven(report: LoadReport, tasks: number): void {
  assert.deepEqual(report.failures, {}, JSON.stringify(report));
  const counts = Object.values(report.answers);
  assert.equal(counts.length, tasks, JSON.stringify(report));
  const expected = report.sent / tasks;
  const chiSquare = counts.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
  assert.ok(chiSquare < chiSquareLimit, JSON.stringify(report));
}
