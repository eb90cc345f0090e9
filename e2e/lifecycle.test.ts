/** The life of services, jobs and stacks as a user drives it with docker: one cluster of two nodes, every story on it. */
import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { Cluster, eventually } from './support/cluster.ts';

const quick = ['--no-resolve-image', '--quiet', '--detach', '--stop-grace-period=1s'];
const forever = ['ubuntu', 'sleep', '10000'];
/** The only other node counts as dead after three missed heartbeats; its tasks must run elsewhere soon after. */
const deathMs = 25_000;

/** What a story needs to say: commands on node1, and waits for what they lead to. */
class Story {
  readonly cluster: Cluster;
  constructor(cluster: Cluster) {
    this.cluster = cluster;
  }

  docker(...words: string[]): string {
    return this.cluster.must('node1', ['docker', ...words]).trim();
  }

  /** @returns standard error of a command that has to fail. */
  refused(...words: string[]): string {
    const { exitCode, stderr } = this.cluster.run('node1', ['docker', ...words]);
    assert.notEqual(exitCode, 0, `docker ${words.join(' ')} worked`);
    return stderr;
  }

  create(name: string, ...words: string[]): void {
    this.docker('service', 'create', ...quick, `--name=${name}`, ...words);
  }

  update(name: string, ...words: string[]): void {
    this.docker('service', 'update', '--no-resolve-image', '--quiet', '--detach', ...words, name);
  }

  tasks(
    name: string,
    format = '{{.Node}}|{{.DesiredState}}|{{.CurrentState}}|{{.Error}}',
    ...words: string[]
  ): string[] {
    return this.docker('service', 'ps', '--no-trunc', `--format=${format}`, ...words, name)
      .split('\n')
      .filter(Boolean);
  }

  running(name: string): string[] {
    return this.tasks(name, '{{.Node}} {{.CurrentState}}', '--filter=desired-state=running').filter((line) =>
      line.includes(' Running '),
    );
  }

  async untilRunning(name: string, count: number, timeoutMs = 30_000): Promise<void> {
    await eventually(
      `${name} runs ${count} tasks`,
      () => (this.running(name).length === count ? true : undefined),
      timeoutMs,
    ).catch((error: unknown) => assert.fail(`${String(error)}\n${this.tasks(name).join('\n')}`));
  }

  async untilTasks(name: string, what: string, holds: (lines: readonly string[]) => boolean): Promise<string[]> {
    let lines: string[] = [];
    return await eventually(`${name}: ${what}`, () => {
      lines = this.tasks(name);
      return holds(lines) ? lines : undefined;
    }).catch((error: unknown) => assert.fail(`${String(error)}\n${lines.join('\n')}`));
  }

  async untilUpdate(name: string, state: string): Promise<string> {
    return await eventually(`the update of ${name} is ${state}`, () => {
      const status = this.docker('service', 'inspect', '--format={{json .UpdateStatus}}', name);
      return status.includes(`"${state}"`) ? status : undefined;
    });
  }

  remove(...names: string[]): void {
    this.docker('service', 'rm', ...names);
  }
}

const count = (lines: readonly string[], text: string) => lines.filter((line) => line.includes(text)).length;

