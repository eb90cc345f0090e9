/**
 * kill -9 of skeind at random points of what users do: a user asks for something, the daemon of one node or both is killed
 * somewhere in the middle and started again, and what was asked must come about. After each cycle of asking (which ends
 * with removing all that was made) every node must be what it was before.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { seededRandom } from '../../packages/gossip/src/simulation/seeded-random.ts';
import { type Cluster, eventually } from './cluster.ts';
import { differences, hostRemains } from './remains.ts';

export interface KillsOptions {
  /** How many; the last cycle is played to its end, so that they may be some more. */
  readonly kills: number;
  /** The same seed asks and kills in the same order; the machine's own timing remains. */
  readonly seed: number;
  readonly say: (line: string) => void;
}

/** Something that a user asks for, and what is to be seen then. */
interface Act {
  readonly name: string;
  readonly host: string;
  /** Commands, each of which is repeated when a kill has cut it off. */
  readonly commands: readonly (readonly string[])[];
  /** Within this time of asking, the kill comes. */
  readonly killWithinMs: number;
  /** @returns undefined when all is there. */
  readonly missing: () => string | undefined;
}

const nodes = ['node1', 'node2'] as const;
type Node = (typeof nodes)[number];
const address = { node1: '172.31.1.5', node2: '172.31.1.6' };
const meshPort = 8081;
const hostPort = 9001;
const awayMs = 500;
/** So many kills are a long run. */
const longRun = 50;
/** Of what takes longer, the last that was missing is told. */
const slowMs = 15_000;
/** Of an update's steps and the replacement of tasks of a node that was away. */
const reachTimeoutMs = 120_000;
/**
 * Restarted daemons look for what nobody has every 5 s, twice. A published port of the mesh stays for a minute after a
 * daemon that had a task of it was lost (balancer: lostGraceMs).
 */
const cleanTimeoutMs = 100_000;
const lastingTable = /table ip skein-ports|(0\.0\.0\.0|::):8081$/;
/** What the engine says of a command that had been done although its answer was cut off. */
const doneBefore = /already (exists|in use)|is already in use|No such container|not found|name conflicts/;
const webServer =
  'mkdir -p /www; hostname > /www/index.html; trap "exit 0" TERM; httpd -p 80 -h /www; sleep 100000 & wait';

