/** Helpers of this room's own kernel tests: namespaces under a folder of this process, removed at the end. */
import { rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { NetworkNamespace } from './namespace.ts';
import { RouteSocket } from './route/route-socket.ts';

/** Named network namespaces for one test file; `using` it removes them all. */
export class TestNamespaces implements Disposable {
  readonly folder: string;
  readonly #made = new Map<string, NetworkNamespace>();

  constructor(file: string) {
    this.folder = `/run/skein-test-${process.pid}/${file}`;
  }

  path(name: string): string {
    return `${this.folder}/${name}`;
  }

  create(name: string): NetworkNamespace {
    const namespace = NetworkNamespace.create(this.path(name), { loopback: true });
    this.#made.set(name, namespace);
    return namespace;
  }

  /** Two namespaces joined by a veth pair: 10.99.0.1 and fd99::1 in the first, .2 and ::2 in the second. */
  pair(left: string, right: string): [NetworkNamespace, NetworkNamespace] {
    const namespaces: [NetworkNamespace, NetworkNamespace] = [this.create(left), this.create(right)];
    using sockets = new DisposableStack();
    const [first, second] = namespaces.map((namespace) => sockets.use(RouteSocket.open(namespace)));
    first?.links.create({ kind: 'veth', name: 'eth0', peer: { name: 'eth0', namespace: namespaces[1] } });
    for (const [host, socket] of [first, second].entries()) {
      const index = socket?.links.get('eth0')?.index ?? 0;
      socket?.links.set(index, { up: true });
      socket?.addresses.add({ index, address: `10.99.0.${host + 1}`, prefixLength: 24 });
      const address = `fd99::${host + 1}`;
      socket?.addresses.add({ index, address, prefixLength: 64, skipDuplicateDetection: true });
    }
    return namespaces;
  }

  [Symbol.dispose](): void {
    for (const [name, namespace] of this.#made) {
      namespace[Symbol.dispose]();
      NetworkNamespace.delete(this.path(name));
    }
    this.#made.clear();
    rmSync(dirname(this.folder), { recursive: true, force: true });
  }
}