test('services live as docker service says', { timeout: 240_000 }, async (context) => {
  await using cluster = await Cluster.start('lifecycle', 2);
  const story = new Story(cluster);
  cluster.must('node1', 'docker swarm init --advertise-addr 172.31.1.5');
  const token = cluster.must('node1', 'docker swarm join-token -q worker').trim();
  cluster.must('node2', ['docker', 'swarm', 'join', '--token', token, '172.31.1.5:2377']);

  await context.test('jobs run to their end, so many at a time, and once more with each update', () => {
    const job = ['--mode=replicated-job', '--replicas=3', '--max-concurrent=2', '--restart-condition=on-failure'];
    const words = ['service', 'create', '--no-resolve-image', '--detach=false'];
    const created = story.docker(...words, '--name=job', ...job, 'ubuntu', 'sleep', '1');
    assert.match(created, /active tasks: 2 out of 2 tasks[\s\S]*job complete/);
    const status = (name: string) => story.docker('service', 'ls', `--filter=name=${name}`, '--format={{.Replicas}}');
    assert.equal(status('job'), '0/2 (3/3 completed)');
    assert.match(cluster.must('node1', 'skein service update --force job'), /job complete/);
    assert.equal(story.docker('service', 'inspect', '--format={{.JobStatus.JobIteration.Index}}', 'job'), '1');
    assert.equal(count(story.tasks('job'), '|Complete '), 6);
    cluster.must('node1', 'skein service create --mode global-job --quiet --name all ubuntu true');
    assert.equal(status('all'), '0/0 (2/2 completed)');
    assert.match(cluster.must('node1', 'skein service ls'), /all +global job +0\/0 \(2\/2 completed\)/);
    story.remove('job', 'all');
  });

  await context.test('a task finds user, groups, mounts, secrets, configs, limits and names as asked', async () => {
    const put = (kind: string, name: string, text: string, ...words: string[]) =>
      cluster.must('node1', ['docker', kind, 'create', ...words, name, '-'], { input: text });
    put('secret', 'sec', 'hunter2');
    put('config', 'plain', 'as it is {{.Service.Name}}');
    put('config', 'made', '{{secret "key"}} for {{.Service.Name}} {{env "A"}}', '--template-driver=golang');
    const script = [
      'hostname; echo "$A $B"; id -u; id -G; cat /run/secrets/key /etc/plain /etc/made; echo',
      'stat -c "%a %u" /run/secrets/key; ulimit -n; grep CapBnd /proc/self/status; pwd; cat /proc/1/comm',
      'cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/self/oom_score_adj',
      'touch /no 2>&1; touch /scratch/yes && echo scratch; ls -d /vol; grep extra /etc/hosts; grep search /etc/resolv.conf',
      'exec sleep 10000',
    ].join('; ');
    story.create(
      'full',
      '--constraint=node.hostname==node1',
      '--hostname={{.Service.Name}}-{{.Task.Slot}}',
      '--env=A={{.Node.Hostname}}',
      '--env=B={{.Service.Labels.tier}}',
      '--label=tier=front',
      '--user=1000:1001',
      '--group=44',
      '--read-only',
      '--init',
      '--workdir=/tmp',
      '--mount=type=tmpfs,dst=/scratch,tmpfs-size=1m',
      '--mount=type=volume,src=vol-{{.Task.Slot}},dst=/vol',
      '--secret=source=sec,target=key,uid=1000,mode=0400',
      '--config=source=plain,target=/etc/plain',
      '--config=source=made,target=/etc/made',
      '--limit-memory=64m',
      '--limit-cpu=0.5',
      '--limit-pids=50',
      '--ulimit=nofile=100:200',
      '--cap-add=NET_ADMIN',
      '--cap-drop=CHOWN',
      '--sysctl=net.ipv4.ip_unprivileged_port_start=0',
      '--oom-score-adj=100',
      '--host=extra:10.9.9.9',
      '--dns-search=example.org',
      'ubuntu',
      'sh',
      '-c',
      script,
    );
    await story.untilRunning('full', 1);
    const printed = await eventually('the task has said all', () => {
      const text = story.docker('service', 'logs', '--raw', 'full');
      return text.includes('search example.org') ? text : undefined;
    });
    assert.deepEqual(
      printed.split('\n').filter((line) => !line.startsWith('touch:')),
      [
        'full-1',
        'node1 front',
        '1000',
        '1001 44',
        'hunter2as it is {{.Service.Name}}hunter2 for full {{.Node.Hostname}}',
        '400 1000',
        '100',
        'CapBnd:\t00000000a80435fa',
        '/tmp',
        'docker-init',
        '0',
        '100',
        'scratch',
        '/vol',
        '10.9.9.9\textra',
        'search example.org',
      ],
    );
    const id = story.docker('ps', '--quiet', '--filter=label=com.docker.swarm.service.name=full');
    const limits = '--format={{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.PidsLimit}}';
    assert.equal(story.docker('inspect', limits, id), '67108864 500000000 50');
    story.remove('full');
  });

  await context.test('updates roll, are paused and rolled back by failures, and come back by hand', async () => {
    const failing = `--args=sh -c 'exit 3'`;
    story.create(
      'roll',
      '--replicas=3',
      '--update-order=start-first',
      '--update-parallelism=2',
      '--update-monitor=1s',
      '--update-failure-action=rollback',
      '--rollback-monitor=1s',
      '--rollback-parallelism=0',
      '--restart-delay=500ms',
      ...forever,
    );
    // With no delay the second task would be replaced as soon as the first is up, before it can have failed.
    story.create(
      'halt',
      '--replicas=2',
      '--update-delay=5s',
      '--update-monitor=1s',
      '--restart-delay=500ms',
      ...forever,
    );
    story.create(
      'on',
      '--replicas=2',
      '--update-monitor=500ms',
      '--update-failure-action=continue',
      '--restart-delay=500ms',
      '--restart-max-attempts=1',
      ...forever,
    );
    await Promise.all([story.untilRunning('roll', 3), story.untilRunning('halt', 2), story.untilRunning('on', 2)]);

    const old = story.tasks('halt', '{{.ID}}');
    const isOld = (task: string) => task.includes(' Running ') && old.some((id) => task.startsWith(id));
    story.update('roll', '--env-add=V=2');
    story.update('halt', failing);
    story.update('on', failing);
    assert.match(await story.untilUpdate('roll', 'completed'), /update completed/);
    assert.equal(count(story.tasks('roll'), '|Shutdown|'), 3);
    assert.match(
      await story.untilUpdate('halt', 'paused'),
      /update paused due to failure or early termination of task/,
    );
    const untouched = story.tasks('halt', '{{.ID}} {{.CurrentState}}', '--filter=desired-state=running');
    assert.equal(untouched.filter(isOld).length, 1, `one task was left alone, of ${untouched.join(', ')}`);
    await story.untilUpdate('on', 'completed');

    story.update('roll', failing);
    await story.untilUpdate('roll', 'rollback_completed');
    await story.untilRunning('roll', 3);
    assert.match(
      story.docker('service', 'inspect', '--format={{.Spec.TaskTemplate.ContainerSpec.Args}}', 'roll'),
      /sleep/,
    );
    assert.match(story.docker('service', 'rollback', '--detach=false', 'halt'), /Service halt converged/);
    assert.equal(story.running('halt').length, 2);
    const before = story.tasks('halt', '{{.ID}}', '--filter=desired-state=running').sort();
    story.update('halt', '--force', '--update-parallelism=0');
    await story.untilUpdate('halt', 'completed');
    const after = story.tasks('halt', '{{.ID}}', '--filter=desired-state=running').sort();
    assert.ok(after.length === 2 && after.every((id) => !before.includes(id)), 'a forced update replaces every task');
    story.remove('roll', 'halt', 'on');
  });

  await context.test('restarts, health, stops and what cannot be prepared', async () => {
    story.create(
      'tries',
      '--restart-condition=on-failure',
      '--restart-max-attempts=2',
      '--restart-delay=200ms',
      'ubuntu',
      'sh',
      '-c',
      'exit 4',
    );
    story.create('once', '--restart-condition=none', 'ubuntu', 'true');
    story.create(
      'ill',
      '--restart-condition=none',
      '--health-cmd=false',
      '--health-interval=300ms',
      '--health-retries=2',
      ...forever,
    );
    story.create(
      'well',
      '--health-cmd=test -e /tmp/ok',
      '--health-interval=500ms',
      '--health-retries=30',
      'ubuntu',
      'sh',
      '-c',
      'sleep 4; touch /tmp/ok; exec sleep 1000',
    );
    story.create('bind', '--restart-condition=none', '--mount=type=bind,src=/no/such/place,dst=/x', ...forever);
    story.create('huge', '--reserve-memory=900g', ...forever);
    story.create('mars', '--constraint=node.labels.planet==mars', ...forever);
    const signals = 'trap "echo got USR1; exit 0" USR1; trap "" TERM; echo up; while true; do sleep 0.1; done';
    story.create('polite', '--stop-signal=SIGUSR1', '--constraint=node.hostname==node1', 'ubuntu', 'sh', '-c', signals);
    story.create('deaf', '--stop-grace-period=3s', '--constraint=node.hostname==node1', 'ubuntu', 'sh', '-c', signals);
    await story.untilRunning('polite', 1);
    await story.untilRunning('deaf', 1);
    assert.equal(story.running('well').length, 0, 'it runs when it is healthy, not before');

    const shutAt = Date.now();
    story.update('polite', '--replicas=0');
    story.update('deaf', '--replicas=0');
    const left = (name: string) =>
      story.docker('ps', '--quiet', `--filter=label=com.docker.swarm.service.name=${name}`);
    await eventually('the one that hears its signal stops', () => left('polite') === '' || undefined);
    assert.notEqual(left('deaf'), '', 'the deaf one has its grace period');
    await eventually('the deaf one is killed', () => left('deaf') === '' || undefined);
    assert.ok(Date.now() - shutAt >= 3000, 'not before its grace period is over');

    await story.untilRunning('well', 1);
    await story.untilTasks('tries', 'three tries', (lines) => count(lines, 'task: non-zero exit (4)') === 3);
    await story.untilTasks(
      'once',
      'one task',
      (lines) => lines.length === 1 && count(lines, '|Shutdown|Complete') === 1,
    );
    await story.untilTasks('ill', 'it fails', (lines) => count(lines, 'unhealthy container') === 1);
    await story.untilTasks(
      'bind',
      'it says why',
      (lines) => count(lines, 'invalid bind mount source, source path not found: /no/such/place') === 1,
    );
    await story.untilTasks(
      'huge',
      'it says why',
      (lines) => count(lines, 'no suitable node (insufficient resources on 2 nodes)') === 1,
    );
    await story.untilTasks(
      'mars',
      'it says why',
      (lines) => count(lines, 'no suitable node (scheduling constraints not satisfied on 2 nodes)') === 1,
    );
    story.docker('node', 'update', '--label-add=planet=mars', 'node2');
    await story.untilRunning('mars', 1);
    assert.equal(count(story.tasks('tries'), 'non-zero exit'), 3, 'and no fourth try');
    story.remove('tries', 'once', 'ill', 'well', 'bind', 'huge', 'mars', 'polite', 'deaf');
  });

  await context.test('a stack of five services is deployed, changed and removed', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'skein-stack-'));
    try {
      copyFileSync(join(import.meta.dirname, 'support/stack.yml'), join(directory, 'stack.yml'));
      writeFileSync(join(directory, 'web.conf'), 'the page');
      writeFileSync(join(directory, 'password'), 's3cret');
      const deploy = [
        'stack',
        'deploy',
        '--detach=true',
        '--resolve-image=never',
        `--compose-file=${directory}/stack.yml`,
        'app',
      ];
      assert.match(story.docker(...deploy), /Creating network app_back[\s\S]*Creating service app_/);
      const converged = '2/2 1/1 2/2 2/2 2/2 (max 1 per node)';
      const replicas = () => story.docker('stack', 'services', '--format={{.Replicas}}', 'app').split('\n').join(' ');
      await eventually('all five run', () => replicas() === converged || undefined);
      assert.match(story.docker('stack', 'ls'), /^app +5/m);
      assert.equal(story.docker('stack', 'ps', '--format={{.Name}}', 'app').split('\n').length, 9);
      const web =
        story.docker('ps', '--quiet', '--filter=label=com.docker.swarm.service.name=app_web').split('\n')[0] ?? '';
      const database = story.docker('ps', '--quiet', '--filter=label=com.docker.swarm.service.name=app_database');
      assert.equal(story.docker('exec', web, 'wget', '-qO-', 'http://web:8080/'), 'the page');
      assert.equal(story.docker('exec', web, 'sh', '-c', 'nc -w 2 backend 9000 </dev/null'), 'from the api');
      assert.equal(story.docker('exec', database, 'cat', '/data/seen'), 's3cret');

      const ids = story.docker('stack', 'ps', '--quiet', 'app');
      story.docker(...deploy);
      assert.equal(story.docker('stack', 'ps', '--quiet', 'app'), ids, 'the same file again changes nothing');
      story.docker('stack', 'rm', 'app');
      await eventually('nothing of it is left', () => {
        const left = ['network', 'secret', 'config', 'service'].map((kind) =>
          story.docker(kind, 'ls', '--format={{.Name}}'),
        );
        return left.join('\n').includes('app_') ? undefined : true;
      });
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  await context.test('tasks are where labels, drain and pause want them; roles are told the truth about', async () => {
    assert.match(story.refused('node', 'promote', 'node2'), /a swarm has one manager in this version/);
    assert.match(story.refused('node', 'demote', 'node1'), /attempting to demote the last manager of the swarm/);
    story.create('two', '--replicas=3', '--replicas-max-per-node=1', ...forever);
    story.create('wide', '--replicas=4', '--placement-pref=spread=node.labels.planet', ...forever);
    story.create('each', '--mode=global', ...forever);
    await Promise.all([story.untilRunning('two', 2), story.untilRunning('wide', 4), story.untilRunning('each', 2)]);
    assert.equal(count(story.tasks('two'), 'max replicas per node limit exceed'), 1);
    assert.equal(count(story.running('wide'), 'node2 '), 2);
    story.docker('node', 'update', '--availability=drain', 'node2');
    await story.untilTasks('wide', 'all on node1', () => count(story.running('wide'), 'node1 ') === 4);
    await story.untilRunning('each', 1);
    story.docker('node', 'update', '--availability=pause', 'node2');
    story.docker('service', 'scale', '--detach', 'wide=6');
    await story.untilRunning('wide', 6);
    assert.equal(count(story.running('wide'), 'node2 '), 0, 'a paused node gets nothing new');
    story.docker('node', 'update', '--availability=active', 'node2');
    await story.untilRunning('each', 2);
    story.remove('two', 'wide', 'each');
  });

  await context.test(
    'a service scales to a hundred tasks; a node that is away keeps its own, a dead one loses them',
    async () => {
      story.create('many', '--replicas=6', '--restart-delay=500ms', ...forever);
      await story.untilRunning('many', 6);
      story.docker('service', 'scale', '--detach', 'many=100');
      await story.untilRunning('many', 100, 60_000);
      assert.equal(count(story.running('many'), 'node2 '), 50);
      story.docker('service', 'scale', '--detach', 'many=6');
      await eventually('six are left', () => story.tasks('many').length === 6 || undefined, 60_000);

      const ids = () => story.tasks('many', '{{.ID}}', '--filter=desired-state=running').sort();
      const before = ids();
      const link = (state: 'up' | 'down') => cluster.must('node2', `ip link set eth0 ${state}`);
      link('down');
      await new Promise((resolve) => setTimeout(resolve, 6_000));
      link('up');
      await new Promise((resolve) => setTimeout(resolve, 4_000));
      assert.deepEqual(ids(), before, 'away for a few seconds');
      link('down');
      await eventually(
        'its tasks run elsewhere',
        () => count(story.running('many'), 'node1 ') === 6 || undefined,
        deathMs,
      );
      link('up');
      await eventually(
        'it is back',
        () => !story.docker('node', 'ls', '--format={{.Status}}').includes('Down') || undefined,
      );
      await eventually(
        'what ran there is gone',
        () =>
          cluster.must('node2', 'docker ps --quiet --filter label=com.docker.swarm.service.name=many') === '' ||
          undefined,
      );
      story.remove('many');
      await cluster.untilGone('many');
    },
  );
});
