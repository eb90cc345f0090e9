/** A namespace with tables of this room: a container's, or the mesh's entrance. */
import { NetworkNamespace } from '@skein/netlink';
import type { Logger } from '../common/index.ts';
import { ManagedTable } from '../nftables/index.ts';
import { type DispatchTable, destinations, dispatchShape } from './dispatch.ts';
import { forgetFlows } from './flows.ts';
import type { ServiceKey } from './service-table.ts';
import { ipv6NamespaceTable, namespaceTable, returningOfChain, serviceOfChain } from './tables.ts';

export class BalancedNamespace implements Disposable {
  readonly namespace: NetworkNamespace;
  readonly #table: ManagedTable<DispatchTable>;
  /** Only of a container that is on a network with IPv6. */
  #ipv6Table: ManagedTable<DispatchTable> | undefined;

  private constructor(namespace: NetworkNamespace, table: ManagedTable<DispatchTable>) {
    this.namespace = namespace;
    this.#table = table;
  }

  /** Opens the namespace by its nsfs file, and keeps it alive until disposed. */
  static open(path: string): BalancedNamespace {
    const namespace = NetworkNamespace.open(path);
    try {
      return new BalancedNamespace(namespace, ManagedTable.open(namespace, dispatchShape(namespaceTable)));
    } catch (error) {
      namespace[Symbol.dispose]();
      throw error;
    }
  }

  /** Whether the path leads to this namespace, and not to another that has taken its place. */
  isAt(path: string): boolean {
    if (!NetworkNamespace.exists(path)) return false;
    using namespace = NetworkNamespace.open(path);
    return this.namespace.equals(namespace);
  }

  /** @returns what an earlier daemon knew, by the table in the kernel: where services lead, and which tasks return. */
  inherited(): { services: Map<ServiceKey, readonly string[]>; returning: Set<string> } {
    const objects = [...this.#table.read(), ...(this.#ipv6Table?.read() ?? [])];
    const services = new Map<ServiceKey, readonly string[]>();
    for (const [chain, addresses] of destinations(objects)) {
      const key = serviceOfChain(chain);
      if (key !== undefined) services.set(key, addresses);
    }
    const chains = objects.flatMap((object) => ('chain' in object ? object.chain.name : []));
    return { services, returning: new Set(chains.flatMap((chain) => returningOfChain(chain) ?? [])) };
  }

  /** Has a table for IPv6 from now on, which it then reads and repairs, too, or removes the one that it has. */
  setIpv6(isWanted: boolean): void {
    if (isWanted) this.#ipv6Table ??= ManagedTable.open(this.namespace, dispatchShape(ipv6NamespaceTable));
    if (isWanted || this.#ipv6Table === undefined) return;
    this.#ipv6Table.remove();
    this.#ipv6Table[Symbol.dispose]();
    this.#ipv6Table = undefined;
  }

  apply(table: DispatchTable): void {
    (table.family === 'ip6' ? this.#ipv6Table : this.#table)?.apply(table);
  }

  /** @returns whether somebody had changed a table. */
  repair(): boolean {
    const isRepaired = this.#table.repair();
    return this.#ipv6Table?.repair() || isRepaired;
  }

  /** Flows to these tasks are decided anew. */
  forgetFlows(addresses: ReadonlySet<string>, logger: Logger): number {
    return forgetFlows(this.namespace, addresses, logger);
  }

  /** Removes the tables. */
  clear(): void {
    this.#table.remove();
    this.setIpv6(false);
  }

  /** Lets go; the tables stay. */
  [Symbol.dispose](): void {
    this.#ipv6Table?.[Symbol.dispose]();
    this.#table[Symbol.dispose]();
    this.namespace[Symbol.dispose]();
  }
}
