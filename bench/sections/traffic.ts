/** Streams and transactions between two containers, beside the same between two bare hosts or namespaces. */
import { NetworkNamespace, RouteSocket } from '@skein/netlink';
import type { Contestant } from '../contestants.ts';
import type { Place, Started } from '../probe.ts';
import { trafficCpu, turns } from '../probe.ts';
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
/** Streams between the same hosts while the bare ones cut them into segments as Linux does unless it is told otherwise. */
const usual = 'usual.stream';
/** Linux's limit of a link's segments unless it is told otherwise (GSO_LEGACY_MAX_SIZE of linux/netdevice.h). */
const usualSegment = 65_536;
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
    Object.entries(settings)
      .flatMap(([setting, where]) => [
        ...streamRows(`${setting}.stream`, where),
        ...Object.entries(transactions).flatMap(([key, name]) => [
          row(`${setting}.${key}`, `${name}, ${where}`, '1/s', 'higher'),
          row(`${setting}.${key}.cpu`, `${name}, ${where}, CPU`, 'µs each', 'lower'),
        ]),
      ])
      .concat(streamRows(usual, 'across hosts, the bare ones with the usual 64 KB segments')),
  ),
  async run(bench) {
    await using scene = await Scene.prepare(bench);
    for (const round of bench.rounds()) {
      bench.say(`round ${round}`);
      await scene.measure('far');
      await scene.measureUsualSegments();
      await scene.measure('near');
      await scene.measureWithRules();
    }
  },
};

function row(id: string, title: string, unit: string, better: Measure['better']): [string, Measure] {
  return [id, { title, unit, better }];
}

function streamRows(id: string, where: string): [string, Measure][] {
  return [
    row(id, `TCP stream, ${where}`, 'Gbit/s', 'higher'),
    row(`${id}.cpu`, `TCP stream, ${where}, CPU`, 'ns/KB', 'lower'),
  ];
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

  /** One measurement after the other, each with all contestants in turns. */
  async measure(setting: Setting): Promise<void> {
    const pairs = setting === 'rules' ? this.#pairs.far : this.#pairs[setting];
    await this.#inTurns(pairs, setting, (pair) => this.#stream(`${setting}.stream`, pair));
    for (const transaction of Object.keys(transactions) as Transaction[]) {
      await this.#inTurns(pairs, setting, (pair) => this.#transact(setting, transaction, pair));
    }
  }

  /** Streams of Skein, which takes the segments that the lab's links carry, beside bare hosts that take the usual ones. */
  async measureUsualSegments(): Promise<void> {
    const { hosts } = await this.#bench.stage.bare();
    const pairs = this.#pairs.far.filter(({ contestant }) => contestant === 'bare' || contestant === 'skein');
    const limits = hosts.map(({ namespace }) => limitSegments(namespace, usualSegment));
    try {
      await this.#inTurns(pairs, 'far', (pair) => this.#stream(usual, pair));
    } finally {
      for (const [index, { namespace }] of hosts.entries()) limitSegments(namespace, limits[index] ?? usualSegment);
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

  async #inTurns(pairs: readonly Pair[], setting: Setting, action: (pair: Pair) => Promise<void>): Promise<void> {
    for (let turn = 1; turn <= turns; turn++) {
      for (const pair of pairs) {
        await this.#bench.attempt(`${pair.contestant}, ${settings[setting]}`, () => action(pair));
      }
    }
  }

  async #stream(id: string, pair: Pair): Promise<void> {
    const { bytes = 0, seconds = 0, cpuNs = 0 } = await this.#probe('stream', pair);
    this.#bench.record(id, pair.contestant, (bytes * bitsPerByte) / seconds / 1e9);
    this.#bench.record(`${id}.cpu`, pair.contestant, cpuNs / (bytes / 1000));
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

/** @returns the limit that was there before. */
function limitSegments(namespace: string, gsoIpv4MaxSize: number): number | undefined {
  using host = NetworkNamespace.open(namespace);
  using route = RouteSocket.open(host);
  const link = route.links.get('eth0');
  if (link === undefined) throw new Error(`no eth0 in ${namespace}`);
  route.links.set(link.index, { gsoIpv4MaxSize });
  return link.gsoIpv4MaxSize;
}
