/** The contestant without an engine: hosts of a lab, and two namespaces on a bridge in one of them. */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { NetworkNamespace, RouteSocket } from '@skein/netlink';
import { Cluster } from '../../e2e/support/cluster.ts';
import type { Place } from '../probe.ts';

const subnet = '10.87.0';
const bridgeName = 'bench0';

export class BareHosts implements AsyncDisposable {
  readonly #cluster: Cluster;
  readonly #folder = `/run/skein-bench-${process.pid}`;
  /** Two hosts. */
  readonly hosts: readonly [Place, Place];
  /** Two namespaces on a bridge of the first host. */
  readonly neighbours: readonly [Place, Place];

  private constructor(cluster: Cluster) {
    this.#cluster = cluster;
    const place = (name: string): Place => ({
      namespace: cluster.lab.host(name).networkNamespace,
      address: cluster.lab.hosts().find((host) => host.name === name)?.address ?? '',
    });
    this.hosts = [place('node1'), place('node2')];
    this.#createBridge();
    this.neighbours = [this.#addNeighbour(1), this.#addNeighbour(2)];
  }

  static async start(): Promise<BareHosts> {
    return new BareHosts(await Cluster.start('bench-bare', 2, { daemons: false }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { namespace } of this.neighbours) NetworkNamespace.delete(namespace);
    rmSync(this.#folder, { recursive: true, force: true });
    await this.#cluster[Symbol.asyncDispose]();
  }

  #createBridge(): void {
    using host = NetworkNamespace.open(this.hosts[0].namespace);
    using route = RouteSocket.open(host);
    route.links.create({ kind: 'bridge', name: bridgeName, up: true });
  }

  #addNeighbour(number: number): Place {
    const path = join(this.#folder, `neighbour${number}`);
    const address = `${subnet}.${number}`;
    using inside = NetworkNamespace.create(path, { loopback: true });
    using outside = NetworkNamespace.open(this.hosts[0].namespace);
    using insideRoute = RouteSocket.open(inside);
    using outsideRoute = RouteSocket.open(outside);
    const master = outsideRoute.links.get(bridgeName)?.index ?? 0;
    outsideRoute.links.create({
      kind: 'veth',
      name: `bench-${number}`,
      master,
      up: true,
      peer: { name: 'eth0', up: true, namespace: inside },
    });
    insideRoute.addresses.add({ index: insideRoute.links.get('eth0')?.index ?? 0, address, prefixLength: 24 });
    return { namespace: path, address };
  }
}
