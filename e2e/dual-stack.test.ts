/** Overlay networks with IPv6: addresses, neighbours, names, virtual IPs, plain containers, and what stays without it. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { Cluster, eventually } from './support/cluster.ts';
import type { Seen } from './support/who.ts';

const hosts = ['node1', 'node2'] as const;
const who = join(import.meta.dirname, 'support/who.ts');
/** IPv6 of the hosts, besides the IPv4 that the nodes talk over. */
const underlay = { node1: 'fd00:31::5', node2: 'fd00:31::6', outside: 'fd00:31::1' } as const;
const webServer = 'hostname > /tmp/index.html; exec httpd -f -p 80 -h /tmp';

test('a dual-stack network between two nodes', async (context) => {
  await using cluster = await Cluster.start('dual-stack', 2);
  for (const [host, address] of Object.entries(underlay)) {
    cluster.must(host, ['ip', 'address', 'add', `${address}/64`, 'dev', 'eth0', 'nodad']);
  }
  cluster.must('node1', 'docker swarm init --advertise-addr 172.31.1.5');
  const token = cluster.must('node1', 'docker swarm join-token -q worker').trim();
  cluster.must('node2', ['docker', 'swarm', 'join', '--token', token, '172.31.1.5:2377']);
  cluster.must(
    'node1',
    'docker network create -d overlay --attachable --ipv6 --subnet 10.66.0.0/24 --subnet fd00:66::/64 both',
  );
  cluster.must('node1', 'docker network create -d overlay four');
  create(cluster, [
    '--name',
    'web',
    '--network',
    'both',
    '--mode',
    'global',
    '--stop-grace-period',
    '1s',
    'ubuntu',
    'sh',
    '-c',
    webServer,
  ]);
  create(cluster, [
    '--name',
    'old',
    '--network',
    'four',
    '--mode',
    'global',
    '--stop-grace-period',
    '1s',
    'ubuntu',
    'sleep',
    '100000',
  ]);
  const web = { node1: await taskOn(cluster, 'node1', 'web'), node2: await taskOn(cluster, 'node2', 'web') };
  const exec = (host: 'node1' | 'node2', ...words: string[]) =>
    cluster.must(host, ['docker', 'exec', web[host].id, ...words]);
  // busybox's wget, statically linked, does not survive an IPv6 address.
  const ask = (host: 'node1' | 'node2', address: string): string =>
    exec(host, 'sh', '-c', `printf 'GET /index.html HTTP/1.0\\r\\n\\r\\n' | nc -w 3 ${address} 80 | tail -n 1`).trim();
  const virtualIps: string[] = JSON.parse(
    cluster.must('node1', ['docker', 'service', 'inspect', '--format', '{{json .Endpoint.VirtualIPs}}', 'web']),
  ).map(({ Addr }: { Addr: string }) => Addr);
  const virtualIpv6 = virtualIps.find((address) => address.includes(':'))?.split('/')[0] ?? '';

  await context.test('network, service and containers show their addresses of both families', () => {
    const [network] = JSON.parse(cluster.must('node1', 'docker network inspect both'));
    assert.equal(network.EnableIPv6, true);
    const subnets = new Set(network.IPAM.Config);
    const asked = [
      { Subnet: '10.66.0.0/24', Gateway: '10.66.0.1' },
      { Subnet: 'fd00:66::/64', Gateway: 'fd00:66::1' },
    ];
    assert.deepEqual(subnets, new Set(asked), 'in either order: docker sends them so');
    assert.equal(network.Containers[web.node1.longId].IPv6Address, `${web.node1.ipv6}/64`);
    const [onWorker] = JSON.parse(cluster.must('node2', 'docker network inspect both'));
    assert.deepEqual(onWorker.IPAM.Config, network.IPAM.Config);
    assert.deepEqual([onWorker.EnableIPv6, virtualIps.length], [true, 2]);
    assert.match(virtualIpv6, /^fd00:66::/);
    assert.notEqual(web.node1.ipv6, web.node2.ipv6);
  });

  await context.test('tasks reach each other over IPv6 by address, both ways', async () => {
    for (const [from, to] of [
      ['node1', 'node2'],
      ['node2', 'node1'],
    ] as const) {
      await eventually(`${to} answers ${from}`, () => ask(from, web[to].ipv6) || undefined);
      assert.match(exec(from, 'ping', '-c', '2', '-W', '2', web[to].ipv6), / 0% packet loss/);
    }
  });

  await context.test('names have AAAA records, addresses have names', async () => {
    const name = cluster.must('node2', ['docker', 'inspect', '--format', '{{.Name}}', web.node2.id]).trim().slice(1);
    const lookup = (asked: string, type: string) =>
      cluster.run('node1', ['docker', 'exec', web.node1.id, 'nslookup', `-type=${type}`, asked]).stdout;
    await eventually('both tasks are known', () => {
      const told = lookup('tasks.web', 'aaaa');
      return told.includes(web.node1.ipv6) && told.includes(web.node2.ipv6) ? true : undefined;
    });
    assert.deepEqual(addressesIn(lookup('web', 'aaaa')), [virtualIpv6]);
    assert.deepEqual(addressesIn(lookup(name, 'aaaa')), [web.node2.ipv6]);
    assert.match(exec('node1', 'ping', '-6', '-c', '1', '-W', '2', name), / 0% packet loss/);
    const reverse = reverseName(web.node2.ipv6);
    assert.ok(lookup(reverse, 'ptr').includes(`name = ${name}.both`), lookup(reverse, 'ptr'));
  });

  await context.test('a virtual IP leads to the tasks of both nodes, and answers ping', async () => {
    for (const host of hosts) {
      const answers = new Set<string>();
      await eventually(`both tasks answer ${host}`, () => {
        answers.add(ask(host, virtualIpv6));
        return (answers.has(web.node1.id) && answers.has(web.node2.id)) || undefined;
      });
      assert.match(exec(host, 'ping', '-c', '1', '-W', '2', virtualIpv6), / 0% packet loss/);
    }
  });

  await context.test('a plain container takes --ip6 and is known by its alias', async () => {
    const words = ['--network', 'both', '--ip6', 'fd00:66::beef', '--network-alias', 'db', 'ubuntu', 'sleep', '100000'];
    const id = cluster.must('node2', ['docker', 'run', '-d', '--name', 'plain', ...words]).trim();
    const [inspected] = JSON.parse(cluster.must('node2', ['docker', 'inspect', id]));
    const { GlobalIPv6Address, GlobalIPv6PrefixLen, IPAMConfig } = inspected.NetworkSettings.Networks.both;
    assert.deepEqual(
      [GlobalIPv6Address, GlobalIPv6PrefixLen, IPAMConfig],
      ['fd00:66::beef', 64, { IPv6Address: 'fd00:66::beef' }],
    );
    await eventually('db answers', () => {
      const told = cluster.run('node1', ['docker', 'exec', web.node1.id, 'ping', '-6', '-c', '1', '-W', '2', 'db']);
      return told.stdout.includes(' 0% packet loss') || undefined;
    });
    assert.match(cluster.must('node2', ['docker', 'exec', id, 'ping', '-c', '1', web.node1.ipv6]), / 0% packet loss/);
    cluster.must('node2', 'docker rm -f plain');
    await eventually('its row has gone', () => !rows(cluster, 'node1').includes('fd00:66::beef') || undefined);
    assert.ok(rows(cluster, 'node1').includes(web.node2.ipv6));
  });

  await context.test('a network without IPv6 has none', async () => {
    const old = await taskOn(cluster, 'node1', 'old');
    const links = cluster.must('node1', ['docker', 'exec', old.id, 'ip', '-6', 'address', 'show', 'dev', 'eth0']);
    assert.equal(links.trim(), '', links);
    assert.equal(old.ipv6, '');
    const told = cluster.run('node1', ['docker', 'exec', old.id, 'nslookup', '-type=aaaa', 'old']).stdout;
    assert.deepEqual(addressesIn(told), [], told);
  });

  await context.test('IPv6 flows go on while the daemon is killed and started again', async () => {
    const words = ['docker', 'exec', web.node1.id, 'ping', '-c', '8', '-i', '0.5', '-W', '2', web.node2.ipv6];
    const ping = cluster.start('node1', words);
    await cluster.lab.stopDaemon('node2', 'SIGKILL');
    await cluster.lab.startDaemon('node2');
    const { stdout } = await ping.finished;
    assert.match(stdout, / 0% packet loss/, stdout);
  });

  await context.test(
    "published ports over IPv6: the task sees the client's address, in the mesh and in mode host",
    async () => {
      const at = (port: number, mode: string): string[] =>
        ['tcp', 'udp'].flatMap((protocol) => ['-p', `published=${port},target=81,protocol=${protocol},mode=${mode}`]);
      const words = ['--stop-grace-period', '1s', '--constraint', 'node.hostname==node2', 'ubuntu', 'sleep', '100000'];
      create(cluster, ['--name', 'meshed', ...at(8081, 'ingress'), ...words]);
      create(cluster, ['--name', 'direct', ...at(8082, 'host'), ...words]);
      const inside = async (host: string, service: string): Promise<string[]> => {
        const { id } = await taskOn(cluster, host, service);
        const pid = cluster.must(host, ['docker', 'inspect', '--format', '{{.State.Pid}}', id]).trim();
        return ['nsenter', '--target', pid, '--net', '--', process.execPath, who];
      };
      const container = await inside('node1', 'web');
      const serving: Awaited<ReturnType<typeof serve>>[] = [];
      const serve = async (address: string) => {
        const enters = await Promise.all(['meshed', 'direct'].map((service) => inside('node2', service)));
        return enters.map((enter) => cluster.start('node2', [...enter, 'serve', '81', address]));
      };
      const sees = async (seen: RegExp, host: string, words: readonly string[], address: string, port: number) =>
        eventually(`${port}: ${host} by ${address} is seen as ${seen}`, async () => {
          const { stdout } = await cluster.start(host, [...words, 'ask', address, `${port}`]).finished;
          for (const answer of Object.values(JSON.parse(stdout) as Seen)) assert.match(answer, seen, stdout);
          return true;
        });
      const host = [process.execPath, who];
      const exactly = (address: string): RegExp => new RegExp(`^${address}$`);
      serving.push(await serve('0.0.0.0'));
      const asNode = /^(10\.0\.0|172\.\d+\.0)\.\d+$/;
      await sees(asNode, 'outside', host, underlay.node1, 8081);
      await sees(asNode, 'outside', host, underlay.node2, 8082);
      for (const each of serving.splice(0).flat()) await each.stop('SIGKILL');
      serving.push(await serve('::'));
      await Promise.all([
        sees(exactly(underlay.outside), 'outside', host, underlay.node1, 8081),
        sees(exactly(underlay.outside), 'outside', host, underlay.node2, 8081),
        sees(exactly(underlay.outside), 'outside', host, underlay.node2, 8082),
        sees(exactly(underlay.node1), 'node1', host, underlay.node1, 8081),
        sees(exactly(underlay.node1), 'node1', host, underlay.node2, 8082),
        sees(exactly(underlay.node2), 'node2', host, underlay.node2, 8082),
        sees(exactly(underlay.node1), 'node1', container, underlay.node2, 8081),
        sees(exactly(underlay.node1), 'node1', container, underlay.node2, 8082),
        sees(/^fd[0-9a-f:]+$/, 'node1', container, underlay.node1, 8081),
        sees(asNode, 'node1', host, '::1', 8081),
        sees(exactly('172.31.1.1'), 'outside', host, '172.31.1.5', 8081),
      ]);
      for (const each of serving.flat()) await each.stop('SIGKILL');
      cluster.must('node1', 'docker service rm meshed direct');
      for (const service of ['meshed', 'direct']) await cluster.untilGone(service);
      for (const name of hosts) {
        await eventually(
          `no rule of it is left on ${name}`,
          () => cluster.run(name, 'nft list table ip6 skein-ports').exitCode !== 0 || undefined,
        );
      }
    },
  );

  await context.test('with its last task everything of the network goes', async () => {
    const namespaces = hosts.map((host) => namespaceOf(cluster, host) ?? assert.fail(`${host} is not on the network`));
    cluster.must('node1', 'docker service rm web old');
    for (const service of ['web', 'old']) await cluster.untilGone(service);
    await eventually(
      'the network can be removed',
      () => cluster.run('node1', 'docker network rm both').exitCode === 0 || undefined,
    );
    for (const [index, host] of hosts.entries())
      await eventually(
        `no namespace of it is left on ${host}`,
        () => cluster.run(host, ['test', '-e', namespaces[index] ?? '']).exitCode === 1 || undefined,
      );
  });
});

