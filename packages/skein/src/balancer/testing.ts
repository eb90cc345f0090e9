/** Helpers of this room's kernel tests: namespaces on one bridge, and a gossip that tells what the test says. */
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { create, toBinary } from '@bufbuild/protobuf';
import type { NetworkDB, TableChange } from '@skein/gossip';
import { connectTcpIn, NetworkNamespace, RouteSocket, tcpServerIn } from '@skein/netlink';
import { encodeRecord, endpointTable, recordOf } from '../discovery/records.ts';
import type { PublishedEndpoint } from '../discovery/types.ts';
import { PeerRecordSchema } from '../overlay/gen/overlay_pb.js';
import { macOfAddress } from '../overlay/index.ts';
import { peerTable } from './records.ts';

export const networkId = 'network00000000000000000n';
export const virtualIp = '10.88.0.2';
const prefixLength = 24;

/** What the balancer uses of a NetworkDB. */
export class ToldGossip {
  readonly #handlers = new Map<(change: TableChange) => void, string>();

  asNetworkDB(): NetworkDB {
    return this as unknown as NetworkDB;
  }

  watch(table: string, _networkId: undefined, handler: (change: TableChange) => void): () => void {
    this.#handlers.set(handler, table);
    return () => this.#handlers.delete(handler);
  }

  /** The way to a task is known. */
  tellPeer(address: string, ipv6?: string): void {
    const endpointIpv6 = ipv6 === undefined ? '' : `${ipv6}/64`;
    const value = toBinary(PeerRecordSchema, create(PeerRecordSchema, { endpointIp: `${address}/24`, endpointIpv6 }));
    this.#emit({ type: 'update', table: peerTable, networkId, key: address, value, owner: 'other' });
  }

  /** A task's record comes or changes, and the way to it. */
  tell(address: string, endpoint: Partial<PublishedEndpoint> = {}, isDisabled = false): void {
    if (endpoint.id === undefined) this.tellPeer(address, endpoint.endpointIpv6);
    const value = encodeRecord(
      recordOf(
        {
          id: address,
          networkId,
          name: `web.1.${address}`,
          serviceName: 'web',
          serviceId: 'service',
          virtualIp,
          endpointIp: address,
          ingressPorts: [],
          aliases: [],
          taskAliases: [],
          ...endpoint,
        },
        isDisabled,
      ),
    );
    this.#emit({ type: 'update', table: endpointTable, networkId, key: address, value, owner: 'other' });
  }

  /** A task's record goes. */
  forget(address: string, reason: TableChange['reason'] = 'deleted'): void {
    const value = new Uint8Array();
    this.#emit({ type: 'delete', table: endpointTable, networkId, key: address, value, owner: 'other', reason });
  }

  #emit(change: TableChange): void {
    for (const [handler, table] of this.#handlers) if (table === change.table) handler(change);
  }
}

/** Namespaces on one bridge, 10.88.0.0/24. */
export class TestSegment implements AsyncDisposable {
  readonly #folder: string;
  readonly #made = new Map<string, NetworkNamespace>();
  readonly #servers = new AsyncDisposableStack();
  #cgroup: TestCgroup | undefined;

  constructor(name: string) {
    this.#folder = `/run/skein-test-${process.pid}/balancer-${name}`;
    const segment = this.#create('segment');
    using route = RouteSocket.open(segment);
    route.links.create({ kind: 'bridge', name: 'br0', up: true });
  }

