/** The load balancer of this host: what gossip says of tasks becomes rules in the namespaces of this host. */
import { isIPv6 } from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import type { NetworkDB, TableChange } from '@skein/gossip';
import { type Family, familyOf, NetworkNamespace, NftablesError, Prefix, writeSysctl } from '@skein/netlink';
import { errorText, type Logger } from '../common/index.ts';
import { decodeRecord, endpointTable } from '../discovery/records.ts';
import { TableKeeper } from '../nftables/index.ts';
import { BalancedNamespace } from './balanced-namespace.ts';
import { type ConnectTime, type ConnectTimeOptions, openConnectTime } from './connect-time/index.ts';
import type { DispatchTable } from './dispatch.ts';
import { HostPorts } from './host-ports.ts';
import { ipv6Listeners } from './listeners.ts';
import { Pace } from './pace.ts';
import { backendOf, ipv6BackendOf, peerAddressesOf, peerTable } from './records.ts';
import { Reservations } from './reservations.ts';
import { ReturnPath } from './return-path.ts';
import { placeOf } from './rules.ts';
import { type BackendRecord, portKey, type ServiceKey, ServiceTable } from './service-table.ts';
import { clientTable, entranceTable, ipv6ClientTable, isVirtualIp, parsePortKey } from './tables.ts';
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

interface AttachedClient {
  spec: BalancedClient;
  readonly kernel: BalancedNamespace;
  /** Undefined: not asked for, or impossible on this host. */
  returnPath: ReturnPath | undefined;
  /** Target ports at which its servers listen on IPv6, as they were last looked at. */
  takingIpv6: ReadonlySet<ServiceKey>;
}

class Balancer implements LoadBalancer {
  readonly reservations: Reservations;
  readonly #logger: Logger;
  readonly #host: NetworkNamespace;
  readonly #ownsHost: boolean;
  readonly #lostGraceMs: number;
  readonly #services = new ServiceTable();
  readonly #connectTime: ConnectTime;
  readonly #hostPorts: HostPorts;
  /** By container ID. BOUNDED by the containers of this host. */
  readonly #clients = new Map<string, AttachedClient>();
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
  #gossip: { readonly db: NetworkDB; unwatch: () => void } | undefined;
  #canLeaveUntracked = true;
  #lastReport = { what: '', text: '' };
  #isClosed = false;

  constructor({ logger, hostNamespace, connectTime, auditIntervalMs, lostGraceMs, ...options }: LoadBalancerOptions) {
    this.#logger = logger;
    this.#connectTime = openConnectTime(connectTime ?? { mode: 'off', cgroup: undefined }, logger);
    this.#ownsHost = hostNamespace === undefined;
    this.#host = hostNamespace ?? NetworkNamespace.current();
    this.#lostGraceMs = lostGraceMs ?? defaultLostGraceMs;
    this.#adoptedUntil = Date.now() + this.#lostGraceMs;
    this.reservations = new Reservations(this.#host, { logger });
    this.#hostPorts = new HostPorts(this.#host, this.reservations, logger);
    this.#tables = new TableKeeper(logger, auditIntervalMs);
    this.#tables.keep(this.#hostPorts, 'of published ports');
    this.#audit = setInterval(() => this.#forgetOld(), auditIntervalMs ?? defaultAuditIntervalMs);
    this.#audit.unref();
    this.#listeners = setInterval(() => {
      for (const client of this.#clients.values()) this.#lookForListeners(client);
    }, options.listenersIntervalMs ?? listenersIntervalMs);
    this.#listeners.unref();
  }