interface Task {
  readonly id: string;
  readonly longId: string;
  readonly ipv6: string;
}

function create(cluster: Cluster, words: readonly string[]): void {
  cluster.must('node1', ['docker', 'service', 'create', '-d', '-q', '--no-resolve-image', ...words]);
}

async function taskOn(cluster: Cluster, host: string, service: string): Promise<Task> {
  const filter = `label=com.docker.swarm.service.name=${service}`;
  return await eventually(
    `a task of ${service} on ${host}`,
    () => {
      const id = cluster.must(host, ['docker', 'ps', '-q', '--filter', filter]).trim();
      if (id === '') return undefined;
      const [inspected] = JSON.parse(cluster.must(host, ['docker', 'inspect', id]));
      const { both, four } = inspected.NetworkSettings.Networks;
      return { id, longId: inspected.Id, ipv6: (both ?? four)?.GlobalIPv6Address ?? '' };
    },
    60_000,
  );
}

/** The overlay network's namespace on a host; undefined when the host has none. */
function namespaceOf(cluster: Cluster, host: string): string | undefined {
  const directory = '/run/skein/netns';
  const names = cluster.must(host, ['ls', directory]).split('\n');
  const id = cluster.run('node1', 'docker network inspect --format {{.Id}} both').stdout.trim();
  const name = names.find((each) => id !== '' && each === `1-${id.slice(0, 10)}`);
  return name && `${directory}/${name}`;
}

/** Neighbours of the tunnel. */
function rows(cluster: Cluster, host: string): string {
  const namespace = namespaceOf(cluster, host) ?? assert.fail(`${host} is not on the network`);
  return cluster.must(host, ['nsenter', `--net=${namespace}`, 'ip', '-6', 'neighbour', 'show', 'dev', 'vxlan0']);
}

/** What nslookup found, without the server's own address. */
function addressesIn(output: string): string[] {
  return [...output.matchAll(/^Address(?: \d+)?: (\S+)$/gm)].map(([, address]) => address ?? '').sort();
}

/** @returns the name below ip6.arpa of an address in its short form. */
function reverseName(address: string): string {
  const [head = '', tail = ''] = address.split('::').map((half) =>
    half
      .split(':')
      .filter(Boolean)
      .map((group) => group.padStart(4, '0'))
      .join(''),
  );
  return `${`${head}${tail.padStart(32 - head.length, '0')}`.split('').reverse().join('.')}.ip6.arpa`;
}
