/** Five services as people deploy them (web front, API, database, queue, workers), under load while the cluster changes. */
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { writeApplicationImages } from './application/images.ts';
import { type Client, Cluster, CommandError, eventually } from './support/cluster.ts';
import { killHost } from './support/kill-host.ts';
import type { LoadReport } from './support/load.ts';

const load = join(import.meta.dirname, 'support/load.ts');
const application = join(import.meta.dirname, 'application');
const addresses = { node1: '172.31.1.5', node2: '172.31.1.6', node3: '172.31.1.7' };
const requestsPerSecond = 4;
/** Longer than any test here takes: each load is ended by its test. */
const loadSeconds = 300;
const testTimeoutMs = 300_000;
/** Three heartbeats until the manager gives a node up, and the start of tasks elsewhere. */
const deathMs = 40_000;
/** A dead node's tasks are out of the virtual IPs when gossip has given the node up: about a third of the requests until then. */
const lostSecondsAtDeath = 15;

test('five services take requests through an update, a drain and the death of a node', {
  timeout: testTimeoutMs,
}, async (context) => {
  await using cluster = await Cluster.start('application', 3, { image: false });
  const directory = mkdtempSync(join(tmpdir(), 'skein-application-'));
  try {
    const app = new Application(cluster, directory);
    await app.swarm();
    app.deploy(1);
    await app.untilServing('1');
    await app.startClient();

    await context.test('a rolling update, start-first, of front and API loses no request', async (step) => {
      const reports = await app.underLoad(Object.keys(addresses), async () => {
        app.deploy(2);
        await app.untilUpdated();
      });
      step.diagnostic(summary(reports));
      assertNoFailure(reports);
      const answers = reports.flatMap(({ report }) => Object.keys(report.answers));
      for (const version of ['1 ', '2 ']) assert.ok(answers.some((answer) => answer.startsWith(version)));
      await app.untilServing('2');
    });

    await context.test('draining a node loses no request', async (step) => {
      const reports = await app.underLoad(Object.keys(addresses), async () => {
        cluster.must('node1', 'docker node update --availability drain node2');
        await app.untilRunning((tasks) => !tasks.includes('node2 '));
        await app.untilStopped('node2');
      });
      step.diagnostic(summary(reports));
      assertNoFailure(reports);
    });

    await context.test('every order that was taken is worked off', async () => {
      await eventually('all are done', () => {
        assert.equal(app.database('SCARD done'), app.database('GET orders'));
        return true;
      });
    });

    await context.test(
      'the death of a node costs what its tasks had until it was noticed, and no more',
      async (step) => {
        cluster.must('node1', 'docker node update --availability active node2');
        const begin = Date.now();
        let seconds = 0;
        const reports = await app.underLoad(['node1', 'node2'], async () => {
          killHost(cluster, 'node3');
          await app.untilRunning((tasks) => !tasks.includes('node3 '), deathMs);
          seconds = (Date.now() - begin) / 1000;
        });
        step.diagnostic(`${summary(reports)}; its tasks ran elsewhere after ${seconds.toFixed(1)} s`);
        for (const { name, report } of reports)
          assert.ok(failed(report) <= requestsPerSecond * lostSecondsAtDeath, `${name}: ${JSON.stringify(report)}`);
        const after = await app.underLoad(['node1', 'node2'], () => sleep(2000));
        assertNoFailure(after);
        await eventually(
          'what was answered is done',
          () => Number(app.database('SCARD done')) >= app.answered || undefined,
        );
      },
    );

    cluster.must('node1', 'docker rm --force client');
    await context.test('skein makes of the file what docker makes', () => {
      const made = app.specs('app');
      cluster.must('node1', 'docker stack rm app');
      app.deploy(2, 'skein', 'again');
      assert.deepEqual(app.specs('again'), made);
      assert.equal(Object.keys(made).length, 5);
    });
    cluster.must('node1', 'skein stack rm again');
  } finally {
    rmSync(directory, { recursive: true });
  }
});

