/**
 * Helpers of this room's kernel tests: hosts as network namespaces on an underlay of their own, each with an overlay
 * driver, and gossip among them that works at once.
 */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { NetworkDB, TableChange } from '@skein/gossip';
import { type Family, NetworkNamespace, RouteSocket, udpSocketIn } from '@skein/netlink';
import { EventBus, silentLogger } from '../common/index.ts';
import { createOverlayDriver } from './driver.ts';
import type { FastPathMode } from './fast-path/index.ts';
import type { EndpointSpec, OverlayDriver, OverlayNetwork, SandboxSpec } from './types.ts';

/** Gossip among the hosts of one test: what one writes the others on the network hear at once. */
export class TestGossip {
  readonly nodes: TestNode[] = [];
  readonly entries = new Map<string, { owner: TestNode; value: Uint8Array }>();

  node(name: string, address: string): TestNode {
    const node = new TestNode(this, name, address);
    this.nodes.push(node);
    return node;
  }

  tell(change: TableChange): void {
    for (const node of this.nodes) node.hear(change);
  }

  /** The node is lost or has left; its entries vanish for the others. */
  lose(node: TestNode, reason: 'unreachable' | 'left'): void {
    this.nodes.splice(this.nodes.indexOf(node), 1);
    for (const [path, entry] of this.entries) {
      if (entry.owner !== node) continue;
      this.entries.delete(path);
      this.tell({ type: 'delete', ...split(path), value: entry.value, owner: node.nodeName, reason });
    }
  }
}

function split(path: string): { networkId: string; table: string; key: string } {
  const [networkId = '', table = '', key = ''] = path.split('/');
  return { networkId, table, key };
}

/** One host's part of it: what the overlay and discovery rooms use of a NetworkDB. */
export class TestNode {
  readonly nodeName: string;
  readonly address: { readonly host: string; readonly port: number };
  readonly joined = new Set<string>();
  readonly #gossip: TestGossip;
  readonly #handlers = new Set<{ table: string | undefined; handler: (change: TableChange) => void }>();

  constructor(gossip: TestGossip, name: string, address: string) {
    this.#gossip = gossip;
    this.nodeName = name;
    this.address = { host: address, port: 7946 };
  }

  asNetworkDB(): NetworkDB {
    return this as unknown as NetworkDB;
  }

  async joinNetwork(networkId: string): Promise<void> {
    this.joined.add(networkId);
    for (const [path, { owner, value }] of this.#gossip.entries) {
      if (path.startsWith(`${networkId}/`)) this.hear({ type: 'create', ...split(path), value, owner: owner.nodeName });
    }
  }

  leaveNetwork(networkId: string): void {
    this.joined.delete(networkId);
    for (const [path, { owner }] of this.#gossip.entries) {
      if (owner === this && path.startsWith(`${networkId}/`)) this.#delete(path);
    }
  }

  createEntry(table: string, networkId: string, key: string, value: Uint8Array): void {
    this.#gossip.entries.set(`${networkId}/${table}/${key}`, { owner: this, value });
    this.#gossip.tell({ type: 'create', table, networkId, key, value, owner: this.nodeName });
  }

  updateEntry(table: string, networkId: string, key: string, value: Uint8Array): void {
    this.#gossip.entries.set(`${networkId}/${table}/${key}`, { owner: this, value });
    this.#gossip.tell({ type: 'update', table, networkId, key, value, owner: this.nodeName });
  }

  deleteEntry(table: string, networkId: string, key: string): void {
    this.#delete(`${networkId}/${table}/${key}`);
  }

  *entries(table: string, networkId: string): Generator<{ key: string; value: Uint8Array; owner: string }> {
    for (const [path, { owner, value }] of this.#gossip.entries) {
      const parts = split(path);
      if (parts.networkId === networkId && parts.table === table)
        yield { key: parts.key, value, owner: owner.nodeName };
    }
  }

  watch(table: string | undefined, _networkId: undefined, handler: (change: TableChange) => void): () => void {
    const watcher = { table, handler };
    this.#handlers.add(watcher);
    return () => this.#handlers.delete(watcher);
  }

  networkPeers(networkId: string): string[] {
    const others = this.#gossip.nodes.filter((node) => node !== this && node.joined.has(networkId));
    return others.map(({ nodeName }) => nodeName);
  }