  joinCluster(gossip: NetworkDB): void {
    if (this.#gossip?.db === gossip) return;
    this.#loseGossip();
    this.#gossip = { db: gossip, unwatch: () => undefined };
    const watches = [
      gossip.watch(peerTable, undefined, (change) => this.#takePeer(change)),
      gossip.watch(endpointTable, undefined, (change) => this.#take(change)),
    ];
    this.#gossip.unwatch = () => {
      for (const unwatch of watches) unwatch();
    };
  }

  leaveCluster(): void {
    this.#loseGossip();
    void this.#hostPorts.forgetAdopted().catch((error) => this.#report('cannot close ports', error));
  }

  /** What it said still counts for a while, as what a lost node said: nobody will say what goes of it. */
  #loseGossip(): void {
    if (this.#gossip === undefined) return;
    this.#gossip.unwatch();
    this.#gossip = undefined;
    for (const networkId of this.#services.loseAll(Date.now() + this.#lostGraceMs)) this.#schedule(networkId);
  }

  attach(spec: BalancedClient): void {
    const known = this.#clients.get(spec.containerId);
    if (known !== undefined && isSameNamespace(known.kernel, spec.networkNamespace)) {
      known.spec = spec;
      this.#ensureReturnPath(known);
      this.#programClient(known);
      return;
    }
    this.detach(spec.containerId);
    const kernel = BalancedNamespace.open(spec.networkNamespace);
    const client: AttachedClient = { spec, kernel, returnPath: undefined, takingIpv6: new Set() };
    this.#clients.set(spec.containerId, client);
    this.#tables.keep(client.kernel, `of container ${spec.containerId}`);
    client.kernel.setIpv6(hasIpv6(spec));
    this.#lookForListeners(client);
    this.#inherit(client.kernel, (service) => (isVirtualIp(service) ? networkOf(spec, service) : undefined));
    this.#ensureReturnPath(client);
    this.#programClient(client);
  }

  detach(containerId: string): void {
    const client = this.#clients.get(containerId);
    if (client === undefined) return;
    this.#clients.delete(containerId);
    this.#connectTime.forget(client.kernel.namespace);
    this.#release(client);
  }

  returnsToEntrance(containerId: string): boolean {
    return this.#clients.get(containerId)?.returnPath !== undefined;
  }

  takesIpv6(containerId: string): boolean {
    const client = this.#clients.get(containerId);
    if (client?.spec.ingress?.ipv6Address === undefined) return false;
    client.takingIpv6 = this.#listenersOf(client);
    return takesIpv6(client);
  }

  setEntrance(spec: IngressEntrance | undefined): void {
    const known = this.#entrance;
    if (known !== undefined && spec !== undefined && isSameNamespace(known.kernel, spec.networkNamespace)) {
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
    this.#gossip?.unwatch();
    await this.#programming;
    await this.#hostPorts.settled();
    for (const client of this.#clients.values()) this.#release(client);
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

  #take({ type, networkId, key, value, reason }: TableChange): void {
    const record = decodeRecord(value);
    const backends = [
      [key, record && backendOf(record)],
      [ipv6Key(key), record && ipv6BackendOf(record)],
    ] as const;
    for (const [id, backend] of backends) {
      if (type === 'delete') this.#remove(networkId, id, backend, reason);
      else this.#put(networkId, id, backend);
    }
    this.#schedule(networkId);
  }

  #put(networkId: string, key: string, backend: BackendRecord | undefined): void {
    if (backend !== undefined) this.#noteKnown(networkId, backend.address);
    if (backend !== undefined) this.#services.set(networkId, key, backend, Date.now());
    else this.#services.delete(networkId, key, undefined, Date.now());
  }

  /** @param last what was said of it last. */
  #remove(networkId: string, key: string, last: BackendRecord | undefined, reason: TableChange['reason']): void {
    const now = Date.now();
    if (isLoss(reason)) this.#services.lose(networkId, key, now + this.#lostGraceMs, now);
    else this.#services.delete(networkId, key, last?.address, now);
  }

  #takePeer({ type, networkId, key, value, reason }: TableChange): void {
    const { ipv4, ipv6 } = type === 'delete' ? {} : peerAddressesOf(value);
    this.#putPeer(networkId, key, ipv4, reason);
    this.#putPeer(networkId, ipv6Key(key), ipv6, reason);
    this.#schedule(networkId);
  }

  #putPeer(networkId: string, key: string, address: string | undefined, reason: TableChange['reason']): void {
    if (address !== undefined) this.#services.setPeer(networkId, key, address);
    else if (isLoss(reason)) this.#services.losePeer(networkId, key, Date.now() + this.#lostGraceMs);
    else this.#services.deletePeer(networkId, key);
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
      this.#programClient(client);
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

  /** Where it cannot be had, entrances put their own address in the client's place. */
  #ensureReturnPath(client: AttachedClient): void {
    this.#releaseReturnPath(client);
    const wanted = client.spec.ingress?.returnPath;
    if (wanted === undefined) return;
    try {
      client.returnPath = ReturnPath.open(client.kernel.namespace, wanted);
      this.#tables.keep(client.returnPath, `for the answers of container ${client.spec.containerId}`);
    } catch (error) {
      this.#report("tasks of this host do not see the addresses of the mesh's clients", error);
    }
  }

  #releaseReturnPath(client: AttachedClient): void {
    if (client.returnPath === undefined) return;
    this.#tables.release(client.returnPath);
    client.returnPath[Symbol.dispose]();
    client.returnPath = undefined;
  }