interface NamedReport {
  readonly name: string;
  readonly report: LoadReport;
}

class Application {
  readonly #cluster: Cluster;
  readonly #directory: string;
  /** Words that enter the network of the container `client`. */
  #client: readonly string[] = [];
  #apiAddress = '';
  /** Requests that had an answer, so far. */
  answered = 0;

  constructor(cluster: Cluster, directory: string) {
    this.#cluster = cluster;
    this.#directory = directory;
  }

  /** Makes the swarm, and gives every node the images. */
  async swarm(): Promise<void> {
    const init = this.#cluster.must('node1', 'docker swarm init --advertise-addr 172.31.1.5');
    const token = /SWMTKN\S+/.exec(init)?.[0] ?? '';
    const archive = await writeApplicationImages(this.#directory);
    for (const node of ['node2', 'node3'])
      this.#cluster.must(node, ['docker', 'swarm', 'join', '--token', token, '172.31.1.5:2377']);
    const words = ['docker', 'load', '--quiet', '--input', archive];
    await Promise.all(
      Object.keys(addresses).map(async (node) => {
        const outcome = await this.#cluster.start(node, words).finished;
        if (outcome.exitCode !== 0) throw new CommandError(node, words, outcome);
      }),
    );
  }

  deploy(edition: number, client: Client = 'docker', stack = 'app'): void {
    const directory = join(this.#directory, String(edition));
    mkdirSync(directory, { recursive: true });
    for (const file of ['stack.yml', 'nginx.conf']) {
      const text = readFileSync(join(application, file), 'utf8');
      writeFileSync(join(directory, file), text.replaceAll('EDITION', String(edition)));
    }
    const options = ['--detach=true', '--resolve-image=never', `--compose-file=${directory}/stack.yml`];
    this.#cluster.must('node1', [client, 'stack', 'deploy', ...options, stack]);
  }

  /** @returns the specs of a stack's services by name, the stack's name left out and names in the place of IDs. */
  specs(stack: string): Record<string, unknown> {
    const kinds = ['network', 'config'].map((kind) => this.#docker(kind, 'ls', '--format={{.ID}} {{.Name}}'));
    const names = this.#docker('stack', 'services', '--format={{.Name}}', stack).trim().split('\n');
    let specs = this.#docker('service', 'inspect', '--format={{json .Spec}}', ...names);
    for (const line of kinds.join('').trim().split('\n')) {
      const [id = '', name = ''] = line.split(' ');
      specs = specs.replace(new RegExp(`"${id}\\w*"`, 'g'), `"${name}"`);
    }
    specs = specs.replaceAll(`${stack}_`, '').replaceAll(`"com.docker.stack.namespace":"${stack}"`, '"namespace":""');
    return Object.fromEntries(
      specs
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as { Name: string })
        .map((spec) => [spec.Name, spec]),
    );
  }

  /** A container that is in no service, for requests to virtual IPs. */
  async startClient(): Promise<void> {
    this.#docker('run', '--detach', '--name=client', '--network=app_front', 'worker:1', 'sleep', '100000');
    const pid = this.#docker('inspect', '--format={{.State.Pid}}', 'client').trim();
    this.#client = ['nsenter', '--target', pid, '--net', '--'];
    this.#apiAddress = /Address: (\S+)\s*$/.exec(this.#docker('exec', 'client', 'nslookup', 'api').trim())?.[1] ?? '';
  }

  /** Waits until three tasks of the API, all of that version, answer through each node. */
  async untilServing(version: string): Promise<void> {
    await eventually(
      `version ${version} serves on every node`,
      async () => {
        const seen = new Set<string>();
        for (const address of Object.values(addresses))
          for (let count = 0; count < 4; count++) seen.add(await this.#request('outside', `http://${address}:8080/`));
        const expected = [...seen].every((answer) => answer.startsWith(`${version} `)) && seen.size === 3;
        return expected || assert.fail([...seen].join(', '));
      },
      120_000,
    );
  }

  async untilUpdated(): Promise<void> {
    await eventually(
      'front and API are updated',
      () => {
        const format = '--format={{json .UpdateStatus}}';
        const states = this.#docker('service', 'inspect', format, 'app_web', 'app_api');
        return states.split('"completed"').length === 3 || assert.fail(states);
      },
      120_000,
    );
  }

  /** Waits until every service has its tasks running, and they are as `isAsked` says. @param isAsked of lines `node state`. */
  async untilRunning(isAsked: (tasks: string) => boolean, timeoutMs = 60_000): Promise<void> {
    await eventually(
      'all tasks run',
      () => {
        const format = '--format={{.Node}} {{.CurrentState}}';
        const tasks = this.#docker('stack', 'ps', '--filter=desired-state=running', format, 'app');
        const running = tasks
          .trim()
          .split('\n')
          .filter((line) => line.includes(' Running '));
        return (running.length === 10 && isAsked(running.join('\n'))) || assert.fail(tasks);
      },
      timeoutMs,
    );
  }

  async untilStopped(node: string): Promise<void> {
    await eventually(`${node} runs nothing`, () => this.#cluster.must(node, 'docker ps --quiet') === '' || undefined);
  }

  /** Sends requests on every way while `change` is going on, and a little longer. @param nodes through whose published port they go. */
  async underLoad(nodes: readonly string[], change: () => Promise<unknown>): Promise<NamedReport[]> {
    const start = (name: string, host: string, url: string, enter: readonly string[] = []) => {
      const words = [...enter, process.execPath, load, url, String(loadSeconds), String(requestsPerSecond)];
      return { name, running: this.#cluster.start(host, words) };
    };
    const loads = [
      ...nodes.map((node) => start(`outside to ${node}`, 'outside', `http://${addresses[node as 'node1']}:8080/`)),
      start('node1 to itself', 'node1', 'http://127.0.0.1:8080/'),
      start('a container to a virtual IP', 'node1', `http://${this.#apiAddress}:8000/`, this.#client),
    ];
    try {
      await sleep(1000);
      await change();
      await sleep(1000);
    } finally {
      await Promise.all(loads.map(({ running }) => running.stop()));
    }
    const reports: NamedReport[] = [];
    for (const { name, running } of loads) {
      const { stdout, stderr } = await running.finished;
      assert.ok(stdout.startsWith('{'), `${name}: ${stderr}`);
      const report = JSON.parse(stdout) as LoadReport;
      this.answered += report.sent - failed(report);
      reports.push({ name, report });
    }
    return reports;
  }

  /** Asks the database, in its container. @returns its answer, as a number in text. */
  database(command: string): string {
    const id = this.#docker('ps', '--quiet', '--filter=label=com.docker.swarm.service.name=app_database').trim();
    const answer = this.#docker('exec', id, 'sh', '-c', `printf '${command}\\r\\n' | nc -w 1 127.0.0.1 6379`);
    return /(\d+)\s*$/.exec(answer)?.[1] ?? assert.fail(answer);
  }

  async #request(host: string, url: string): Promise<string> {
    const words = ['timeout', '5', 'busybox', 'wget', '-q', '-O', '-', url];
    const { stdout } = await this.#cluster.start(host, words).finished;
    return stdout.trim();
  }

  #docker(...words: string[]): string {
    return this.#cluster.must('node1', ['docker', ...words]);
  }
}

const failed = ({ failures }: LoadReport): number => Object.values(failures).reduce((sum, count) => sum + count, 0);

function summary(reports: readonly NamedReport[]): string {
  const one = ({ name, report }: NamedReport): string =>
    `${name}: ${failed(report)} of ${report.sent} failed, slowest ${report.slowestMs} ms`;
  return reports.map(one).join('; ');
}

function assertNoFailure(reports: readonly NamedReport[]): void {
  for (const { name, report } of reports) assert.deepEqual(report.failures, {}, `${name}: ${JSON.stringify(report)}`);
}
