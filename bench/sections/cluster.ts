/** A cluster of 20 hosts: how fast all learn of a new endpoint and of a dead host, and what gossip costs. */
import { setTimeout as sleep } from 'node:timers/promises';
import { quantile } from '../results.ts';
import { type Member, Swarm } from '../stage/swarm.ts';
import type { Bench, Section } from '../types.ts';
import { GossipMeter } from './gossip-meter.ts';

const network = 'bench-cluster';
const watchers = 'watch';
const creations = 5;
const deaths = 2;
const probeSeconds = 60;
/** Gossip after a join is over, then it is measured. */
const settleMs = 5000;
const meterSeconds = 15;
/** So many daemons are stopped together, as a machine that swaps stops them. */
const stopped = 3;
const stopRounds = 6;
const stopMs = 2000;
const goMs = 3000;
/** After so long every host knows a new name. */
const arrivedMs = 4000;

export const cluster: Section = {
  name: 'cluster',
  title: 'a cluster of 20 hosts',
  budgetSeconds: 400,
  measures: {
    'cluster.usable.p50': { title: 'new endpoint usable on all hosts, p50', unit: 's', better: 'lower' },
    'cluster.usable.p99': { title: 'new endpoint usable on all hosts, p99', unit: 's', better: 'lower' },
    'cluster.noticed.p50': { title: 'names of a dead host gone on the others, p50', unit: 's', better: 'lower' },
    'cluster.noticed.p99': { title: 'names of a dead host gone on the others, p99', unit: 's', better: 'lower' },
    'cluster.down': { title: 'node ls says Down', unit: 's', better: 'lower' },
    'cluster.replaced': { title: 'task of a dead host runs elsewhere', unit: 's', better: 'lower' },
    'cluster.false': { title: 'names lost while 3 daemons stop 2 s of every 5', unit: '', better: 'lower' },
    'cluster.gossip': { title: 'gossip that a host sends, idle', unit: 'B/s', better: 'lower' },
  },
  async run(bench) {
    await bench.stage.clear(); // The memory and the quiet of the other hosts are needed.
    for (const contestant of bench.stage.engines) {
      await bench.attempt(`${bench.options.nodes} hosts of ${contestant}`, async () => {
        const engine = contestant === 'dockerd' ? 'dockerd' : 'skeind';
        bench.say(`starting ${bench.options.nodes} hosts of ${contestant}`);
        await using swarm = bench.stage.keep(await Swarm.start({ contestant, engine, nodes: bench.options.nodes }));
        await new ClusterRun(bench, swarm).run();
      });
    }
  },
};

interface Task {
  readonly NodeID: string;
  readonly Status: { readonly State: string; readonly ContainerStatus?: { readonly ContainerID: string } };
}

interface Node {
  readonly ID: string;
  readonly Description: { readonly Hostname: string };
  readonly Status: { readonly State: string };
}

class ClusterRun {
  readonly #bench: Bench;
  readonly #swarm: Swarm;
  /** Hosts that live, with the container that asks for names there. */
  readonly #watchers = new Map<string, Member>();

  constructor(bench: Bench, swarm: Swarm) {
    this.#bench = bench;
    this.#swarm = swarm;
  }

  async run(): Promise<void> {
    const swarm = this.#swarm;
    await swarm.createNetwork(network);
    await swarm.createService({ name: watchers, network });
    await swarm.running(watchers, swarm.hosts.length);
    for (const host of swarm.hosts) {
      const [member] = await swarm.members(host, watchers, network);
      if (member === undefined) throw new Error(`no container on ${host}`);
      this.#watchers.set(host, member);
    }
    await this.#step('idle gossip', () => this.#meterGossip());
    await this.#step('new endpoints', () => this.#createEndpoints());
    await this.#step('stopped daemons', () => this.#stopDaemons());
    await this.#step('dead hosts', () => this.#killHosts());
  }

