/** A swarm of skeind and dockerd hosts. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fromBinary } from '@bufbuild/protobuf';
import { SessionMessageSchema } from '../../packages/skein/src/swarm/gen/dispatcher_pb.js';
import { Cluster, eventually } from './cluster.ts';
import { dockerdLog, dockerdSocket, startDockerd } from './dockerd.ts';

export type Engine = 'skeind' | 'dockerd';
const skeindSocket = 'unix:///run/skein.sock';
const managerAddress = '172.31.1.5';

/** A running container on a network with what the others need to reach it. */
export interface Member {
  readonly host: string;
  readonly container: string;
  readonly name: string;
  readonly address: string;
}

/** A message of the manager to a worker. */
export interface Recorded {
  readonly method: string;
  readonly bytes: Uint8Array;
}

/** An endpoint that a host has on a network: a container's or the load balancer's. */
export interface Endpoint {
  readonly host: string;
  readonly address: string;
  readonly mac: string;
}

/** A lab whose hosts run different engines, all driven by the docker command line. node1 manages. */
export class MixedSwarm implements AsyncDisposable {
  readonly cluster: Cluster;
  readonly engines: readonly Engine[];
  /** The workers' join token. */
  token = '';
  /** Pids of the dockerds by host. */
  readonly #dockerds = new Map<string, number>();

  private constructor(cluster: Cluster, engines: readonly Engine[]) {
    this.cluster = cluster;
    this.engines = engines;
  }

