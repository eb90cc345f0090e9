/**
 * One swarm with Debian's dockerd 20.10: two dockerd and two skeind nodes, either kind manages, containers talk across.
 * One swarm for each direction; its checks build on each other. What is seen is what the docker command line prints.
 */
import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { eventually } from './support/cluster.ts';
import { rotateKeysAndCertificates } from './support/edit-store.ts';
import { GossipTap, networksTold } from './support/gossip-tap.ts';
import { type Engine, type Member, MixedSwarm } from './support/mixed.ts';

const pairs: readonly (readonly [manager: Engine, other: Engine])[] = [
  ['dockerd', 'skeind'],
  ['skeind', 'dockerd'],
];
/** Longer than three heartbeats: the manager gives the silent nodes up. */
const partitionMs = 30_000;
const healingMs = 10_000;
/**
 * To dockerd a restarted daemon is a new node: it forgets the rows of the old one and waits for those of the new.
 * A restarted dockerd hears of the others by the next exchanges, one each 30 s.
 */
const restartLoss = 100;
/** A manager that restarts with new keys costs the tasks' ways nothing; a packet may be lost all the same. */
const rotationLoss = 30;
const restartMs = 70_000;
/** A dockerd that lost its manager tries again with growing pauses. */
const sessionMs = 120_000;
/** Sixteen addresses: a few updates come round to those that were used before. */
const smallSubnet = '10.77.0.0/28';