  peers(): { name: string; address: string; state: 'alive' }[] {
    return this.#gossip.nodes.map(({ nodeName, address }) => ({
      name: nodeName,
      address: `${address.host}:7946`,
      state: 'alive',
    }));
  }

  hear(change: TableChange): void {
    if (!this.joined.has(change.networkId)) return;
    for (const { table, handler } of this.#handlers) if (table === undefined || table === change.table) handler(change);
  }

  #delete(path: string): void {
    const entry = this.#gossip.entries.get(path);
    if (entry === undefined) return;
    this.#gossip.entries.delete(path);
    this.#gossip.tell({ type: 'delete', ...split(path), value: entry.value, owner: this.nodeName, reason: 'deleted' });
  }
}

/** A host of the test. */
export interface TestHost {
  readonly name: string;
  readonly namespace: NetworkNamespace;
  readonly namespaceDirectory: string;
  readonly stateDirectory: string;
  readonly vtep: string;
  driver: OverlayDriver;
  node: TestNode;
}

/** Hosts joined by a bridge in a namespace of its own: 192.0.2.5, .6, …, and 2001:db8::5, … (documentation addresses). */
export class TestUnderlay implements AsyncDisposable {
  readonly gossip = new TestGossip();
  readonly hosts: TestHost[] = [];
  readonly #folder: string;
  readonly #state: string;

  readonly #fastPath: FastPathMode;
  readonly #resyncIntervalMs: number;