  /** Starts an engine on each host, gives it the image `ubuntu`, and joins the first `members` (by default all) to node1's swarm. */
  static async start(
    name: string,
    engines: readonly Engine[],
    { members = engines.length }: { members?: number } = {},
  ): Promise<MixedSwarm> {
    const cluster = await Cluster.start(name, engines.length, { daemons: false });
    const swarm = new MixedSwarm(cluster, engines);
    try {
      await Promise.all(swarm.hosts.map((host) => swarm.startEngine(host)));
      await cluster.importUbuntu(swarm.hosts, (host) => swarm.docker(host, []));
      const init = swarm.must('node1', `swarm init --advertise-addr ${managerAddress}`);
      swarm.token = /SWMTKN\S+/.exec(init)?.[0] ?? '';
      for (const host of swarm.hosts.slice(1, members)) swarm.join(host);
      await swarm.allReady(members);
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
    return swarm;
  }

  /** Joins a host as a worker; Docker's own words are expected. */
  join(host: string): void {
    assert.equal(
      this.must(host, `swarm join --token ${this.token} ${managerAddress}:2377`),
      'This node joined a swarm as a worker.\n',
    );
  }

  /** Waits until `node ls` shows that many nodes, all of them ready. */
  async allReady(nodes: number): Promise<void> {
    await eventually(`${nodes} nodes are ready`, () => {
      const shown = this.must('node1', ['node', 'ls', '--format', '{{.Hostname}} {{.Status}}']).trim().split('\n');
      assert.ok(shown.length === nodes && shown.every((line) => line.endsWith(' Ready')), shown.join(', '));
      return true;
    });
  }

  /** Starts a host's engine, for the first time or again. */
  async startEngine(host: string): Promise<void> {
    if (this.engine(host) === 'skeind') await this.cluster.lab.startDaemon(host);
    else this.#dockerds.set(host, await startDockerd(this.cluster, host));
  }

  /** kill -9 of a host's engine. skeind's containers run on; a dockerd ends its own when it starts again. */
  async killEngine(host: string): Promise<void> {
    if (this.engine(host) === 'skeind') return this.cluster.lab.stopDaemon(host, 'SIGKILL');
    const pid = this.#dockerds.get(host);
    if (pid === undefined) throw new Error(`no dockerd was started on ${host}`);
    process.kill(pid, 'SIGKILL');
    await eventually(`dockerd of ${host} has ended`, () => !existsSync(`/proc/${pid}/exe`) || undefined);
    // dockerd's containerd dies with it. Where nobody reaps it, the next dockerd would wait for it to answer.
    this.cluster.must(host, 'rm -f /run/docker.pid /run/docker/containerd/containerd.pid');
  }

  get hosts(): string[] {
    return this.engines.map((_, index) => `node${index + 1}`);
  }

  engine(host: string): Engine {
    return this.engines[Number(host.replace('node', '')) - 1] ?? 'skeind';
  }

  /** The host's address on the underlay. */
  address(host: string): string {
    return this.cluster.lab.hosts().find(({ name }) => name === host)?.address ?? '';
  }

  /** The words of a docker command for the host's engine. A text is split at its spaces. */
  docker(host: string, command: string | readonly string[]): string[] {
    const words = typeof command === 'string' ? command.split(' ') : command;
    return ['docker', '-H', this.engine(host) === 'dockerd' ? dockerdSocket : skeindSocket, ...words];
  }

  must(host: string, command: string | readonly string[]): string {
    return this.cluster.must(host, this.docker(host, command));
  }

  /** Creates a service whose tasks sleep, and end at once when they are told to. */
  service(name: string, network: string, options: readonly string[] = []): void {
    this.must('node1', [
      ...'service create --detach --no-resolve-image --stop-grace-period 1s --update-monitor 1s --restart-delay 1s'.split(
        ' ',
      ),
      ...['--name', name, '--network', network, ...options],
      ...'ubuntu sleep infinity'.split(' '),
    ]);
  }

  /** Waits until `replicas` tasks of a service run and no other of it does. */
  async converged(service: string, replicas: number, timeoutMs = 90_000): Promise<void> {
    await eventually(
      `${service} has ${replicas} running tasks`,
      () => {
        const shown = this.must('node1', `service ls --filter name=${service} --format {{.Replicas}}`).trim();
        const containers = this.members(service).length;
        if (shown === `${replicas}/${replicas}` && containers === replicas) return true;
        throw new Error(
          `${shown}, ${containers} containers\n${this.must('node1', `service ps --no-trunc ${service}`)}`,
        );
      },
      timeoutMs,
    );
  }

  /**
   * Scales a service. A dockerd manager that was killed before has been seen to leave a task too many as wanted: any
   * further change of the service makes it look again.
   */
  async scale(service: string, replicas: number): Promise<void> {
    this.must('node1', `service scale --detach ${service}=${replicas}`);
    try {
      await this.converged(service, replicas, 30_000);
    } catch (error) {
      if (this.engine('node1') === 'skeind') throw error;
      this.must('node1', `service update --detach --label-add asked=again ${service}`);
      await this.converged(service, replicas);
    }
  }

  /** Waits until a forced or otherwise begun update of a service is over. */
  async updated(service: string): Promise<void> {
    await eventually(
      `the update of ${service} is completed`,
      () => {
        const state = this.must('node1', ['service', 'inspect', '--format', '{{.UpdateStatus.State}}', service]).trim();
        if (state !== 'completed')
          throw new Error(`${state}\n${this.must('node1', `service ps --no-trunc ${service}`)}`);
        return true;
      },
      90_000,
    );
  }

  /** @returns the running containers of a service, from every host's own `ps` and `inspect`. */
  members(service: string): Member[] {
    return this.hosts.flatMap((host) => {
      const filter = `label=com.docker.swarm.service.name=${service}`;
      const ids = this.must(host, ['ps', '-q', '--filter', filter]).split('\n').filter(Boolean);
      return ids.length === 0 ? [] : this.#inspect(host, ids);
    });
  }

  /** @returns one container of a host as a member. */
  member(host: string, container: string): Member {
    const [member] = this.#inspect(host, [container]);
    if (member === undefined) throw new Error(`no container ${container} on ${host}`);
    return member;
  }

  #inspect(host: string, ids: readonly string[]): Member[] {
    const format = '{{.Id}} {{.Name}} {{range .NetworkSettings.Networks}}{{.IPAddress}} {{end}}';
    return this.must(host, ['inspect', '--format', format, ...ids])
      .split('\n')
      .filter(Boolean)
      .map((line) => {
        const [container = '', name = '', address = ''] = line.split(' ');
        return { host, container, name: name.replace('/', ''), address };
      });
  }

  /** Every member reaches every other by address and by name, names it alike, and knows all tasks of `service`. */
  async everyoneTalks(service: string, network: string, given?: readonly Member[]): Promise<void> {
    await this.#talk(service, network, given, () => true);
  }

  /** As `everyoneTalks`, but what dockerds know of each other and of their own is left to them. */
  async everyoneTalksAcross(service: string, network: string): Promise<void> {
    await this.#talk(service, network, undefined, this.#isAcross);
  }

