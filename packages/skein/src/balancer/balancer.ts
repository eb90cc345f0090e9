/** The load balancer of this host: what gossip says of tasks becomes rules in the namespaces of this host. */
import { setImmediate as turn } from 'node:timers/promises';
import type { NetworkDB } from '@skein/gossip';
import { type Family, familyOf, NetworkNamespace, writeSysctl } from '@skein/netlink';
import { errorText, type Logger } from '../common/index.ts';
import { TableKeeper } from '../nftables/index.ts';
import { BalancedNamespace } from './balanced-namespace.ts';
import { Client, type ClientContext } from './client.ts';
import { type ConnectTime, type ConnectTimeOptions, openConnectTime } from './connect-time/index.ts';
import { HostPorts } from './host-ports.ts';
import { Pace } from './pace.ts';
import { Reservations } from './reservations.ts';
import { ServiceFeed } from './service-feed.ts';
import { type ServiceKey, ServiceTable } from './service-table.ts';
import { entranceTable, isVirtualIp, parsePortKey } from './tables.ts';
import type { BalancedClient, HostPort, IngressEntrance, LoadBalancer, PortTarget } from './types.ts';

export interface LoadBalancerOptions {
  readonly logger: Logger;
  /** Where ports are published; by default the process's own namespace. */
  readonly hostNamespace?: NetworkNamespace;
  /** Which processes are led to tasks when they connect; by default none, so that nft leads all. */
  readonly connectTime?: ConnectTimeOptions;
  /** How often tables and records are looked at, whatever happens; milliseconds. */
  readonly auditIntervalMs?: number;
  /** How often it is looked at whether a task's servers listen on IPv6; milliseconds. */
  readonly listenersIntervalMs?: number;
  /** How long what an earlier daemon or a lost node said still counts; milliseconds. */
  readonly lostGraceMs?: number;
}

/** Changes within so many milliseconds are programmed together. */
const programDelayMs = 20;
const defaultAuditIntervalMs = 500;
/** The entrance passes packets from the host on to the ingress network. */
const forwarding = 'net.ipv4.ip_forward';
const ipv6Forwarding = 'net.ipv6.conf.all.forwarding';
/** How often it is looked at whether a task's servers listen on IPv6; milliseconds. Till then a relay serves. */
const listenersIntervalMs = 1_000;
/** Gossip's bulk syncs come every 30 s: after two of them what is not known is not there. */
const defaultLostGraceMs = 60_000;

/** @returns the load balancer of this host; it does nothing before its methods are called. */
export function createLoadBalancer(options: LoadBalancerOptions): LoadBalancer {
  return new Balancer(options);
}

class Balancer implements LoadBalancer {
  readonly reservations: Reservations;
  readonly #logger: Logger;
  readonly #host: NetworkNamespace;
  readonly #ownsHost: boolean;
  readonly #services = new ServiceTable();
  readonly #connectTime: ConnectTime;
  readonly #hostPorts: HostPorts;
  /** By container ID. BOUNDED by the containers of this host. */
  readonly #clients = new Map<string, Client>();
  #entrance: { spec: IngressEntrance; readonly kernel: BalancedNamespace } | undefined;
  /** Networks with changes that are not programmed yet. */
  readonly #dirty = new Set<string>();
  /** Network ID → addresses of tasks that flows may lead to. BOUNDED by the records, and those gone since the last pass. */
  readonly #known = new Map<string, Set<string>>();
  /** Set from when a pass is wanted until it has ended. */
  #timer: NodeJS.Timeout | undefined;
  readonly #pace = new Pace();
  #programming: Promise<void> = Promise.resolve();
  readonly #tables: TableKeeper;
  readonly #audit: NodeJS.Timeout;
  readonly #listeners: NodeJS.Timeout;
  readonly #adoptedUntil: number;
  readonly #feed: ServiceFeed;
  readonly #clientContext: ClientContext;
  #lastReport = { what: '', text: '' };
  #isClosed = false;