/** Plays until so many kills are done. @throws Error with the seed when something was not reached or something is left. */
export async function playKills(cluster: Cluster, { kills, seed, say }: KillsOptions): Promise<void> {
  const player = new Player(cluster, seed, say);
  await player.warmUp();
  const before = await player.remains();
  for (let cycle = 1, done = 0; done < kills; cycle++) {
    try {
      done += await player.cycle(cycle, kills - done);
      // The mesh's ports have their time: until the end of a long run, which waits for them.
      const waits = done >= kills && kills >= longRun;
      await player.untilClean(before, (each) => !waits && lastingTable.test(each));
    } catch (error) {
      throw new Error(`seed ${seed}, cycle ${cycle}: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      });
    }
  }
}

/** @param tasks lines that begin with the node and end with ports of mode host, if there are any. */
function publishedPorts(tasks: readonly string[]): (readonly [Node, number])[] {
  const own = tasks.flatMap((task) => {
    const port = /\*:(\d+)->80\/tcp/.exec(task)?.[1];
    const node = nodes.find((name) => task.startsWith(`${name} `));
    return port === undefined || node === undefined ? [] : [[node, Number(port)] as const];
  });
  return own.length > 0 ? own : nodes.map((node) => [node, meshPort] as const);
}

function nameOf(command: readonly string[]): string {
  return command.find((word) => word.startsWith('--name='))?.slice('--name='.length) ?? '';
}

class Player {
  readonly #cluster: Cluster;
  readonly #random: () => number;
  readonly #say: (line: string) => void;

  constructor(cluster: Cluster, seed: number, say: (line: string) => void) {
    this.#cluster = cluster;
    this.#random = seededRandom(seed).next;
    this.#say = say;
  }

  /** Makes, changes and removes a service with its network, and plain containers where so many kills are wanted. @returns their number. */
  async cycle(number: number, atMost: number): Promise<number> {
    const all = this.#acts(number, this.#pick(nodes));
    const acts = all.length <= atMost ? all : all.filter(({ name }) => !name.startsWith('plain'));
    for (const act of acts) await this.#play(act, true);
    return acts.length;
  }

  /** Makes what stays from a first cycle on: docker_gwbridge, docker0 and the like. */
  async warmUp(): Promise<void> {
    const [first, ...others] = this.#acts(0, 'node1').filter(({ name }) => !/scale|update/.test(name));
    const elsewhere = this.#acts(0, 'node2').filter(({ name }) => name.startsWith('plain'));
    for (const act of [first, ...elsewhere, ...others]) if (act) await this.#play(act, false);
    await eventually('what the first cycle made is gone', async () => {
      const left = (await this.remains()).flatMap(({ containers = [], agentTasks = [] }) => [
        ...containers,
        ...agentTasks,
      ]);
      return left.length === 0 || undefined;
    });
  }

  async remains(): Promise<Record<string, string[]>[]> {
    const all: Record<string, string[]>[] = [];
    for (const node of nodes) all.push(await hostRemains(this.#cluster, node));
    const clusterTasks = ['service', 'network']
      .map((kind) => this.#docker('node1', kind, 'ls', '--format={{.Name}}'))
      .join('\n');
    return [...all, { cluster: clusterTasks.split('\n') }];
  }

  /** @param isPassing of a thing that may be there for a while. */
  async untilClean(before: readonly Record<string, string[]>[], isPassing: (thing: string) => boolean): Promise<void> {
    const start = Date.now();
    let last = '';
    await eventually(
      'nothing is left over',
      async () => {
        const now = await this.remains();
        const left = now.flatMap((state, index) =>
          differences(before[index] ?? {}, state, isPassing).map((line) => `${nodes[index] ?? 'cluster'} ${line}`),
        );
        if (left.length === 0) return true;
        last = left.join('\n');
        throw new Error(last);
      },
      cleanTimeoutMs,
    );
    const ms = Date.now() - start;
    this.#say(`  clean after ${ms} ms${ms > slowMs ? `; last: ${last}` : ''}`);
  }

  #acts(number: number, plainHost: Node): Act[] {
    const [network, service] = [`net${number}`, `web${number}`];
    const published = number % 2 === 1 ? `${meshPort}:80` : 'mode=host,target=80';
    const update = (...words: string[]): string[] => ['service', 'update', '--detach', '--quiet', ...words, service];
    return [
      {
        name: 'create',
        host: 'node1',
        commands: [
          ['network', 'create', '--driver=overlay', '--attachable', network],
          [
            ...['service', 'create', '--detach', '--quiet', '--no-resolve-image', `--name=${service}`],
            ...[`--network=${network}`, '--replicas=3', `--publish=${published}`, '--secret=word', '--config=text'],
            ...['--update-monitor=100ms', '--stop-grace-period=1s', 'ubuntu', 'sh', '-c', webServer],
          ],
        ],
        killWithinMs: 2000,
        missing: () => this.#missingTasks(service, 3),
      },
      {
        name: 'plain create',
        host: plainHost,
        commands: [
          ['run', '--detach', '--name=attached', `--network=${network}`, 'ubuntu', 'sleep', '100000'],
          ['run', '--detach', '--name=bridged', `--publish=${hostPort}:80`, 'ubuntu', 'sh', '-c', webServer],
          ['create', '--name=made', '--volume=/anonymous', 'ubuntu', 'true'],
        ],
        killWithinMs: 1000,
        missing: () => this.#missingPlain(plainHost, service),
      },
      {
        name: 'scale up',
        host: 'node1',
        commands: [['service', 'scale', '--detach', `${service}=5`]],
        killWithinMs: 2000,
        missing: () => this.#missingTasks(service, 5),
      },
      {
        name: 'update',
        host: 'node1',
        commands: [
          update(
            `--env-add=ROUND=${number}`,
            '--update-parallelism=2',
            `--update-order=${this.#pick(['start-first', 'stop-first'])}`,
          ),
        ],
        killWithinMs: 6000,
        missing: () => this.#missingTasks(service, 5, `ROUND=${number}`),
      },
      {
        name: 'scale down',
        host: 'node1',
        commands: [['service', 'scale', '--detach', `${service}=2`]],
        killWithinMs: 3500,
        missing: () => this.#missingTasks(service, 2),
      },
      {
        name: 'plain remove',
        host: plainHost,
        commands: ['attached', 'bridged', 'made'].map((name) => ['rm', '--force', '--volumes', name]),
        killWithinMs: 1000,
        missing: () => this.#leftPlain(plainHost),
      },
      {
        name: 'remove',
        host: 'node1',
        commands: [['service', 'rm', service]],
        killWithinMs: 4000,
        missing: () => this.#leftNetwork(network),
      },
    ];
  }

  async #play(act: Act, kill: boolean): Promise<void> {
    const victims = this.#random() < 0.2 ? nodes : [this.#pick(nodes)];
    const killAfter = Math.floor(this.#random() * act.killWithinMs);
    const away = Math.floor(this.#random() * awayMs);
    const start = Date.now();
    const asking = this.#ask(act);
    asking.catch(() => undefined); // Awaited below.
    if (kill) {
      await sleep(killAfter);
      await Promise.all(victims.map((node) => this.#cluster.lab.stopDaemon(node, 'SIGKILL')));
      await sleep(away);
      await Promise.all(victims.map((node) => this.#cluster.lab.startDaemon(node)));
    }
    const back = Date.now();
    const repeated = await asking;
    let last = '';
    await eventually(
      `${act.name}, ${victims.join(' and ')} killed after ${killAfter} ms`,
      () => {
        const missing = act.missing();
        if (missing === undefined) return true;
        last = missing;
        throw new Error(missing);
      },
      reachTimeoutMs,
    );
    const how = kill ? `, ${victims.join(' and ')} killed after ${killAfter} ms` : '';
    const again = repeated > 0 ? `, ${repeated} repeated` : '';
    const ms = Date.now() - back;
    const slow = ms > slowMs ? `; last: ${last}` : '';
    this.#say(`${act.name}${how}${again}: reached ${ms} ms after the return, ${Date.now() - start} in all${slow}`);
  }

  /** Gives the commands one by one, as a user does who tries again when the daemon went away. @returns how many were repeated. */
  async #ask({ host, commands }: Act): Promise<number> {
    let repeated = 0;
    for (const command of commands) {
      const first = await this.#cluster.start(host, ['docker', ...command]).finished;
      if (first.exitCode === 0) continue;
      repeated += 1;
      await eventually(`docker ${command.join(' ')} (first: ${first.stderr.trim()})`, async () => {
        // `run` is two requests, and may have come as far as the first.
        if (command[0] === 'run') this.#cluster.run(host, ['docker', 'rm', '--force', nameOf(command)]);
        const { exitCode, stderr } = await this.#cluster.start(host, ['docker', ...command]).finished;
        if (exitCode === 0 || (command[0] !== 'run' && doneBefore.test(stderr))) return true;
        throw new Error(stderr);
      });
    }
    return repeated;
  }

  #missingTasks(service: string, count: number, variable = ''): string | undefined {
    const listed = this.#docker(
      'node1',
      ...['service', 'ps', '--filter=desired-state=running', '--no-trunc'],
      '--format={{.Node}} {{.CurrentState}} {{.Error}} {{.Ports}}',
      service,
    );
    const tasks = listed.split('\n').filter(Boolean);
    if (tasks.length !== count || !tasks.every((task) => task.includes(' Running '))) return `tasks:\n${listed}`;
    const status = this.#docker('node1', 'service', 'inspect', '--format={{json .UpdateStatus}}', service);
    if (status.includes('"updating"')) return status;
    for (const node of nodes) {
      const wanted = tasks.filter((task) => task.startsWith(`${node} `)).length;
      const filter = `--filter=label=com.docker.swarm.service.name=${service}`;
      const ids = this.#docker(node, 'ps', '--quiet', filter).split('\n').filter(Boolean);
      if (ids.length !== wanted) return `${node} runs ${ids.length} containers for ${wanted} tasks`;
      for (const id of ids) {
        const env = this.#docker(node, 'inspect', '--format={{.Config.Env}}', id);
        if (!env.includes(variable)) return `${id} of ${node} has ${env} without ${variable}`;
        const answer = this.#cluster.run(node, ['docker', 'exec', id, 'nslookup', `tasks.${service}`]).stdout;
        const names = answer.match(/^Address:? .*10\.\d+\.\d+\.\d+$/gm) ?? [];
        if (names.length !== count) return `${id} of ${node} is told:\n${answer}`;
      }
    }
    for (const [node, port] of publishedPorts(tasks))
      if (!this.#answers(address[node], port)) return `port ${port} of ${node} does not answer`;
    return undefined;
  }

  #missingPlain(host: Node, service: string): string | undefined {
    const listed = this.#plain(host);
    if (listed !== 'attached running\nbridged running\nmade created\n') return `containers:\n${listed}`;
    const named = this.#cluster.run(host, ['docker', 'exec', 'attached', 'nslookup', service]);
    if (!/^Address:? .*10\.\d+\.\d+\.\d+$/m.test(named.stdout)) return `${service} is not known:\n${named.stdout}`;
    return this.#answers(address[host], hostPort) ? undefined : `port ${hostPort} of ${host} does not answer`;
  }

  #leftPlain(host: string): string | undefined {
    const listed = this.#plain(host);
    return listed === '' ? undefined : `containers:\n${listed}`;
  }

  /** The network is removed by its user, who has to wait until its tasks are gone. */
  #leftNetwork(network: string): string | undefined {
    const { stderr } = this.#cluster.run('node1', ['docker', 'network', 'rm', network]);
    const listed = nodes
      .map((node) => this.#docker(node, 'network', 'ls', '--quiet', `--filter=name=${network}`))
      .join('');
    return listed === '' ? undefined : `network ${network} is there: ${stderr}`;
  }

  /** Names and states of containers that no service has. */
  #plain(host: string): string {
    return this.#docker(host, 'ps', '--all', '--format={{.Names}} {{.State}}')
      .split('\n')
      .filter((line) => /^(attached|bridged|made) /.test(line))
      .sort()
      .map((line) => `${line}\n`)
      .join('');
  }

  #answers(host: string, port: number): boolean {
    const words = ['timeout', '3', 'busybox', 'wget', '-q', '-O', '-', `http://${host}:${port}/`];
    return this.#cluster.run('outside', words).exitCode === 0;
  }

  #docker(host: string, ...words: string[]): string {
    return this.#cluster.must(host, ['docker', ...words]);
  }

  #pick<T>(choices: readonly T[]): T {
    return choices[Math.floor(this.#random() * choices.length)] as T;
  }
}
