/** Plain containers with the real docker command line: attachable overlays on both nodes, bridges, ports, policies, files. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { callApi } from './support/api.ts';
import { Cluster, eventually } from './support/cluster.ts';

const server = 'mkdir /www; hostname > /www/index.html; exec httpd -f -p 80 -h /www';

/** Tells who asks. */
const whoServer = `mkdir -p /www/cgi-bin; cd /www/cgi-bin; printf '#!/bin/sh\\necho; echo $REMOTE_ADDR' > who; chmod +x who; exec httpd -f -p 80 -h /www`;
const ipv6 = { node1: 'fd00:31::5', node2: 'fd00:31::6' } as const;

test('docker run, create, start and what belongs to them', async (context) => {
  await using cluster = await Cluster.start('run', 2);
  const docker = (host: string, ...words: string[]): string =>
    cluster.must(host, ['docker', ...words], { timeoutMs: 30_000 });
  const refused = (host: string, ...words: string[]): string => {
    const { exitCode, stderr } = cluster.run(host, ['docker', ...words], { timeoutMs: 30_000 });
    assert.notEqual(exitCode, 0, words.join(' '));
    return stderr;
  };
  docker('node1', 'swarm', 'init', '--advertise-addr', '172.31.1.5');
  const token = docker('node1', 'swarm', 'join-token', '-q', 'worker').trim();
  docker('node2', 'swarm', 'join', '--token', token, '172.31.1.5:2377');
  docker('node1', 'network', 'create', '-d', 'overlay', '--attachable', '--subnet', '10.7.0.0/24', 'shared');
  docker('node1', 'network', 'create', '-d', 'overlay', 'closed');
  docker('node1', 'service', 'create', '-d', '--name', 'web', '--network', 'shared', 'ubuntu', 'sleep', '1000');
  await eventually('the task runs', () => (/1\/1/.test(docker('node1', 'service', 'ls')) ? true : undefined));

  for (const host of ['node1', 'node2']) {
    await context.test(
      `a container of ${host} is on the attachable network: names, virtual IP, a fixed address`,
      () => {
        const run = (...words: string[]): string => docker(host, 'run', '--rm', '--network', 'shared', ...words);
        assert.match(run('ubuntu', 'ping', '-c1', '-W2', 'tasks.web'), / 0% packet loss/);
        assert.match(run('ubuntu', 'ping', '-c1', '-W2', 'web'), / 0% packet loss/);
        assert.match(run('--ip', '10.7.0.77', 'ubuntu', 'ip', '-4', '-o', 'addr'), /eth0 +inet 10\.7\.0\.77\/24/);
        assert.match(refused(host, 'run', '--rm', '--network', 'closed', 'ubuntu', 'true'), /not manually attachable/);
        assert.match(
          refused(host, 'run', '--rm', '--network', 'nowhere', 'ubuntu', 'true'),
          /network nowhere not found/,
        );
      },
    );
  }

  await context.test('names of a plain container are known on the other node: name, alias, short ID', async () => {
    const words = ['--name', 'kit', '--network', 'shared', '--network-alias', 'tool', 'ubuntu', 'sh', '-c', server];
    const id = docker('node2', 'run', '-d', ...words).trim();
    for (const name of ['kit', 'tool', id.slice(0, 12)]) {
      await eventually(`${name} is known`, () => {
        const page = docker('node1', 'run', '--rm', '--network', 'shared', 'ubuntu', 'wget', '-qO-', `http://${name}/`);
        assert.equal(page.trim(), id.slice(0, 12), name);
        return true;
      });
    }
  });

  await context.test('the default bridge: published ports from everywhere, conflicts refused and nothing left', () => {
    const id = docker('node1', 'run', '-d', '--name', 'front', '-p', '8080:80', 'ubuntu', 'sh', '-c', server).trim();
    const fetch = (host: string, url: string): string => cluster.must(host, ['wget', '-T', '5', '-qO-', url]).trim();
    const shortId = id.slice(0, 12);
    assert.equal(fetch('node2', 'http://172.31.1.5:8080/'), shortId);
    assert.equal(fetch('node1', 'http://127.0.0.1:8080/'), shortId);
    assert.equal(fetch('node1', 'http://[::1]:8080/'), shortId);
    assert.equal(docker('node1', 'exec', 'front', 'wget', '-qO-', 'http://172.17.0.1:8080/').trim(), shortId);
    assert.equal(docker('node1', 'port', 'front').trim(), '80/tcp -> 0.0.0.0:8080');
    assert.match(
      refused('node1', 'run', '--rm', '--name', 'second', '-p', '8080:80', 'ubuntu', 'true'),
      /Bind for 0\.0\.0\.0:8080 failed: port is already allocated: it is held by container front/,
    );
    assert.doesNotMatch(docker('node1', 'ps', '-a', '--format', '{{.Names}}'), /second/);
    const ports = ['-p', '127.0.0.1:8091:80', '-p', '8080-8082:80'];
    const narrow = docker('node1', 'run', '-d', '--name', 'narrow', ...ports, 'ubuntu', 'sh', '-c', server).trim();
    assert.deepEqual(docker('node1', 'port', 'narrow').trim().split('\n').sort(), [
      '80/tcp -> 0.0.0.0:8081',
      '80/tcp -> 127.0.0.1:8091',
    ]);
    assert.equal(fetch('node1', 'http://127.0.0.1:8091/'), narrow.slice(0, 12));
    assert.equal(fetch('node2', 'http://172.31.1.5:8081/'), narrow.slice(0, 12), 'the first of the range that is free');
    for (const host of ['node1', 'node2']) {
      const outcome = cluster.run(host, ['wget', '-T', '2', '-qO-', 'http://172.31.1.5:8091/']);
      assert.notEqual(outcome.exitCode, 0, `${host}: ${outcome.stdout}`);
    }
    docker('node1', 'rm', '-f', 'narrow');
  });

  await context.test('networks are connected and disconnected while the container runs', async () => {
    docker('node1', 'network', 'connect', '--alias', 'facade', 'shared', 'front');
    // The news of the name travels by gossip.
    await eventually('the alias is known on the other node', () =>
      /^[0-9a-f]{12}\n$/.test(docker('node2', 'exec', 'kit', 'wget', '-qO-', 'http://facade/')) ? true : undefined,
    );
    docker('node1', 'network', 'disconnect', 'bridge', 'front');
    const addresses = docker('node1', 'exec', 'front', 'ip', '-4', '-o', 'addr');
    assert.doesNotMatch(addresses, /172\.17\./);
    docker('node1', 'network', 'disconnect', 'shared', 'front');
    docker('node1', 'network', 'connect', 'bridge', 'front');
    assert.match(docker('node1', 'exec', 'front', 'ip', 'route'), /default via 172\.17\.0\.1 dev eth0/);
  });

  await context.test('user-defined bridges have names and end when nobody is on them; host and none', () => {
    docker('node1', 'network', 'create', '--subnet', '172.29.0.0/24', 'local');
    docker('node1', 'run', '-d', '--name', 'db', '--network', 'local', '--ip', '172.29.0.9', 'ubuntu', 'sleep', '1000');
    const ping = docker('node1', 'run', '--rm', '--network', 'local', 'ubuntu', 'ping', '-c1', '-W2', 'db');
    assert.match(ping, /172\.29\.0\.9[\s\S]* 0% packet loss/);
    assert.match(refused('node1', 'network', 'rm', 'local'), /has active endpoints/);
    docker('node1', 'rm', '-f', 'db');
    docker('node1', 'network', 'rm', 'local');
    assert.equal(docker('node1', 'run', '--rm', '--network', 'host', 'ubuntu', 'hostname').trim(), 'node1');
    assert.doesNotMatch(docker('node1', 'run', '--rm', '--network', 'none', 'ubuntu', 'ip', 'addr'), /eth0/);
    const ofNobody = refused('node1', 'run', '--rm', '--network', 'container:nobody', 'ubuntu', 'true');
    assert.match(ofNobody, /^docker: Error response from daemon: No such container: nobody/);
  });

  await context.test('a bridge with IPv6: addresses shown as Docker does, published ports, the way out', async () => {
    for (const [host, address] of Object.entries(ipv6)) {
      cluster.must(host, ['ip', 'address', 'add', `${address}/64`, 'dev', 'eth0', 'nodad']);
    }
    const [network, address] = ['fd00:29::/64', 'fd00:29::9'];
    docker('node1', 'network', 'create', '--ipv6', '--subnet', network, 'six');
    const words = ['--network', 'six', '--ip6', address, '-p', '8086:80', '-p', `[${ipv6.node1}]:8087:80`];
    const id = docker('node1', 'run', '-d', '--name', 'dual', ...words, 'ubuntu', 'sh', '-c', whoServer).trim();
    const [{ EnableIPv6, IPAM, Containers }] = JSON.parse(docker('node1', 'network', 'inspect', 'six'));
    assert.deepEqual([EnableIPv6, IPAM.Config[1]], [true, { Subnet: network, Gateway: 'fd00:29::1' }]);
    assert.equal(Containers[id].IPv6Address, `${address}/64`);
    const [{ NetworkSettings }] = JSON.parse(docker('node1', 'inspect', 'dual'));
    const { GlobalIPv6Address, GlobalIPv6PrefixLen, IPv6Gateway } = NetworkSettings.Networks.six;
    assert.deepEqual([GlobalIPv6Address, GlobalIPv6PrefixLen, IPv6Gateway], [address, 64, 'fd00:29::1']);
    assert.match(docker('node1', 'port', 'dual'), /^80\/tcp -> \[fd00:31::5\]:8087$/m);
    for (const port of [8086, 8087]) assert.equal(whoAsks(cluster, 'node2', ipv6.node1, port), ipv6.node2);
    assert.equal(whoAsks(cluster, 'node1', ipv6.node1, 8086), ipv6.node1, 'the node itself');
    assert.match(whoAsks(cluster, 'node1', '::1', 8086), /^172\./, 'what comes to ::1 cannot leave the host as it is');
    docker('node2', 'run', '-d', '--name', 'four', '-p', '8088:80', 'ubuntu', 'sh', '-c', whoServer);
    assert.match(whoAsks(cluster, 'node1', ipv6.node2, 8088), /^172\./, 'a container without IPv6, by the relay');
    const fromInside = (host: string, port: number): string => {
      const ask = `printf 'GET /cgi-bin/who HTTP/1.0\\r\\n\\r\\n' | nc -w 3 ${host} ${port} | tail -n 1`;
      return docker('node1', 'run', '--rm', '--network', 'six', 'ubuntu', 'sh', '-c', ask);
    };
    assert.match(fromInside(ipv6.node1, 8086), /^\[fd00:29::1\]/, 'another container of the network');
    assert.match(fromInside(ipv6.node2, 8088), /172\./, 'the way out');
    docker('node1', 'rm', '-f', 'dual');
    docker('node2', 'rm', '-f', 'four');
    docker('node1', 'network', 'rm', 'six');
    assert.notEqual(cluster.run('node1', 'nft list table ip6 skein-local').exitCode, 0, 'no table is left');
  });

  await context.test('sixty containers made at once without a name get sixty names', async () => {
    const create = () =>
      callApi(cluster.lab.host('node1').paths.socket, 'POST', '/containers/create', { Image: 'ubuntu' });
    const answers = await Promise.all(Array.from({ length: 60 }, create));
    for (const { status, body } of answers) assert.equal(status, 201, JSON.stringify(body));
    docker('node1', 'container', 'prune', '-f');
  });

  await context.test('input, entrypoint, user, directory, environment, limits', () => {
    const echoed = cluster.must('node1', 'docker run -i --rm ubuntu cat', { input: 'hello\n', timeoutMs: 30_000 });
    assert.equal(echoed, 'hello\n');
    const own = cluster.must('node1', 'skein run -i --rm ubuntu cat', { input: 'hello\n', timeoutMs: 30_000 });
    assert.equal(own, 'hello\n');
    assert.equal(cluster.run('node1', ['skein', 'run', '--rm', 'ubuntu', 'sh', '-c', 'exit 9']).exitCode, 9);
    const flags = [
      '-u',
      '7:8',
      '-w',
      '/tmp',
      '-e',
      'COLOUR=red',
      '-m',
      '64m',
      '--hostname',
      'h1',
      '--entrypoint',
      'sh',
    ];
    const script = 'id -u; id -g; pwd; echo $COLOUR; hostname; cat /sys/fs/cgroup/memory/memory.limit_in_bytes';
    const lines = docker('node1', 'run', '--rm', ...flags, 'ubuntu', '-c', script)
      .trim()
      .split('\n');
    assert.deepEqual(lines, ['7', '8', '/tmp', 'red', 'h1', String(64 * 1024 * 1024)]);
    assert.equal(cluster.run('node1', 'docker run --rm ubuntu sh -c exit\\ 3').exitCode === 0, false);
    const mounting = 'mkdir /m && mount -t tmpfs none /m && ls /dev/loop-control /dev/mine && cat /proc/1/comm';
    const wide = ['--rm', '--privileged', '--pid=host', '--device=/dev/zero:/dev/mine', 'ubuntu', 'sh', '-c', mounting];
    for (const client of ['docker', 'skein'])
      assert.equal(
        cluster.must('node1', [client, 'run', ...wide]),
        `/dev/loop-control\n/dev/mine\n${readFileSync('/proc/1/comm', 'utf8')}`,
      );
  });

  await context.test('volumes outlive containers, cp goes both ways and never out of the root', () => {
    const directory = mkdtempSync(join(tmpdir(), 'skein-run-'));
    try {
      const file = join(directory, 'file');
      writeFileSync(file, 'from the host\n');
      docker('node1', 'run', '--rm', '-v', 'store:/data', 'ubuntu', 'sh', '-c', 'echo kept > /data/x');
      assert.equal(docker('node1', 'run', '--rm', '-v', 'store:/data', 'ubuntu', 'cat', '/data/x'), 'kept\n');
      const make = 'mkdir /a; ln -s ../../../../../../tmp /out; sleep 1000';
      docker('node1', 'run', '-d', '--name', 'files', '-v', 'store:/data', 'ubuntu', 'sh', '-c', make);
      assert.match(refused('node1', 'volume', 'rm', 'store'), /volume is in use/);
      docker('node1', 'cp', file, 'files:/a/b');
      docker('node1', 'cp', file, 'files:/out/skein-escape');
      assert.throws(() => readFileSync('/tmp/skein-escape'));
      docker('node1', 'cp', 'files:/tmp/skein-escape', join(directory, 'back'));
      assert.equal(readFileSync(join(directory, 'back'), 'utf8'), 'from the host\n');
      assert.match(docker('node1', 'diff', 'files'), /^A \/a$\n^A \/a\/b$/m);
      docker('node1', 'rm', '-f', 'files');
      docker('node1', 'volume', 'rm', 'store');
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });

  await context.test('restart policies, update, stats', async () => {
    cluster.run('node1', ['docker', 'run', '--name', 'fails', '--restart', 'on-failure:2', 'ubuntu', 'false']);
    await eventually('it has been tried twice more', () => {
      const state = docker('node1', 'inspect', '-f', '{{.RestartCount}} {{.State.Status}}', 'fails').trim();
      return state === '2 exited' ? true : undefined;
    });
    docker('node1', 'update', '--memory', '100m', 'front');
    const limit = docker('node1', 'exec', 'front', 'cat', '/sys/fs/cgroup/memory/memory.limit_in_bytes');
    assert.equal(Number(limit), 100 * 1024 * 1024);
    assert.match(docker('node1', 'stats', '--no-stream', '--format', '{{.MemUsage}}', 'front'), /\/ 100MiB/);
  });

  await context.test(
    'a restart has its signal and its event, and keeps a container that is to go when it ends',
    async () => {
      const loop = 'echo began; trap "echo asked; exit" USR1; while :; do sleep 0.1; done';
      docker('node1', 'run', '-d', '--rm', '--name', 'again', 'ubuntu', 'sh', '-c', loop);
      docker('node1', 'restart', '--signal', 'USR1', 'again');
      assert.equal(docker('node1', 'logs', 'again'), 'began\nasked\nbegan\n');
      // The client cuts durations to seconds.
      const lately = ['--since', '10s', '--until', String(Date.now() / 1000), '--filter', 'container=again'];
      assert.match(docker('node1', 'events', ...lately, '--format', '{{.Action}}'), /\nstop\nstart\nrestart\n/);
      docker('node1', 'stop', '-t', '0', 'again');
      await eventually('it goes', () =>
        docker('node1', 'ps', '-aq', '--filter', 'name=again') === '' ? true : undefined,
      );
    },
  );

  await context.test('skein copies, lists and counts as docker does, on the same engine', () => {
    const folder = mkdtempSync(join(tmpdir(), 'skein-run-'));
    try {
      writeFileSync(join(folder, 'given'), 'words');
      const skein = (...words: string[]): string => cluster.must('node1', ['skein', ...words], { timeoutMs: 30_000 });
      docker('node1', 'volume', 'create', 'kept');
      for (const [name, run] of [
        ['docker', (...words: string[]) => docker('node1', ...words)],
        ['skein', skein],
      ] as const) {
        run('cp', join(folder, 'given'), `front:/tmp/${name}`);
        run('cp', 'front:/www/.', join(folder, name));
        assert.match(readFileSync(join(folder, name, 'index.html'), 'utf8'), /^[0-9a-f]{12}\n$/);
        assert.equal(docker('node1', 'exec', 'front', 'cat', `/tmp/${name}`), 'words');
      }
      const refused = cluster.run('node1', ['skein', 'cp', 'front:/bin', join(folder, 'given')], { timeoutMs: 30_000 });
      assert.deepEqual([refused.exitCode, refused.stderr.trim()], [1, 'cannot copy directory'], 'it says so and ends');
      assert.equal(
        skein('cp', 'front:/www/index.html', '-').length,
        docker('node1', 'cp', 'front:/www/index.html', '-').length,
      );
      const lists = ['volume ls', 'volume inspect kept', 'diff front', 'port front', 'system df', 'stack ls'];
      for (const list of lists) assert.equal(skein(...list.split(' ')), docker('node1', ...list.split(' ')), list);
      assert.match(
        skein('stats', '--no-stream', '--format', '{{.Name}} {{.MemUsage}}', 'front'),
        /^front .* \/ 100MiB\n$/,
      );
      skein('volume', 'rm', 'kept');
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  await context.test(
    'after kill -9 of skeind plain containers are served on; what ended meanwhile is seen to',
    async () => {
      docker('node2', 'run', '-d', '--name', 'back', '--restart', 'always', 'ubuntu', 'sleep', '1000');
      docker('node2', 'run', '-d', '--rm', '--name', 'brief', '--network', 'shared', 'ubuntu', 'sleep', '2');
      docker('node2', 'run', '-d', '--name', 'port', '-p', '9090:80', 'ubuntu', 'sh', '-c', server);
      const pid = docker('node2', 'inspect', '-f', '{{.State.Pid}}', 'back').trim();
      await cluster.lab.stopDaemon('node2', 'SIGKILL');
      cluster.must('node2', ['kill', '-9', pid]);
      assert.match(cluster.must('node1', 'wget -T 5 -qO- http://172.31.1.6:9090/'), /^[0-9a-f]{12}\n$/);
      await sleep(2500);
      await cluster.lab.startDaemon('node2');
      await eventually('the policy has started it again, the brief one is gone', () => {
        const lines = docker('node2', 'ps', '-a', '--format', '{{.Names}} {{.Status}}');
        return /^back Up/m.test(lines) && !/^brief/m.test(lines) ? true : undefined;
      });
      assert.match(cluster.must('node1', 'wget -T 5 -qO- http://172.31.1.6:9090/'), /^[0-9a-f]{12}\n$/);
      await eventually('its names are known again', () => {
        const words = ['run', '--rm', '--network', 'shared', 'ubuntu', 'wget', '-qO-', 'http://tool/'];
        return /^[0-9a-f]{12}\n$/.test(docker('node1', ...words)) ? true : undefined;
      });
    },
  );

  await context.test('prune and removal leave nothing', async () => {
    for (const host of ['node1', 'node2']) {
      const ids = docker(host, 'ps', '-q', '--filter', 'is-task=false').trim().split('\n').filter(Boolean);
      if (ids.length > 0) docker(host, 'rm', '-f', ...ids);
      docker(host, 'system', 'prune', '-f');
    }
    docker('node1', 'service', 'rm', 'web');
    await cluster.untilGone('web');
    await eventually('nothing holds the network', () => {
      docker('node1', 'network', 'rm', 'shared');
      return true;
    });
    assert.doesNotMatch(docker('node1', 'network', 'ls'), /shared|closed/);
    const rules = cluster.must('node1', 'nft list table ip skein-local');
    assert.doesNotMatch(rules, /dnat to/);
  });
});

/** @returns the asking host's address as the `whoServer` at a published port sees it. */
function whoAsks(cluster: Cluster, host: string, address: string, port: number): string {
  const at = address.includes(':') ? `[${address}]` : address;
  const seen = cluster.must(host, ['wget', '-T', '5', '-qO-', `http://${at}:${port}/cgi-bin/who`]).trim();
  return seen.replace(/^\[(.*)\]$/, '$1').replace(/^::ffff:/, '');
}
