/** A swarm of hosts that all run one engine, driven by the Engine API without a command line in between. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { callApi } from '../../e2e/support/api.ts';
import { Cluster, skeinBinary } from '../../e2e/support/cluster.ts';
import { dockerdSocket, startDockerd } from '../../e2e/support/dockerd.ts';
import type { Contestant } from '../contestants.ts';
import type { Place } from '../probe.ts';
import { killed } from './processes.ts';

export type EngineName = 'skeind' | 'dockerd';

const managerAddress = '172.31.1.5';
const api = '/v1.41';
/** So many engines start or join at a time. */
const batch = 4;
const readyTimeoutMs = 120_000;

/** What the bench asks of a service. */
export interface ServiceWish {
  readonly name: string;
  /** undefined: one on each node. */
  readonly replicas?: number;
  readonly network?: string;
  readonly constraints?: readonly string[];
}

export interface SwarmOptions {
  readonly contestant: Contestant;
  readonly engine: EngineName;
  readonly nodes: number;
  /** Further flags of `skein daemon`. */
  readonly flags?: string;
}

/** What `docker inspect` says, as far as it is read here. */
interface Inspected {
  readonly Id: string;
  readonly State: { readonly Pid: number; readonly StartedAt: string };
  readonly NetworkSettings: { readonly Networks: Readonly<Record<string, { readonly IPAddress: string }>> };
}

/** A running container as a place to measure from. */
export interface Member extends Place {
  readonly host: string;
  /** Milliseconds since 1970. */
  readonly startedAt: number;
}

export class Swarm implements AsyncDisposable {
  readonly contestant: Contestant;
  readonly engine: EngineName;
  readonly cluster: Cluster;
  readonly hosts: readonly string[];
  readonly #dockerds = new Map<string, number>();

  private constructor(options: SwarmOptions, cluster: Cluster) {
    this.contestant = options.contestant;
    this.engine = options.engine;
    this.cluster = cluster;
    this.hosts = Array.from({ length: options.nodes }, (_, index) => `node${index + 1}`);
  }