  #release(client: AttachedClient): void {
    this.#releaseReturnPath(client);
    this.#tables.release(client.kernel);
    client.kernel[Symbol.dispose]();
  }

  #programClient({ spec, kernel, returnPath }: AttachedClient): void {
    const { containerId } = spec;
    const services = spec.networks.flatMap(({ id }) => [...this.#services.virtualServices(id)]);
    const ofIpv4 = new Map(services.filter(([address]) => !isIPv6(address)));
    const isLed = this.#connectTime.apply(kernel.namespace, ofIpv4, placeOf(containerId));
    try {
      const ingress = spec.ingress && { ...spec.ingress, returnPath: returnPath && spec.ingress.returnPath };
      const untracked = isLed && this.#canLeaveUntracked && !spec.filtersPackets ? ipv4SubnetsOf(spec) : [];
      this.#applyClientTable(kernel, (subnets) => clientTable(containerId, ofIpv4, ingress, subnets), untracked);
      kernel.setIpv6(hasIpv6(spec));
      const ofIpv6 = new Map(services.filter(([address]) => isIPv6(address)));
      if (hasIpv6(spec)) kernel.apply(ipv6ClientTable(containerId, ofIpv6, ingress));
    } catch (error) {
      this.#report(`cannot balance the connections of container ${containerId}`, error);
    }
  }

  /** Where the kernel does not know the rules that leave connections untracked, all are tracked. */
  #applyClientTable(
    kernel: BalancedNamespace,
    tableOf: (untracked: readonly string[]) => DispatchTable,
    untracked: readonly string[],
  ): void {
    try {
      kernel.apply(tableOf(untracked));
    } catch (error) {
      if (untracked.length === 0 || !(error instanceof NftablesError)) throw error;
      kernel.apply(tableOf([]));
      this.#canLeaveUntracked = false;
      this.#logger.warn({ error: errorText(error) }, 'all connections of containers are tracked');
    }
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
  #lookForListeners(client: AttachedClient): void {
    const { spec } = client;
    try {
      const found = this.#listenersOf(client);
      const before = takesIpv6(client);
      client.takingIpv6 = found;
      this.#hostPorts.setTakingIpv6(spec.containerId, found);
      if (takesIpv6(client) !== before) spec.onIpv6?.();
    } catch (error) {
      this.#report(`cannot see whether container ${spec.containerId} listens on IPv6`, error);
    }
  }

  #listenersOf({ spec, kernel }: AttachedClient): Set<ServiceKey> {
    const ports = [...(spec.ingress?.ports ?? []), ...this.#hostPorts.ports(spec.containerId)];
    return ports.length === 0 ? new Set() : ipv6Listeners(kernel.namespace, ports);
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

/** Whether all that the mesh may lead to the task by IPv6 arrives at a server. */
function takesIpv6({ spec: { ingress }, takingIpv6 }: AttachedClient): boolean {
  if (ingress?.ipv6Address === undefined) return false;
  const led = ingress.ports.filter(({ protocol }) => protocol !== 'sctp');
  return led.length > 0 && led.every(({ protocol, targetPort }) => takingIpv6.has(portKey(protocol, targetPort)));
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

/** A task is one backend for each family, under keys of their own. */
const ipv6Key = (endpointId: string): string => `${endpointId} ipv6`;

function isLoss(reason: TableChange['reason']): boolean {
  return reason === 'unreachable' || reason === 'left';
}

function ipv4SubnetsOf({ networks }: BalancedClient): string[] {
  return networks.flatMap(({ subnets }) => subnets.filter((subnet) => !subnet.includes(':')));
}

function hasIpv6({ networks, ingress }: BalancedClient): boolean {
  return (
    ingress?.ipv6Address !== undefined || networks.some(({ subnets }) => subnets.some((subnet) => subnet.includes(':')))
  );
}

function isSameNamespace(kernel: BalancedNamespace, path: string): boolean {
  if (!NetworkNamespace.exists(path)) return false;
  using namespace = NetworkNamespace.open(path);
  return kernel.namespace.equals(namespace);
}

/** @returns the network of the client on which the address is. */
function networkOf({ networks }: BalancedClient, address: string): string | undefined {
  return networks.find(({ subnets }) => subnets.some((subnet) => Prefix.parse(subnet).contains(address)))?.id;
}
