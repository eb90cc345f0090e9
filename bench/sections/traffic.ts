/** Streams and transactions between two containers, beside the same between two bare hosts or namespaces. */

import type { Contestant } from '../contestants.ts';
import type { Place, Started } from '../probe.ts';
import { trafficCpu } from '../probe.ts';
import type { Swarm } from '../stage/swarm.ts';
import type { Bench, Measure, Section } from '../types.ts';
import { firewalled } from './docker-rules.ts';

const network = 'bench-traffic';
const bitsPerByte = 8;
const settings = {
  far: 'across hosts',
  near: 'on one host',
  rules: 'across hosts with nat rules',
} as const;
type Setting = keyof typeof settings;
const transactions = { rr: 'TCP_RR', crr: 'TCP_CRR', udp: 'UDP_RR' } as const;
/** The tool's words for them. */
const words = { rr: 'rr', crr: 'crr', udp: 'udp-rr' } as const;
type Transaction = keyof typeof transactions;

/** Client and server of one contestant, with the server started. */
interface Pair {
  readonly contestant: Contestant;
  readonly from: Place;
  readonly to: Place;
  readonly server: Started;
}

export const traffic: Section = {
  name: 'traffic',
  title: 'TCP and UDP between containers, and between hosts',
  budgetSeconds: 170,
  measures: Object.fromEntries(
    Object.entries(settings).flatMap(([setting, where]) => [
      row(`${setting}.stream`, `TCP stream, ${where}`, 'Gbit/s', 'higher'),
      row(`${setting}.stream.cpu`, `TCP stream, ${where}, CPU`, 'ns/KB', 'lower'),
      ...Object.entries(transactions).flatMap(([key, name]) => [
        row(`${setting}.${key}`, `${name}, ${where}`, '1/s', 'higher'),
        row(`${setting}.${key}.cpu`, `${name}, ${where}, CPU`, 'µs each', 'lower'),
      ]),
    ]),
  ),
  async run(bench) {
    await using scene = await Scene.prepare(bench);
    for (const round of bench.rounds()) {
      bench.say(`round ${round}`);
      await scene.measure('far');
      await scene.measure('near');
      await scene.measureWithRules();
    }
  },
};

function row(id: string, title: string, unit: string, better: Measure['better']): [string, Measure] {
  return [id, { title, unit, better }];
}

/** All pairs of all settings. */
class Scene implements AsyncDisposable {
  readonly #bench: Bench;
  readonly #pairs: Record<Setting, Pair[]> = { far: [], near: [], rules: [] };
  readonly #swarms: Swarm[] = [];

  private constructor(bench: Bench) {
    this.#bench = bench;
  }

  static async prepare(bench: Bench): Promise<Scene> {
    const scene = new Scene(bench);
    const { hosts, neighbours } = await bench.stage.bare();
    await scene.#add('far', 'bare', ...hosts);
    await scene.#add('near', 'bare', ...neighbours);
    for (const contestant of bench.stage.trafficEngines) {
      await bench.attempt(`containers of ${contestant}`, async () =>
        scene.#addSwarm(await bench.stage.swarm(contestant)),
      );
    }
    return scene;
  }

  /** One measurement after the other, each with all contestants in turn. */
  async measure(setting: Setting): Promise<void> {
    const pairs = setting === 'rules' ? this.#pairs.far : this.#pairs[setting];
    for (const pair of pairs) await this.#attempt(pair, setting, () => this.#stream(setting, pair));
    for (const transaction of Object.keys(transactions) as Transaction[]) {
      for (const pair of pairs) await this.#attempt(pair, setting, () => this.#transact(setting, transaction, pair));
    }
  }

  /** As `far`, with the rules that dockerd made for itself on the other hosts too. */
  async measureWithRules(): Promise<void> {
    const docker = this.#swarms.find(({ engine }) => engine === 'dockerd');
    if (docker === undefined) return;
    const bare = await this.#bench.stage.bare();
    const others = this.#swarms.filter(({ engine }) => engine !== 'dockerd');
    const namespaces = [
      ...bare.hosts.map(({ namespace }) => namespace),
      ...others.flatMap((swarm) => swarm.hosts.map((host) => swarm.namespace(host))),
    ];
    await this.#bench.attempt(settings.rules, () =>
      firewalled(docker.namespace('node1'), namespaces, () => this.measure('rules')),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { server } of Object.values(this.#pairs).flat()) await server.stop();
    for (const swarm of this.#swarms) {
      await this.#bench.attempt(`removing the containers of ${swarm.contestant}`, async () => {
        for (const service of ['pair', 'near']) await swarm.removeService(service);
        for (const service of ['pair', 'near']) await swarm.gone(service);
        await swarm.removeNetwork(network);
      });
    }
  }

  async #addSwarm(swarm: Swarm): Promise<void> {
    this.#swarms.push(swarm);
    await swarm.createNetwork(network);
    await swarm.createService({ name: 'pair', network });
    await swarm.createService({ name: 'near', network, replicas: 1, constraints: ['node.hostname==node1'] });
    await swarm.running('pair', 2);
    await swarm.running('near', 1);
    const [here] = await swarm.members('node1', 'pair', network);
    const [there] = await swarm.members('node2', 'pair', network);
    const [near] = await swarm.members('node1', 'near', network);
    if (!here || !there || !near) throw new Error('not all containers are there');
    await this.#add('far', swarm.contestant, here, there);
    await this.#add('near', swarm.contestant, here, near);
  }

  async #add(setting: Setting, contestant: Contestant, from: Place, to: Place): Promise<void> {
    this.#pairs[setting].push({ contestant, from, to, server: await this.#bench.probe.serve(to, trafficCpu) });
  }

  async #attempt(pair: Pair, setting: Setting, action: () => Promise<void>): Promise<void> {
    await this.#bench.attempt(`${pair.contestant}, ${settings[setting]}`, action);
  }

  async #stream(setting: Setting, pair: Pair): Promise<void> {
    const { bytes = 0, seconds = 0, cpuNs = 0 } = await this.#probe('stream', pair);
    this.#bench.record(`${setting}.stream`, pair.contestant, (bytes * bitsPerByte) / seconds / 1e9);
    this.#bench.record(`${setting}.stream.cpu`, pair.contestant, cpuNs / (bytes / 1000));
  }

  async #transact(setting: Setting, transaction: Transaction, pair: Pair): Promise<void> {
    const { count = 0, seconds = 0, cpuNs = 0 } = await this.#probe(words[transaction], pair);
    this.#bench.record(`${setting}.${transaction}`, pair.contestant, count / seconds);
    this.#bench.record(`${setting}.${transaction}.cpu`, pair.contestant, cpuNs / count / 1000);
  }

  #probe(word: string, { from, to, server }: Pair) {
    const { probe, options } = this.#bench;
    return probe.run(from, word, to.address, options.seconds, trafficCpu, server.pid);
  }
}