  #step(what: string, action: () => Promise<void>): Promise<boolean> {
    this.#bench.say(`${this.#swarm.contestant}: ${what}`);
    return this.#bench.attempt(`${what} of ${this.#swarm.contestant}`, action);
  }

  #record(measure: string, value: number): void {
    this.#bench.record(measure, this.#swarm.contestant, value);
  }

  async #meterGossip(): Promise<void> {
    await sleep(settleMs);
    using meter = GossipMeter.install(this.#swarm.hosts.map((host) => this.#swarm.namespace(host)));
    const before = meter.bytesSent();
    await sleep(meterSeconds * 1000);
    this.#record('cluster.gossip', (meter.bytesSent() - before) / meterSeconds / this.#swarm.hosts.length);
  }

  /** Each new service's only task, waited for by every host's watcher. */
  async #createEndpoints(): Promise<void> {
    const delays: number[] = [];
    for (let number = 1; number <= creations; number++) {
      const name = `endpoint${number}`;
      const probes = [...this.#watchers.values()].map((member) =>
        this.#bench.probe.start(member, 'usable', `tasks.${name}`, probeSeconds),
      );
      await sleep(500);
      await this.#swarm.createService({ name, replicas: 1, network });
      const reports = await Promise.all(probes.map(({ report }) => report));
      const { startedAt } = (await this.#container(name)).member;
      delays.push(...reports.map(({ reachedMs = Number.NaN }) => (reachedMs - startedAt) / 1000));
    }
    this.#record('cluster.usable.p50', quantile(delays, 0.5));
    this.#record('cluster.usable.p99', quantile(delays, 0.99));
  }

  async #stopDaemons(): Promise<void> {
    const victims = [...this.#watchers.keys()].slice(-stopped);
    const others = [...this.#watchers].filter(([host]) => !victims.includes(host));
    const seconds = (stopRounds * (stopMs + goMs)) / 1000;
    const probes = others.map(([, member]) => this.#bench.probe.start(member, 'watch', `tasks.${watchers}`, seconds));
    for (let round = 0; round < stopRounds; round++) {
      for (const host of victims) process.kill(this.#swarm.pid(host), 'SIGSTOP');
      try {
        await sleep(stopMs);
      } finally {
        for (const host of victims) process.kill(this.#swarm.pid(host), 'SIGCONT');
      }
      await sleep(goMs);
    }
    const reports = await Promise.all(probes.map(({ report }) => report));
    this.#record(
      'cluster.false',
      reports.reduce((sum, { losses = 0 }) => sum + losses, 0),
    );
  }

  async #killHosts(): Promise<void> {
    const delays: number[] = [];
    for (let number = 1; number <= deaths; number++) {
      const name = `victim${number}`;
      await this.#swarm.createService({ name, replicas: 1, network, constraints: ['node.role==worker'] });
      await this.#swarm.running(name, 1);
      const { member, node } = await this.#container(name);
      this.#watchers.delete(member.host);
      // A name that has not arrived yet would look like one that is gone.
      await sleep(arrivedMs);
      const probes = [...this.#watchers.values()].map((watcher) =>
        this.#bench.probe.start(watcher, 'gone', `tasks.${name}`, member.address, probeSeconds),
      );
      await sleep(1000);
      const begin = Date.now();
      this.#swarm.setReachable(member.host, false);
      await Promise.all([
        this.#untilDown(node).then(() => this.#record('cluster.down', (Date.now() - begin) / 1000)),
        this.#untilReplaced(name, node).then(() => this.#record('cluster.replaced', (Date.now() - begin) / 1000)),
        Promise.all(probes.map(({ report }) => report)).then((reports) => {
          delays.push(...reports.map(({ goneMs = Number.NaN }) => (goneMs - begin) / 1000));
        }),
      ]);
    }
    this.#record('cluster.noticed.p50', quantile(delays, 0.5));
    this.#record('cluster.noticed.p99', quantile(delays, 0.99));
  }

  #untilDown(node: string): Promise<void> {
    return this.#swarm.until('the dead node is down', async () => {
      const found = await this.#swarm.call<Node>('node1', 'GET', `/nodes/${node}`);
      return found.Status.State === 'down';
    });
  }

  #untilReplaced(service: string, node: string): Promise<void> {
    return this.#swarm.until('its task runs elsewhere', async () => {
      const tasks = await this.#tasks(service);
      return tasks.some(({ NodeID, Status }) => NodeID !== node && Status.State === 'running');
    });
  }

  #tasks(service: string): Promise<Task[]> {
    const filters = encodeURIComponent(JSON.stringify({ service: [service] }));
    return this.#swarm.call('node1', 'GET', `/tasks?filters=${filters}`);
  }

  /** The only running task of a service: its container and its node's ID. */
  async #container(service: string): Promise<{ member: Member; node: string }> {
    await this.#swarm.running(service, 1);
    const task = (await this.#tasks(service)).find(({ Status }) => Status.State === 'running');
    const id = task?.Status.ContainerStatus?.ContainerID ?? '';
    const node = await this.#swarm.call<Node>('node1', 'GET', `/nodes/${task?.NodeID ?? ''}`);
    return { member: await this.#swarm.member(node.Description.Hostname, id, network), node: node.ID };
  }
}