for (const [manager, other] of pairs) {
  test(`${other} nodes in a swarm that ${manager} manages`, async (context) => {
    await using swarm = await MixedSwarm.start(`interop-${other}`, [manager, other, manager, other]);
    const { cluster, hosts } = swarm;
    const dockerds = hosts.filter((host) => swarm.engine(host) === 'dockerd');
    const skeinds = hosts.filter((host) => swarm.engine(host) === 'skeind');

    await context.test('each node is ready, with its engine version and plugins', () => {
      for (const host of hosts) {
        const [version] = swarm.must(host, ['version', '--format', '{{.Server.Version}}']).trim().split('\n');
        const inspect = (format: string): string =>
          swarm.must('node1', ['node', 'inspect', '--format', format, host]).trim();
        assert.equal(inspect('{{.Description.Engine.EngineVersion}}'), version);
        assert.match(inspect('{{json .Description.Engine.Plugins}}'), /"Name":"overlay"/);
      }
    });

    await context.test('two overlays at once: all tasks of each reach each other by address and by name', async () => {
      swarm.must('node1', `network create -d overlay --attachable --subnet ${smallSubnet} red`);
      swarm.must('node1', 'network create -d overlay blue');
      for (const name of ['red', 'blue']) swarm.service(name, name, ['--replicas', '4']);
      for (const name of ['red', 'blue']) {
        await swarm.converged(name, 4);
        assert.deepEqual(
          swarm.members(name).map(({ host }) => host),
          hosts,
        );
        await swarm.everyoneTalks(name, name);
        await swarm.rowsAreExact(name);
      }
    });

    await context.test(
      'environment, mounts, secrets, configs and limits arrive; logs and exit codes come back',
      async () => {
        cluster.must('node1', swarm.docker('node1', 'secret create key -'), { input: 'the secret' });
        cluster.must('node1', swarm.docker('node1', 'config create settings -'), { input: 'the config' });
        const script =
          'echo "$GREETING"; cat /run/secrets/key /etc/settings; echo; echo kept > /data/file; cat /data/file; ' +
          'cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null; exit 3';
        swarm.must('node1', [
          ...'service create --detach --no-resolve-image --name once --restart-condition none'.split(' '),
          ...'--constraint node.hostname==node2 --secret key --config source=settings,target=/etc/settings'.split(' '),
          ...'--mount type=volume,source=data,target=/data --limit-memory 64m'.split(' '),
          ...['--env', 'GREETING=hello {{.Node.Hostname}}', 'ubuntu', 'sh', '-c', script],
        ]);
        const state = await eventually('the task ended', () => {
          const words = ['service', 'ps', '--no-trunc', '--format', '{{.CurrentState}}|{{.Error}}', 'once'];
          const line = swarm.must('node1', words).trim();
          if (!line.startsWith('Failed')) throw new Error(line);
          return line;
        });
        assert.match(state, /task: non-zero exit \(3\)/);
        const logs = await eventually('the logs are there', () => {
          const text = swarm.must('node1', 'service logs --raw once');
          return text.includes('kept') ? text : undefined;
        });
        assert.equal(logs, 'hello node2\nthe secretthe config\nkept\n67108864\n');
        swarm.must('node1', 'service rm once');
      },
    );

    await context.test('a plain container on an attachable network talks with the tasks of both kinds', async () => {
      const [dockerd = ''] = dockerds;
      const container = swarm.must(dockerd, 'run -d --name plain --network red ubuntu sleep infinity').trim();
      const plain = swarm.member(dockerd, container);
      await swarm.everyoneTalks('red', 'red', [...swarm.members('red'), plain]);
      swarm.must(dockerd, 'rm -f plain');
      await swarm.rowsAreExact('red');
    });

    await context.test('a node that has no task of a network hears nothing of it', async () => {
      const keys = swarm.gossipKeys();
      swarm.must('node1', 'network create -d overlay green');
      const id = swarm.must('node1', ['network', 'inspect', '--format', '{{.Id}}', 'green']).trim();
      const taps = hosts.map((host) => GossipTap.start(cluster.lab.host(host).networkNamespace, keys));
      swarm.service('green', 'green', [
        '--replicas',
        '2',
        '--constraint',
        'node.hostname!=node3',
        '--constraint',
        'node.hostname!=node4',
      ]);
      await swarm.converged('green', 2);
      await swarm.everyoneTalks('green', 'green');
      const heard = await Promise.all(taps.map((tap) => tap.stop()));
      const told = heard.map((messages) => networksTold(messages).has(id));
      assert.deepEqual(told, [true, true, false, false]);
      swarm.must('node1', 'service rm green');
    });

    await context.test('the dockerds found nothing wrong with our gossip', () => {
      for (const host of dockerds) assert.deepEqual(swarm.gossipComplaints(host), [], host);
    });

    await context.test(
      'kill -9 of engines of both kinds, the manager too: the others go on talking, and all agree again',
      async () => {
        await swarm.converged('red', 4);
        const [from, to] = ['node2', 'node3'].map((host) =>
          swarm.members('red').find((member) => member.host === host),
        );
        assert.ok(from && to, 'node2 and node3 have a task each');
        // The daemon under one of the two that talk is skeind, whose containers run on.
        const skeind = swarm.engine('node2') === 'skeind' ? 'node2' : 'node3';
        const ping = startPing(swarm, from, to);
        await sleep(500);
        for (const victims of [[skeind, 'node4'], ['node1']]) {
          await Promise.all(victims.map((host) => swarm.killEngine(host)));
          await Promise.all(victims.map((host) => swarm.startEngine(host)));
        }
        await swarm.allReady(4);
        await swarm.converged('red', 4);
        await ping.losesAtMost(restartLoss);
        await swarm.rowsAreThere('red', restartMs);
        await swarm.everyoneTalksAcross('red', 'red');
      },
    );

    if (manager === 'dockerd') {
      await context.test('skeind nodes follow a rotation of the root CA with new certificates', async () => {
        const before = skeinds.map((host) => serialOf(swarm, host));
        swarm.must('node1', 'swarm ca --rotate --detach');
        await eventually(
          'no node needs a rotation any more',
          () => {
            const shown = swarm.must('node1', ['node', 'ls', '--format', '{{.Hostname}} {{.Status}} {{.TLSStatus}}']);
            assert.equal(shown, hosts.map((host) => `${host} Ready Ready\n`).join(''));
            assert.equal(rootOf(swarm, skeinds[0] ?? ''), swarm.must('node1', 'swarm ca').trim());
            return true;
          },
          60_000,
        );
        skeinds.forEach((host, index) => {
          assert.notEqual(serialOf(swarm, host), before[index], host);
        });
      });
    }

    if (manager === 'skeind') {
      await context.test('a rotation of the gossip keys under traffic, and certificates that are due', async () => {
        const [from, to] = ['node2', 'node3'].map((host) =>
          swarm.members('red').find((member) => member.host === host),
        );
        assert.ok(from && to);
        const before = dockerds.map((host) => serialOf(swarm, host));
        const keys = swarm.gossipKeys();
        const ping = startPing(swarm, from, to);
        // What the manager does every twelve hours, and when a node's certificate is to be replaced.
        await cluster.lab.stopDaemon('node1', 'SIGTERM');
        rotateKeysAndCertificates(cluster.lab.host('node1').paths.data);
        await swarm.startEngine('node1');
        await swarm.allReady(4);
        assert.deepEqual(swarm.gossipKeys().slice(0, 2), keys.slice(1), 'the oldest key is gone');
        await eventually('the dockerds have new certificates', () => {
          dockerds.forEach((host, index) => {
            assert.notEqual(serialOf(swarm, host), before[index], host);
          });
          return true;
        });
        swarm.must('node1', 'service update --detach --force --update-parallelism 0 blue');
        await swarm.updated('blue');
        await swarm.rowsAreThere('blue', restartMs);
        await swarm.everyoneTalksAcross('blue', 'blue');
        await ping.losesAtMost(rotationLoss);
      });
    }

    await context.test(
      'scaling, rolling updates and a drain: addresses that are used again leave no stale entry',
      async () => {
        const used = new Set(swarm.members('red').map(({ address }) => address));
        await swarm.scale('red', 2);
        await swarm.scale('red', 4);
        for (const { address } of swarm.members('red')) used.add(address);
        const again = await updateUntilReuse(swarm, used);
        context.diagnostic(`used again: ${again.join(', ')}`);
        await swarm.rowsAgreeAcross('red', restartMs);
        await swarm.everyoneTalksAcross('red', 'red');
        for (const { host, container } of swarm.members('red'))
          assert.match(swarm.must(host, ['exec', container, 'env']), /^ROUND=\d$/m);

        swarm.must('node1', 'node update --availability drain node2');
        await eventually('node2 has no task', () => swarm.must('node2', 'ps -q') === '' || undefined);
        await eventually(
          'node2 has none of the networks',
          () => !/red|blue|green/.test(swarm.must('node2', 'network ls')) || undefined,
        );
        await swarm.converged('red', 4);
        await swarm.rowsAgreeAcross('red', restartMs);
        await swarm.everyoneTalksAcross('red', 'red');
        swarm.must('node1', 'node update --availability active node2');
      },
    );

    if (manager === 'skeind') {
      await context.test('a partition of 30 s: within 10 s of its end both kinds agree again', async () => {
        swarm.setReachable(['node3', 'node4'], false);
        await sleep(partitionMs / 2);
        await eventually('the manager gives the silent nodes up', () => {
          const shown = swarm.must('node1', ['node', 'ls', '--format', '{{.Hostname}} {{.Status}}']);
          return (shown.includes('node3 Down') && shown.includes('node4 Down')) || undefined;
        });
        await sleep(partitionMs / 2);
        swarm.setReachable(['node3', 'node4'], true);
        const healed = Date.now();
        await swarm.rowsAgreeAcross('red', healingMs);
        context.diagnostic(`both kinds agree after ${Date.now() - healed} ms`);
        await swarm.everyoneTalksAcross('red', 'red');
      });
    }

    await context.test('removal leaves nothing behind, and the workers leave cleanly', async () => {
      for (const name of ['red', 'blue']) swarm.must('node1', `service rm ${name}`);
      await eventually(
        'no container is left',
        () => {
          const left = hosts.map((host) => swarm.must(host, 'ps -a')).filter((listed) => listed.trim().includes('\n'));
          if (left.length > 0) throw new Error(`${left.join('')}${swarm.must('node1', 'node ls')}`);
          return true;
        },
        sessionMs,
      );
      for (const name of ['red', 'blue', 'green'])
        await eventually(
          `${name} can be removed`,
          () => cluster.run('node1', swarm.docker('node1', `network rm ${name}`)).exitCode === 0 || undefined,
        );
      await eventually(
        'no host has the networks',
        () => hosts.every((host) => !/red|blue|green/.test(swarm.must(host, 'network ls'))) || undefined,
      );
      for (const host of hosts.slice(1)) assert.equal(swarm.must(host, 'swarm leave'), 'Node left the swarm.\n');
    });
  });
}