  /** Makes the hosts, starts the engines, gives each the image, and joins all to node1's swarm. */
  static async start(options: SwarmOptions): Promise<Swarm> {
    const name = `bench-${options.contestant}`;
    const skein = skeinCommand(options.flags ?? '');
    const cluster = await Cluster.start(name, options.nodes, { daemons: false, skein });
    const swarm = new Swarm(options, cluster);
    try {
      await swarm.#assemble();
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    return swarm;
  }

  /** Asks a host's engine. @throws Error with its answer unless that is a success. */
  async call<T>(host: string, method: string, path: string, body?: object): Promise<T> {
    const answer = await callApi(this.socket(host), method, `${api}${path}`, body);
    if (answer.status >= 400) {
      throw new Error(`${this.engine} of ${host}: ${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
    }
    return answer.body as T;
  }

  /** Path of a host's API socket as this process sees it. */
  socket(host: string): string {
    const { paths } = this.cluster.lab.host(host);
    return this.engine === 'dockerd' ? join(paths.run, 'docker.sock') : paths.socket;
  }

  /** Path of a host's own network namespace. */
  namespace(host: string): string {
    return this.cluster.lab.host(host).networkNamespace;
  }

  async createNetwork(name: string): Promise<void> {
    await this.call('node1', 'POST', '/networks/create', { Name: name, Driver: 'overlay' });
  }

  async removeNetwork(name: string): Promise<void> {
    await this.until(`network ${name} can be removed`, async () => {
      await this.call('node1', 'DELETE', `/networks/${name}`);
      return true;
    });
  }

  async createService({ name, replicas, network, constraints = [] }: ServiceWish): Promise<void> {
    await this.call('node1', 'POST', '/services/create', {
      Name: name,
      Mode: replicas === undefined ? { Global: {} } : { Replicated: { Replicas: replicas } },
      TaskTemplate: {
        // A shell that ends when it is told to: as process 1, `sleep` alone would ignore the stop signal.
        ContainerSpec: { Image: 'ubuntu:latest', Args: ['sh', '-c', 'trap "exit 0" TERM; sleep 100000 & wait'] },
        Placement: { Constraints: constraints },
        ...(network === undefined ? {} : { Networks: [{ Target: network }] }),
      },
    });
  }

  async removeService(name: string): Promise<void> {
    await this.call('node1', 'DELETE', `/services/${name}`);
  }

  /** Waits until the manager counts so many tasks of a service as running. */
  async running(service: string, tasks: number, timeoutMs = readyTimeoutMs): Promise<void> {
    const filters = encodeURIComponent(JSON.stringify({ name: [service] }));
    await this.until(
      `${tasks} tasks of ${service} run`,
      async () => {
        const [found] = await this.call<{ ServiceStatus?: { RunningTasks: number } }[]>(
          'node1',
          'GET',
          `/services?status=true&filters=${filters}`,
        );
        return found?.ServiceStatus?.RunningTasks === tasks;
      },
      timeoutMs,
    );
  }

  /** Waits until no container of a service is left on any host. */
  async gone(service: string, timeoutMs = readyTimeoutMs): Promise<void> {
    const filters = serviceFilter(service);
    for (const host of this.hosts) {
      await this.until(
        `${host} has no container of ${service}`,
        async () => (await this.call<unknown[]>(host, 'GET', `/containers/json?all=1&filters=${filters}`)).length === 0,
        timeoutMs,
      );
    }
  }

  /** The running containers of a service on a host, with their addresses on one network. */
  async members(host: string, service: string, network: string): Promise<Member[]> {
    const listed = await this.call<{ Id: string }[]>(host, 'GET', `/containers/json?filters=${serviceFilter(service)}`);
    return Promise.all(listed.map(({ Id }) => this.member(host, Id, network)));
  }

  /** A container as a place. */
  async member(host: string, id: string, network: string): Promise<Member> {
    const { State, NetworkSettings } = await this.call<Inspected>(host, 'GET', `/containers/${id}/json`);
    const address = NetworkSettings.Networks[network]?.IPAddress ?? '';
    const startedAt = Date.parse(State.StartedAt);
    return { host, namespace: `/proc/${State.Pid}/ns/net`, address, startedAt };
  }

  async startEngine(host: string): Promise<void> {
    if (this.engine === 'skeind') await this.cluster.lab.startDaemon(host);
    else this.#dockerds.set(host, await startDockerd(this.cluster, host));
  }

  /** kill -9. skeind's containers run on; dockerd ends its own when it starts again. */
  async killEngine(host: string): Promise<void> {
    const pid = this.pid(host);
    process.kill(pid, 'SIGKILL');
    await killed(pid);
    // dockerd's containerd dies with it; where nobody reaps it, the next dockerd would wait for it to answer.
    if (this.engine === 'dockerd') {
      rmSync(join(this.cluster.lab.host(host).paths.run, 'docker/containerd/containerd.pid'), { force: true });
    }
  }

  /** Pid of a host's engine. */
  pid(host: string): number {
    const pid = this.engine === 'skeind' ? this.cluster.lab.host(host).daemon : this.#dockerds.get(host);
    if (pid === undefined) throw new Error(`no ${this.engine} runs on ${host}`);
    return pid;
  }

  /** Takes a host off the underlay without a word, as a loss of power does, or puts it back. */
  setReachable(host: string, reachable: boolean): void {
    const master = reachable ? ['master', 'underlay0'] : ['nomaster'];
    this.cluster.must('underlay', ['ip', 'link', 'set', `to-${host}`, ...master]);
  }

  /** Repeats a question until the answer is true. @throws Error with `what` and the last failure. */
  async until(what: string, ask: () => Promise<boolean>, timeoutMs = readyTimeoutMs): Promise<void> {
    const deadline = Date.now() + timeoutMs;
    let last: unknown;
    while (Date.now() < deadline) {
      try {
        if (await ask()) return;
        last = undefined;
      } catch (error) {
        last = error;
      }
      await sleep(pollMs);
    }
    throw new Error(`${this.engine}: ${what}: not within ${timeoutMs} ms${last ? `; last: ${String(last)}` : ''}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]();
  }

  async #assemble(): Promise<void> {
    await inBatches(this.hosts, (host) => this.startEngine(host));
    const socket = this.engine === 'dockerd' ? dockerdSocket : 'unix:///run/skein.sock';
    await this.cluster.importUbuntu(this.hosts, () => ['docker', '-H', socket]);
    const listen = { ListenAddr: '0.0.0.0:2377' };
    await this.call('node1', 'POST', '/swarm/init', { ...listen, AdvertiseAddr: managerAddress });
    const { JoinTokens } = await this.call<{ JoinTokens: { Worker: string } }>('node1', 'GET', '/swarm');
    const join = { ...listen, RemoteAddrs: [`${managerAddress}:2377`], JoinToken: JoinTokens.Worker };
    await inBatches(this.hosts.slice(1), (host) => this.call(host, 'POST', '/swarm/join', join));
    await this.until('all nodes are ready', async () => {
      const nodes = await this.call<{ Status: { State: string } }[]>('node1', 'GET', '/nodes');
      return nodes.length === this.hosts.length && nodes.every(({ Status }) => Status.State === 'ready');
    });
  }
}

/** How often a state is asked for: what the figures of times are accurate to. */
const pollMs = 20;

const serviceFilter = (service: string): string =>
  encodeURIComponent(JSON.stringify({ label: [`com.docker.swarm.service.name=${service}`] }));

/** A few at a time: on the CPUs of one machine, more only wait for each other. */
async function inBatches(hosts: readonly string[], action: (host: string) => Promise<unknown>): Promise<void> {
  for (let first = 0; first < hosts.length; first += batch) {
    await Promise.all(hosts.slice(first, first + batch).map(action));
  }
}

/** The built command; further flags go behind the word `daemon` that the lab adds. */
function skeinCommand(flags: string): string[] {
  return flags === ''
    ? [skeinBinary]
    : ['sh', '-c', `command="$1"; shift; exec "$0" "$command" ${flags} "$@"`, skeinBinary];
}
