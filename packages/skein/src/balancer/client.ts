/** A container of this host as a client of services: what its namespace gets, and what it can be sent. */
import { isIPv6 } from 'node:net';
import { NftablesError, Prefix } from '@skein/netlink';
import { errorText, type Logger } from '../common/index.ts';
import type { TableKeeper } from '../nftables/index.ts';
import { BalancedNamespace } from './balanced-namespace.ts';
import type { ConnectTime } from './connect-time/index.ts';
import type { DispatchTable } from './dispatch.ts';
import { ipv6Listeners } from './listeners.ts';
import { ReturnPath } from './return-path.ts';
import { placeOf } from './rules.ts';
import { portKey, type ServiceKey, type ServiceTable } from './service-table.ts';
import { clientTable, ipv6ClientTable } from './tables.ts';
import type { BalancedClient, HostPort } from './types.ts';

/** What the clients of a host share. */
export interface ClientContext {
  readonly services: Pick<ServiceTable, 'virtualServices'>;
  readonly connectTime: ConnectTime;
  readonly tables: TableKeeper;
  readonly logger: Logger;
  /** Whether the kernel knows the rules that leave connections untracked: until it has refused them. */
  canLeaveUntracked: boolean;
  /** Takes note of what went wrong. */
  report(what: string, error: unknown): void;
}

export class Client implements Disposable {
  readonly kernel: BalancedNamespace;
  #spec: BalancedClient;
  readonly #context: ClientContext;
  /** Undefined: not asked for, or impossible on this host. */
  #returnPath: ReturnPath | undefined;
  /** Target ports at which its servers listen on IPv6, as they were last looked at. */
  #takingIpv6: ReadonlySet<ServiceKey> = new Set();

  private constructor(spec: BalancedClient, kernel: BalancedNamespace, context: ClientContext) {
    this.#spec = spec;
    this.kernel = kernel;
    this.#context = context;
  }

  /** Opens the container's namespace, whose tables are kept as they should be from now on. Nothing is programmed yet. */
  static open(spec: BalancedClient, context: ClientContext): Client {
    const client = new Client(spec, BalancedNamespace.open(spec.networkNamespace), context);
    context.tables.keep(client.kernel, `of container ${spec.containerId}`);
    client.kernel.setIpv6(hasIpv6(spec));
    return client;
  }

  get spec(): BalancedClient {
    return this.#spec;
  }

  get returnsToEntrance(): boolean {
    return this.#returnPath !== undefined;
  }

  /** Whether all that the mesh may lead to the task by IPv6 arrives at a server. */
  get takesIpv6(): boolean {
    const { ingress } = this.#spec;
    if (ingress?.ipv6Address === undefined) return false;
    const led = ingress.ports.filter(({ protocol }) => protocol !== 'sctp');
    return (
      led.length > 0 && led.every(({ protocol, targetPort }) => this.#takingIpv6.has(portKey(protocol, targetPort)))
    );
  }

  /** Whether the path leads to the namespace that this is about. */
  isAt(path: string): boolean {
    return this.kernel.isAt(path);
  }

  /** @returns the network of the client on which the address is. */
  networkOf(address: string): string | undefined {
    const { networks } = this.#spec;
    return networks.find(({ subnets }) => subnets.some((subnet) => Prefix.parse(subnet).contains(address)))?.id;
  }

  /** Its namespace is to be so. What cannot be had is reported. */
  apply(spec: BalancedClient): void {
    this.#spec = spec;
    this.#ensureReturnPath();
    this.program();
  }

  /** Its namespace leads to the tasks that there are now. */
  program(): void {
    const { services, connectTime, canLeaveUntracked, report } = this.#context;
    const { spec, kernel } = this;
    const { containerId } = spec;
    const found = spec.networks.flatMap(({ id }) => [...services.virtualServices(id)]);
    const ofIpv4 = new Map(found.filter(([address]) => !isIPv6(address)));
    const isLed = connectTime.apply(kernel.namespace, ofIpv4, placeOf(containerId));
    try {
      const ingress = spec.ingress && { ...spec.ingress, returnPath: this.#returnPath && spec.ingress.returnPath };
      const untracked = isLed && canLeaveUntracked && !spec.filtersPackets ? ipv4SubnetsOf(spec) : [];
      this.#applyTable((subnets) => clientTable(containerId, ofIpv4, ingress, subnets), untracked);
      kernel.setIpv6(hasIpv6(spec));
      const ofIpv6 = new Map(found.filter(([address]) => isIPv6(address)));
      if (hasIpv6(spec)) kernel.apply(ipv6ClientTable(containerId, ofIpv6, ingress));
    } catch (error) {
      report(`cannot balance the connections of container ${containerId}`, error);
    }
  }

  /** Looks at which of these ports its servers listen on IPv6. @returns those. */
  lookForListeners(ports: readonly HostPort[]): ReadonlySet<ServiceKey> {
    const asked = [...(this.#spec.ingress?.ports ?? []), ...ports];
    this.#takingIpv6 = asked.length === 0 ? new Set() : ipv6Listeners(this.kernel.namespace, asked);
    return this.#takingIpv6;
  }

  /** The container goes: it is led no more. */
  forget(): void {
    this.#context.connectTime.forget(this.kernel.namespace);
    this[Symbol.dispose]();
  }

  /** Lets go; the tables stay. */
  [Symbol.dispose](): void {
    this.#releaseReturnPath();
    this.#context.tables.release(this.kernel);
    this.kernel[Symbol.dispose]();
  }

  /** Where it cannot be had, entrances put their own address in the client's place. */
  #ensureReturnPath(): void {
    this.#releaseReturnPath();
    const wanted = this.#spec.ingress?.returnPath;
    if (wanted === undefined) return;
    try {
      this.#returnPath = ReturnPath.open(this.kernel.namespace, wanted);
      this.#context.tables.keep(this.#returnPath, `for the answers of container ${this.#spec.containerId}`);
    } catch (error) {
      this.#context.report("tasks of this host do not see the addresses of the mesh's clients", error);
    }
  }

  #releaseReturnPath(): void {
    if (this.#returnPath === undefined) return;
    this.#context.tables.release(this.#returnPath);
    this.#returnPath[Symbol.dispose]();
    this.#returnPath = undefined;
  }

  /** Where the kernel does not know the rules that leave connections untracked, all are tracked. */
  #applyTable(tableOf: (untracked: readonly string[]) => DispatchTable, untracked: readonly string[]): void {
    try {
      this.kernel.apply(tableOf(untracked));
    } catch (error) {
      if (untracked.length === 0 || !(error instanceof NftablesError)) throw error;
      this.kernel.apply(tableOf([]));
      this.#context.canLeaveUntracked = false;
      this.#context.logger.warn({ error: errorText(error) }, 'all connections of containers are tracked');
    }
  }
}

function ipv4SubnetsOf({ networks }: BalancedClient): string[] {
  return networks.flatMap(({ subnets }) => subnets.filter((subnet) => !subnet.includes(':')));
}

function hasIpv6({ networks, ingress }: BalancedClient): boolean {
  return (
    ingress?.ipv6Address !== undefined || networks.some(({ subnets }) => subnets.some((subnet) => subnet.includes(':')))
  );
}