  constructor({ logger, hostNamespace, connectTime, auditIntervalMs, lostGraceMs, ...options }: LoadBalancerOptions) {
    this.#logger = logger;
    this.#connectTime = openConnectTime(connectTime ?? { mode: 'off', cgroup: undefined }, logger);
    this.#ownsHost = hostNamespace === undefined;
    this.#host = hostNamespace ?? NetworkNamespace.current();
    const graceMs = lostGraceMs ?? defaultLostGraceMs;
    this.#adoptedUntil = Date.now() + graceMs;
    this.#feed = new ServiceFeed({
      services: this.#services,
      lostGraceMs: graceMs,
      noteTask: (networkId, address) => this.#noteKnown(networkId, address),
      changed: (networkId) => this.#schedule(networkId),
    });
    this.reservations = new Reservations(this.#host, { logger });
    this.#hostPorts = new HostPorts(this.#host, this.reservations, logger);
    this.#tables = new TableKeeper(logger, auditIntervalMs);
    this.#tables.keep(this.#hostPorts, 'of published ports');
    this.#clientContext = {
      services: this.#services,
      connectTime: this.#connectTime,
      tables: this.#tables,
      logger,
      canLeaveUntracked: true,
      report: (what, error) => this.#report(what, error),
    };
    this.#audit = setInterval(() => this.#forgetOld(), auditIntervalMs ?? defaultAuditIntervalMs);
    this.#audit.unref();
    this.#listeners = setInterval(() => {
      for (const client of this.#clients.values()) this.#lookForListeners(client);
    }, options.listenersIntervalMs ?? listenersIntervalMs);
    this.#listeners.unref();
  }

  joinCluster(gossip: NetworkDB): void {
    this.#feed.follow(gossip);
  }

  leaveCluster(): void {
    this.#feed.lose();
    void this.#hostPorts.forgetAdopted().catch((error) => this.#report('cannot close ports', error));
  }

  attach(spec: BalancedClient): void {
    const known = this.#clients.get(spec.containerId);
    if (known?.isAt(spec.networkNamespace)) {
      known.apply(spec);
      return;
    }
    this.detach(spec.containerId);
    using opened = new DisposableStack();
    const client = opened.use(Client.open(spec, this.#clientContext));
    this.#lookForListeners(client);
    this.#inherit(client.kernel, (service) => (isVirtualIp(service) ? client.networkOf(service) : undefined));
    this.#clients.set(spec.containerId, client);
    opened.move();
    client.apply(spec);
  }

  detach(containerId: string): void {
    const client = this.#clients.get(containerId);
    this.#clients.delete(containerId);
    client?.forget();
  }

  returnsToEntrance(containerId: string): boolean {
    return this.#clients.get(containerId)?.returnsToEntrance ?? false;
  }

  takesIpv6(containerId: string): boolean {
    const client = this.#clients.get(containerId);
    if (client?.spec.ingress?.ipv6Address === undefined) return false;
    client.lookForListeners(this.#hostPorts.ports(containerId));
    return client.takesIpv6;
  }

  setEntrance(spec: IngressEntrance | undefined): void {
    const known = this.#entrance;
    if (known !== undefined && spec !== undefined && known.kernel.isAt(spec.networkNamespace)) {
      known.spec = spec;
      prepareEntrance(known);
    } else {
      const entrance = spec && { spec, kernel: BalancedNamespace.open(spec.networkNamespace) };
      if (known !== undefined) this.#tables.release(known.kernel);
      known?.kernel[Symbol.dispose]();
      this.#entrance = entrance;
      if (entrance !== undefined) {
        this.#tables.keep(entrance.kernel, "of the routing mesh's entrance");
        prepareEntrance(entrance);
        this.#inherit(entrance.kernel, () => entrance.spec.networkId);
      }
    }
    this.#programEntrance();
  }

  openPorts(target: PortTarget, ports: readonly HostPort[]): Promise<readonly HostPort[]> {
    return this.#hostPorts.open(target, ports).finally(() => {
      const client = this.#clients.get(target.containerId);
      if (client !== undefined) this.#lookForListeners(client);
    });
  }

  closePorts(containerId: string): void {
    this.#hostPorts.close(containerId).catch((error) => this.#report('cannot close ports', error));
  }

  retainPorts(addresses: ReadonlySet<string>): void {
    this.#hostPorts
      .forgetAdopted(({ address }) => !addresses.has(address))
      .catch((error) => this.#report('cannot close ports of an earlier daemon', error));
  }

  ports(containerId: string): readonly HostPort[] {
    return this.#hostPorts.ports(containerId);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isClosed = true;
    clearInterval(this.#audit);
    clearInterval(this.#listeners);
    clearTimeout(this.#timer);
    this.#tables[Symbol.dispose]();
    this.#feed[Symbol.dispose]();
    await this.#programming;
    await this.#hostPorts.settled();
    for (const client of this.#clients.values()) client[Symbol.dispose]();
    this.#connectTime[Symbol.dispose]();
    this.#entrance?.kernel[Symbol.dispose]();
    this.#hostPorts[Symbol.dispose]();
    this.reservations[Symbol.dispose]();
    if (this.#ownsHost) this.#host[Symbol.dispose]();
  }

  /** Takes over what an earlier daemon's table says, until the records come. */
  #inherit(kernel: BalancedNamespace, networkOfService: (service: string) => string | undefined): void {
    if (Date.now() >= this.#adoptedUntil) return;
    const { services, returning } = kernel.inherited();
    for (const [service, addresses] of services) {
      const networkId = networkOfService(service);
      if (networkId === undefined) continue;
      for (const address of addresses) this.#noteKnown(networkId, address);
      this.#services.adopt(networkId, service, addresses, { until: this.#adoptedUntil, returning });
    }
  }

  #schedule(networkId: string): void {
    this.#dirty.add(networkId);
    this.#programSoon();
  }

  /** What changes during a pass waits for its end, and then for the rest that it owes. */
  #programSoon(): void {
    if (this.#isClosed) return;
    const delayMs = Math.max(programDelayMs, this.#pace.waitMs(performance.now()));
    this.#timer ??= setTimeout(() => {
      this.#programming = this.#program().finally(() => {
        this.#timer = undefined;
        if (this.#dirty.size > 0) this.#programSoon();
      });
    }, delayMs);
  }

  /** Makes the tables follow the changes; between two namespaces the rest of the process has its turn. */
  async #program(): Promise<void> {
    const networks = new Set(this.#dirty);
    this.#dirty.clear();
    const gone = new Map([...networks].map((networkId) => [networkId, this.#goneTasks(networkId)]));
    const goneOf = new Map<NetworkNamespace, ReadonlySet<string>>();
    let busyMs = 0;
    for (const client of [...this.#clients.values()]) {
      const own = client.spec.networks.map(({ id }) => id).filter((id) => networks.has(id));
      if (own.length === 0 || this.#clients.get(client.spec.containerId) !== client) continue;
      const begin = performance.now();
      client.program();
      const addresses = new Set(own.flatMap((id) => [...(gone.get(id) ?? [])]));
      this.#forgetFlows(client.kernel, addresses);
      goneOf.set(client.kernel.namespace, addresses);
      busyMs += performance.now() - begin;
      await turn();
      if (this.#isClosed) return;
    }
    this.#pace.spend(busyMs, performance.now());
    const ended = this.#connectTime.end(goneOf);
    if (ended > 0) this.#logger.debug({ count: ended }, 'connections to tasks that have gone are ended');
    const entrance = this.#entrance;
    if (entrance === undefined || !networks.has(entrance.spec.networkId)) return;
    this.#programEntrance();
    this.#forgetFlows(entrance.kernel, gone.get(entrance.spec.networkId) ?? new Set());
  }

  /** @returns addresses of tasks that were known since the last time and are in no record any more. */
  #goneTasks(networkId: string): Set<string> {
    const present = this.#services.addresses(networkId);
    const before = this.#known.get(networkId) ?? new Set();
    if (present.size > 0) this.#known.set(networkId, present);
    else this.#known.delete(networkId);
    return before.difference(present);
  }

  /** From the record on, not from the next pass: a table that is made in between leads to the task, which may go before it. */
  #noteKnown(networkId: string, address: string): void {
    const known = this.#known.get(networkId) ?? new Set();
    this.#known.set(networkId, known.add(address));
  }

  #programEntrance(): void {
    const spec = this.#entrance?.spec;
    const ports = spec && this.#services.publishedPorts(spec.networkId);
    try {
      if (this.#entrance && spec && ports) {
        const returning = this.#services.returning(spec.networkId);
        const { kernel } = this.#entrance;
        kernel.apply(entranceTable(spec, onlyOf('ipv4', ports), ofFamily('ipv4', returning)));
        if (spec.ipv6 !== undefined) {
          kernel.apply(entranceTable(spec, onlyOf('ipv6', ports), ofFamily('ipv6', returning), spec.ipv6));
        }
      }
    } catch (error) {
      this.#report('cannot program the entrance of the routing mesh', error);
    }
    const publishers = spec ? this.#services.publishers(spec.networkId) : new Map<ServiceKey, string>();
    const ipv6Mesh = spec?.ipv6 && ports && { address: spec.ipv6.gatewayAddress, ports: ledByIpv6(ports) };
    this.#hostPorts
      .setMesh(spec?.gatewayAddress, publishers, ipv6Mesh)
      .catch((error) => this.#report('cannot publish the ports of the routing mesh', error));
  }

  /** What its servers take by IPv6 is led there; who tells others of the task is told. */
  #lookForListeners(client: Client): void {
    const { containerId, onIpv6 } = client.spec;
    try {
      const before = client.takesIpv6;
      const found = client.lookForListeners(this.#hostPorts.ports(containerId));
      this.#hostPorts.setTakingIpv6(containerId, found);
      if (client.takesIpv6 !== before) onIpv6?.();
    } catch (error) {
      this.#report(`cannot see whether container ${containerId} listens on IPv6`, error);
    }
  }

  #forgetFlows(kernel: BalancedNamespace, addresses: ReadonlySet<string>): void {
    const count = kernel.forgetFlows(addresses, this.#logger);
    if (count > 0)
      this.#logger.debug({ count, addresses: [...addresses] }, 'flows of tasks that have gone are forgotten');
  }

  #forgetOld(): void {
    const now = Date.now();
    for (const networkId of this.#services.expire(now)) this.#schedule(networkId);
    if (now >= this.#adoptedUntil) {
      this.#hostPorts.forgetAdopted().catch((error) => this.#report('cannot close ports of an earlier daemon', error));
    }
  }

  /** What stays wrong is not said again and again. */
  #report(what: string, error: unknown): void {
    const text = errorText(error);
    if (this.#lastReport.what === what && this.#lastReport.text === text) return;
    this.#lastReport = { what, text };
    this.#logger.error({ error: text }, what);
  }
}

/** The entrance passes packets on, of both families if it has them. */
function prepareEntrance({ spec, kernel }: { spec: IngressEntrance; kernel: BalancedNamespace }): void {
  kernel.setIpv6(spec.ipv6 !== undefined);
  writeSysctl(kernel.namespace, forwarding, 1);
  if (spec.ipv6 !== undefined) writeSysctl(kernel.namespace, ipv6Forwarding, 1);
}

function ofFamily(family: Family, addresses: readonly string[]): string[] {
  return addresses.filter((address) => familyOf(address) === family);
}

function onlyOf(family: Family, ports: ReadonlyMap<ServiceKey, readonly string[]>): Map<ServiceKey, string[]> {
  return new Map([...ports].map(([key, addresses]) => [key, ofFamily(family, addresses)]));
}

/** @returns the ports of which every task takes IPv6: with others among them these would get nothing of it. */
function ledByIpv6(ports: ReadonlyMap<ServiceKey, readonly string[]>): Set<ServiceKey> {
  const led = [...ports].filter(([key, addresses]) => {
    const count = ofFamily('ipv6', addresses).length;
    return parsePortKey(key).protocol !== 'sctp' && count > 0 && 2 * count === addresses.length;
  });
  return new Set(led.map(([key]) => key));
}