  /**
   * Whether a Skein node has a part in it. dockerd 20.10 forgets what a node was on that it once held for dead, and
   * drops what it says from then on: after kills and partitions two dockerds may not find each other again by themselves.
   * One that was killed has also been seen without the name of its own new task, which all others had.
   */
  readonly #isAcross = (host: string, other: string): boolean =>
    this.engine(host) === 'skeind' || this.engine(other) === 'skeind';

  async #talk(
    service: string,
    network: string,
    given: readonly Member[] | undefined,
    concerns: (host: string, other: string) => boolean,
  ): Promise<void> {
    for (let index = 0; index < (given ?? this.members(service)).length; index++) {
      await eventually(`everyone hears number ${index} on ${network}`, () => {
        const all = given ?? this.members(service);
        const speaker = all[index];
        if (speaker) this.#talks(speaker, all, service, network, concerns);
        return true;
      });
    }
  }

  /** All that one container is asked goes in one exec. */
  #talks(
    from: Member,
    all: readonly Member[],
    service: string,
    network: string,
    concerns: (host: string, other: string) => boolean,
  ): void {
    const heard = all.filter(({ host }) => concerns(from.host, host));
    const others = heard.filter(({ container }) => container !== from.container);
    const targets = others.flatMap(({ address, name }) => [address, name]);
    const script = [
      ...targets.map((target) => `ping -c 1 -W 2 ${target} >/dev/null 2>&1 || echo "no answer: ${target}"`),
      ...others.map(({ address }) => `nslookup ${address} 2>&1`),
      `echo; echo tasks; nslookup tasks.${service} 2>&1`,
    ].join('\n');
    const { stdout } = this.cluster.run(
      from.host,
      this.docker(from.host, ['exec', from.container, 'sh', '-c', script]),
    );
    const label = `${from.name} on ${from.host} (${this.engine(from.host)}): ${stdout}`;
    assert.doesNotMatch(stdout, /no answer/, label);
    for (const { name } of others)
      assert.ok(stdout.includes(`name = ${name}.${network}`), `${name} has no PTR; ${label}`);
    const tasks = stdout.slice(stdout.indexOf('\ntasks\n'));
    const aside = all.filter((member) => !heard.includes(member)).map(({ address }) => address);
    const found = [...tasks.matchAll(/Address: (\d+\.\d+\.\d+\.\d+)\n/g)]
      .map((match) => match[1] ?? '')
      .filter((address) => !aside.includes(address));
    const expected = heard.filter(({ name }) => name.startsWith(`${service}.`)).map(({ address }) => address);
    assert.deepEqual(found.sort(), expected.sort(), label);
  }

  /** @returns the endpoints of a network as the engine of each host names them. */
  endpoints(network: string): Endpoint[] {
    return this.hosts.flatMap((host) => {
      const words = this.docker(host, ['network', 'inspect', '--format', '{{json .Containers}}', network]);
      const { stdout, exitCode } = this.cluster.run(host, words);
      if (exitCode !== 0) return [];
      const containers = JSON.parse(stdout) as Record<string, { IPv4Address: string; MacAddress: string }>;
      return Object.values(containers).map(({ IPv4Address, MacAddress }) => ({
        host,
        address: IPv4Address.replace(/\/.*/, ''),
        mac: MacAddress,
      }));
    });
  }

  /** On every host that has the network, the kernel's rows are exactly those of the endpoints on the other hosts. */
  rowsAreExact(network: string, timeoutMs = 30_000): Promise<void> {
    return this.#rowsAre(network, timeoutMs, () => true);
  }

  /** As `rowsAgreeAcross`, but rows of addresses that nobody has may still be there: what a restarted host had is kept for a minute. */
  rowsAreThere(network: string, timeoutMs: number): Promise<void> {
    const isExpected = (row: string, expected: readonly string[]): boolean =>
      expected.some((other) => other.startsWith(`${row.split(' ')[0]} `));
    return this.#rowsAre(network, timeoutMs, isExpected, this.#isAcross);
  }

  /** As `rowsAreExact`, but what two dockerds know of each other is left to them. */
  rowsAgreeAcross(network: string, timeoutMs: number): Promise<void> {
    return this.#rowsAre(network, timeoutMs, () => true, this.#isAcross);
  }

  async #rowsAre(
    network: string,
    timeoutMs: number,
    counts: (row: string, expected: readonly string[]) => boolean,
    concerns: (host: string, other: string) => boolean = () => true,
  ): Promise<void> {
    const id = this.must('node1', ['network', 'inspect', '--format', '{{.Id}}', network]).trim();
    await eventually(
      `the FDB and neighbour rows of ${network} are right`,
      () => {
        const endpoints = this.endpoints(network);
        const rowsOf = (some: readonly Endpoint[]): string[] => [
          ...some.map(({ mac, host }) => `${mac} dst ${this.address(host)}`),
          ...some.map(({ address, mac }) => `${address} lladdr ${mac}`),
        ];
        for (const host of new Set(endpoints.map((endpoint) => endpoint.host))) {
          const others = endpoints.filter((endpoint) => endpoint.host !== host);
          const expected = rowsOf(others.filter((other) => concerns(host, other.host))).sort();
          const aside = rowsOf(others.filter((other) => !concerns(host, other.host)));
          const rows = this.#rows(host, id).filter((row) => counts(row, expected) && !aside.includes(row));
          assert.deepEqual(rows, expected, `${network} on ${host} (${this.engine(host)})`);
        }
        return true;
      },
      timeoutMs,
    );
  }

  /** The permanent neighbours and all tunnel rows of a network's VXLAN device, sorted. */
  #rows(host: string, networkId: string): string[] {
    const directory = this.engine(host) === 'dockerd' ? '/run/docker/netns' : '/run/skein/netns';
    const script = `for file in ${directory}/*-${networkId.slice(0, 10)}; do
      nsenter --net=$file bridge fdb show dev vxlan0; nsenter --net=$file ip neigh show dev vxlan0 nud permanent; done`;
    const lines = this.cluster.must(host, ['sh', '-c', script]).split('\n');
    return lines.flatMap((line) => /^\S+ (dst|lladdr) \S+/.exec(line)?.[0] ?? []).sort();
  }

  /** Joins a worker of the tests' own for a moment. @returns what the manager sent it; its node is removed again. */
  probe(availability: 'active' | 'drain' = 'drain', milliseconds = 500): Recorded[] {
    const directory = mkdtempSync(join(tmpdir(), 'skein-probe-'));
    try {
      const script = join(import.meta.dirname, 'probe.ts');
      const words = [process.execPath, '--conditions=source', '--disable-warning=ExperimentalWarning', script];
      const given = [`${managerAddress}:2377`, this.token, directory, availability, String(milliseconds)];
      const { nodeId, messages } = JSON.parse(this.cluster.must('outside', [...words, ...given])) as {
        nodeId: string;
        messages: { method: string; bytes: string }[];
      };
      this.must('node1', `node rm --force ${nodeId}`);
      return messages.map(({ method, bytes }) => ({ method, bytes: Buffer.from(bytes, 'base64') }));
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }

  /** The swarm's gossip keys, oldest first, as the manager tells them to a worker. */
  gossipKeys(): Uint8Array[] {
    const first = this.probe().find(({ method }) => method === 'Session');
    if (!first) throw new Error('the manager sent no Session message');
    return fromBinary(SessionMessageSchema, first.bytes)
      .networkBootstrapKeys.filter(({ subsystem }) => subsystem === 'networking:gossip')
      .sort((a, b) => Number(a.lamportTime - b.lamportTime))
      .map(({ key }) => key);
  }

  /** Takes hosts off the underlay's bridge, or puts them back. They keep their carrier: all they notice is silence. */
  setReachable(hosts: readonly string[], reachable: boolean): void {
    for (const host of hosts) {
      const master = reachable ? ['master', 'underlay0'] : ['nomaster'];
      this.cluster.must('underlay', ['ip', 'link', 'set', `to-${host}`, ...master]);
    }
  }

  /**
   * The lines of a dockerd's log that complain of gossip. One bulk sync with each peer that "timed out" is no complaint
   * of the other side: dockerd 20.10 keeps one waiting place for each peer, so of two bulk syncs with one peer that
   * overlap (two networks joined at once) the first always ends so, between dockerds too (libnetwork's bulkSyncAckTbl).
   */
  gossipComplaints(host: string): string[] {
    const peersExcused = new Set<string>();
    return readFileSync(dockerdLog(this.cluster, host), 'utf8')
      .split('\n')
      .filter((line) => /level=(error|fatal)/.test(line) && /memberlist|networkdb|gossip|bulk sync/i.test(line))
      .filter((line) => {
        const peer = /Bulk sync to node (\w+) timed out/.exec(line)?.[1];
        if (peer === undefined || peersExcused.has(peer)) return true;
        peersExcused.add(peer);
        return false;
      });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]();
  }
}