/** Updates the service until an address is given a second time. @returns those addresses. */
async function updateUntilReuse(swarm: MixedSwarm, used: Set<string>): Promise<string[]> {
  for (let round = 1; round <= 3; round++) {
    swarm.must('node1', `service update --detach --update-parallelism 0 --env-add ROUND=${round} red`);
    await swarm.updated('red');
    await swarm.converged('red', 4);
    const addresses = swarm.members('red').map(({ address }) => address);
    const again = addresses.filter((address) => used.has(address));
    if (again.length > 0) return again;
    for (const address of addresses) used.add(address);
  }
  throw new Error(`no address came round again: ${[...used].join(', ')}`);
}

/** Pings from one task to another, ten times a second, for longer than the loss that is allowed. */
function startPing(swarm: MixedSwarm, from: Member, to: Member): { losesAtMost(bound: number): Promise<void> } {
  const pid = swarm.must(from.host, ['inspect', '--format', '{{.State.Pid}}', from.container]).trim();
  const words = ['nsenter', `--target=${pid}`, '--net', 'busybox', 'ping', '-i', '0.1', to.address];
  const ping = swarm.cluster.start(from.host, words);
  return {
    losesAtMost: async (bound) => {
      const { stdout } = await ping.stop('SIGINT');
      const [, sent, received] = /(\d+) packets transmitted, (\d+) packets received/.exec(stdout) ?? [];
      assert.ok(Number(sent) > 1.5 * bound, `only ${sent} pings were sent: ${stdout.slice(-300)}`);
      const lost = Number(sent) - Number(received);
      assert.ok(lost <= bound, `${lost} of ${sent} pings lost`);
    },
  };
}

/** Serial number of the certificate that a host's engine keeps. */
function serialOf(swarm: MixedSwarm, host: string): string {
  return new X509Certificate(readFileSync(certificateFile(swarm, host, 'swarm-node.crt'))).serialNumber;
}

function rootOf(swarm: MixedSwarm, host: string): string {
  return readFileSync(certificateFile(swarm, host, 'swarm-root-ca.crt'), 'utf8').trim();
}

function certificateFile(swarm: MixedSwarm, host: string, name: string): string {
  const { data } = swarm.cluster.lab.host(host).paths;
  return join(swarm.engine(host) === 'dockerd' ? join(data, 'docker') : data, 'swarm/certificates', name);
}