  constructor(name: string, mtu = 1500, fastPath: FastPathMode = 'off', resyncIntervalMs = 200) {
    this.#fastPath = fastPath;
    this.#resyncIntervalMs = resyncIntervalMs;
    this.#folder = `/run/skein-test-${process.pid}/${name}`;
    this.#state = mkdtempSync(join(tmpdir(), 'skein-overlay-'));
    using underlay = NetworkNamespace.create(join(this.#folder, 'underlay'), { loopback: true });
    using route = RouteSocket.open(underlay);
    route.links.create({ kind: 'bridge', name: 'br0', mtu, up: true });
  }

  /** Adds a host with a default route to 192.0.2.1, which nobody has; its VTEP is of `family`. */
  async addHost(mtu = 1500, family: Family = 'ipv4'): Promise<TestHost> {
    const number = this.hosts.length;
    const name = `host${number + 1}`;
    const address = { ipv4: `192.0.2.${number + 5}`, ipv6: `2001:db8::${number + 5}` };
    const vtep = address[family];
    const namespace = NetworkNamespace.create(join(this.#folder, name), { loopback: true });
    using underlay = NetworkNamespace.open(join(this.#folder, 'underlay'));
    using outside = RouteSocket.open(underlay);
    using route = RouteSocket.open(namespace);
    const bridge = outside.links.get('br0');
    const link = route.links.create({ kind: 'veth', name: 'eth0', mtu, peer: { name, mtu, namespace: underlay } });
    const port = outside.links.get(name);
    outside.links.set(port?.index ?? 0, { master: bridge?.index ?? 0, up: true });
    route.links.set(link.index, { up: true });
    route.addresses.add({ index: link.index, address: address.ipv4, prefixLength: 24 });
    if (family === 'ipv6')
      route.addresses.add({ index: link.index, address: vtep, prefixLength: 64, skipDuplicateDetection: true });
    route.routes.add({ destination: '0.0.0.0/0', gateway: '192.0.2.1' });
    const partial = {
      name,
      namespace,
      namespaceDirectory: join(this.#folder, `${name}-netns`),
      stateDirectory: join(this.#state, name),
      vtep,
    };
    const host = { ...partial, driver: this.driverFor(partial), node: this.gossip.node(name, vtep) };
    this.hosts.push(host);
    await this.join(host);
    return host;
  }

  driverFor(
    host: Omit<TestHost, 'driver' | 'node'>,
    adoptionGraceMs = 60_000,
    fastPath = this.#fastPath,
    logger = silentLogger(),
  ): OverlayDriver {
    return createOverlayDriver({
      stateDirectory: host.stateDirectory,
      namespaceDirectory: host.namespaceDirectory,
      logger,
      events: new EventBus(),
      hostNamespace: host.namespace,
      fastPath,
      adoptionGraceMs,
      resyncIntervalMs: this.#resyncIntervalMs,
    });
  }

  /** From now on the underlay's links carry TCP segments of this size whole. */
  carryLargeSegments(gsoIpv4MaxSize: number): void {
    using underlay = NetworkNamespace.open(join(this.#folder, 'underlay'));
    using outside = RouteSocket.open(underlay);
    for (const { name, namespace } of this.hosts) {
      using route = RouteSocket.open(namespace);
      outside.links.set(outside.links.get(name)?.index ?? 0, { gsoIpv4MaxSize });
      route.links.set(route.links.get('eth0')?.index ?? 0, { gsoIpv4MaxSize });
    }
  }

  async join(host: TestHost): Promise<void> {
    await host.driver.joinCluster({ gossip: host.node.asNetworkDB(), vtep: host.vtep, dataPathPort: 4789 });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const host of this.hosts) {
      for (const { containerId } of host.driver.sandboxes()) await host.driver.removeSandbox(containerId);
      await host.driver.leaveCluster({ removeGateway: true });
      await host.driver[Symbol.asyncDispose]();
      host.namespace[Symbol.dispose]();
      NetworkNamespace.delete(host.namespace.path);
    }
    NetworkNamespace.delete(join(this.#folder, 'underlay'));
    rmSync(this.#folder, { recursive: true, force: true });
    if (readdirSync(dirname(this.#folder)).length === 0)
      rmSync(dirname(this.#folder), { recursive: true, force: true });
    rmSync(this.#state, { recursive: true, force: true });
  }
}

/** An overlay network 10.77.<number>.0/24. */
export function testNetwork(number: number, changes: Partial<OverlayNetwork> = {}): OverlayNetwork {
  return {
    id: `net${number}`.padEnd(25, 'x'),
    name: `net${number}`,
    subnets: [{ subnet: `10.77.${number}.0/24`, gateway: `10.77.${number}.1`, vni: 4096 + number }],
    internal: false,
    ingress: false,
    encrypted: false,
    labels: {},
    options: {},
    attachable: true,
    ...changes,
  };
}

/** A container with an endpoint on each network, at the same host number. */
export function testSandbox(
  id: string,
  hostNumber: number,
  networks: readonly OverlayNetwork[],
  gateway = false,
): SandboxSpec {
  const endpoints = networks.map(
    (network): EndpointSpec => ({
      network,
      address: `${network.subnets[0]?.subnet.replace(/0\/24$/, String(hostNumber))}/24`,
      aliases: [],
    }),
  );
  return { containerId: id.padEnd(64, '0'), containerName: `${id}.1.task`, endpoints, gateway };
}

/**
 * Sends a datagram from one container to another and back, as often as it takes, for at most `timeoutMs`.
 * @returns whether an answer came.
 */
export async function reaches(from: string, to: string, address: string, timeoutMs = 2000): Promise<boolean> {
  using source = NetworkNamespace.open(from);
  using target = NetworkNamespace.open(to);
  const any = address.includes(':') ? '::' : '0.0.0.0';
  const server = await udpSocketIn(target, { address: any, port: 0 });
  const client = await udpSocketIn(source, { address: any, port: 0 });
  server.on('message', (message, sender) => server.send(message, sender.port, sender.address));
  const { promise, resolve } = Promise.withResolvers<boolean>();
  client.once('message', () => resolve(true));
  client.on('error', () => undefined);
  const knock = setInterval(() => client.send('knock', server.address().port, address), 20);
  const deadline = setTimeout(() => resolve(false), timeoutMs);
  try {
    return await promise;
  } finally {
    clearInterval(knock);
    clearTimeout(deadline);
    client.close();
    server.close();
  }
}

/** A datagram every 5 ms from one container to another and back, to see which get no answer. */
export interface Flow extends AsyncDisposable {
  /** Waits for answers under way. @returns the numbers of the datagrams sent so far that were not answered. */
  missing(): Promise<number[]>;
}

export async function steadyFlow(from: string, to: string, address: string): Promise<Flow> {
  using source = NetworkNamespace.open(from);
  using target = NetworkNamespace.open(to);
  const server = await udpSocketIn(target, { address: '0.0.0.0', port: 0 });
  const client = await udpSocketIn(source, { address: '0.0.0.0', port: 0 });
  server.on('message', (message, sender) => server.send(message, sender.port, sender.address));
  const unanswered = new Set<number>();
  client.on('message', (message) => unanswered.delete(message.readUInt32BE(0)));
  let next = 0;
  const timer = setInterval(() => {
    const message = Buffer.alloc(4);
    message.writeUInt32BE(next);
    unanswered.add(next++);
    client.send(message, server.address().port, address);
  }, 5);
  return {
    async missing() {
      const sent = next;
      await sleep(100);
      return [...unanswered].filter((number) => number < sent);
    },
    async [Symbol.asyncDispose]() {
      clearInterval(timer);
      client.close();
      server.close();
    },
  };
}

/** @returns what a command prints inside a namespace, for messages of failing tests. */
export function show(path: string, ...command: string[]): string {
  return spawnSync('nsenter', [`--net=${path}`, ...command], { encoding: 'utf8' }).stdout;
}