  path(name: string): string {
    return join(this.#folder, name);
  }

  get(name: string): NetworkNamespace {
    const namespace = this.#made.get(name);
    if (namespace === undefined) throw new Error(`no namespace ${name}`);
    return namespace;
  }

  /** A namespace of its own, joined to nothing. */
  alone(name: string): NetworkNamespace {
    return this.#create(name);
  }

  add(name: string, address: string, bridge = 'segment', interfaceName = 'eth0', bridgeName = 'br0'): NetworkNamespace {
    const namespace = this.#made.get(name) ?? this.#create(name);
    const segment = this.get(bridge);
    using inside = RouteSocket.open(namespace);
    using outside = RouteSocket.open(segment);
    const port = `${name}-${interfaceName}`;
    const peer = { name: port, namespace: segment };
    const link = inside.links.create({ kind: 'veth', name: interfaceName, mac: macOfAddress(address), peer });
    outside.links.set(outside.links.get(port)?.index ?? 0, {
      master: outside.links.get(bridgeName)?.index ?? 0,
      up: true,
    });
    inside.links.set(link.index, { up: true });
    inside.addresses.add({ index: link.index, address, prefixLength });
    return namespace;
  }

  /** A namespace with a TCP server that says its name and the client's address, and then echoes. */
  async serve(name: string, address: string, port: number): Promise<void> {
    this.add(name, address);
    this.#servers.use(await this.serveAt(name, '0.0.0.0', port));
  }

  /** The same server in a namespace that is there, at an address of its own. */
  async serveAt(name: string, address: string, port: number): Promise<AsyncDisposable> {
    const server = await tcpServerIn(this.get(name), { address, port }, (connection) => {
      connection.on('error', () => undefined);
      connection.write(`${name} ${connection.remoteAddress}`);
      connection.pipe(connection);
    });
    const connections = new Set<{ destroy(): void }>();
    server.on('connection', (connection) => connections.add(connection));
    return {
      [Symbol.asyncDispose]: async () => {
        for (const connection of connections) connection.destroy();
        server.close();
      },
    };
  }

  /** Of this process, while the segment is there. */
  get cgroup(): TestCgroup | undefined {
    return this.#cgroup;
  }

  /** Puts this process into a cgroup of its own, as a container's processes are in theirs. */
  enterCgroup(): void {
    this.#cgroup ??= this.#servers.use(TestCgroup.create('segment'));
  }

  /** From now on this process makes sockets that nobody is to lead. */
  leaveCgroup(): void {
    this.#cgroup?.leave();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#servers[Symbol.asyncDispose]();
    for (const [name, namespace] of this.#made) {
      namespace[Symbol.dispose]();
      NetworkNamespace.delete(this.path(name));
    }
    rmSync(dirname(this.#folder), { recursive: true, force: true });
  }

  #create(name: string): NetworkNamespace {
    const namespace = NetworkNamespace.create(this.path(name), { loopback: true });
    this.#made.set(name, namespace);
    return namespace;
  }
}

/** Where version 2 cgroups are: alone, or beside those of version 1. */
const cgroupRoots = ['/sys/fs/cgroup', '/sys/fs/cgroup/unified'];

/** A version 2 cgroup with this process in it, as a container's processes are in theirs. */
export class TestCgroup implements Disposable {
  readonly path: string;
  readonly #before: string;

  private constructor(root: string, name: string) {
    this.path = join(root, `skein-test-${process.pid}-${name}`);
    const own = /^0::(.*)$/m.exec(readFileSync('/proc/self/cgroup', 'utf8'))?.[1] ?? '/';
    this.#before = join(root, own);
    mkdirSync(this.path);
    enter(this.path);
  }

  /** Where they are; undefined where the host has no such cgroups. */
  static get root(): string | undefined {
    return cgroupRoots.find((path) => existsSync(join(path, 'cgroup.controllers')));
  }

  /** @returns undefined where the host has no such cgroups. */
  static create(name: string): TestCgroup | undefined {
    const { root } = TestCgroup;
    return root === undefined ? undefined : new TestCgroup(root, name);
  }

  /** Leaves it, for sockets that nobody is to lead. */
  leave(): void {
    enter(this.#before);
  }

  [Symbol.dispose](): void {
    this.leave();
    rmdirSync(this.path);
  }
}

function enter(cgroup: string): void {
  writeFileSync(join(cgroup, 'cgroup.procs'), `${process.pid}`);
}

/** The mesh's entrance in the namespace `entrance` of a segment. */
export const entranceOf = (segment: TestSegment) => ({
  networkId,
  networkNamespace: segment.path('entrance'),
  ingressInterface: 'eth0',
  loadBalancerAddress: '10.88.0.4',
  gatewayAddress: '172.28.0.2',
  gatewaySubnet: '172.28.0.0/24',
});

/** @returns the first words of the server that answers, or the error's code. */
export async function greeting(from: NetworkNamespace, address: string, port: number): Promise<string> {
  try {
    const connection = await connectTcpIn(from, { address, port, timeoutMs: 1500 });
    connection.on('error', () => undefined);
    const data = once(connection, 'data', { signal: AbortSignal.timeout(2000) }) as Promise<[Buffer]>;
    return String((await data.finally(() => connection.destroy()))[0]);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
}
