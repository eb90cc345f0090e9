/** The overlay driver of a host: the sandboxes of its containers, and in what order they come and go. */
import { mkdirSync } from 'node:fs';
import { NetworkNamespace, RouteSocket } from '@skein/netlink';
import { type EventBus, errorText, type Logger } from '../common/index.ts';
import { TableKeeper } from '../nftables/index.ts';
import { type FastPathMode, openFastPath } from './fast-path/index.ts';
import { addressesOf, Gateway } from './gateway.ts';
import { hasIpv6 } from './ipv6.ts';
import { type LoadBalancerAddresses, LocalNetworks } from './local-networks.ts';
import type { OverlayHost } from './local-overlay.ts';
import {
  containerNamespaceName,
  gatewayBridgeName,
  isOurAlias,
  loadBalancerNamespaceName,
  networkNamespaceName,
} from './names.ts';
import { NamespaceDirectory } from './namespaces.ts';
import { removeTunnels } from './network-sandbox.ts';
import {
  gatewayPosition,
  type PlacedEndpoint,
  placedEndpoints,
  planSandbox,
  renewSandbox,
  sandboxState,
  withNetworks,
} from './sandbox-plan.ts';
import { SerialQueue } from './serial-queue.ts';
import { OverlayState, type StoredSandbox } from './state.ts';
import { hasGrown, validateEndpoint } from './subnets.ts';
import type {
  ClusterAttachment,
  EndpointSpec,
  GatewayNetwork,
  LocalNetwork,
  OverlayDriver,
  OverlayNetwork,
  SandboxSpec,
  SandboxState,
} from './types.ts';

export interface OverlayDriverOptions {
  /** Folder of this daemon for what the kernel does not hold. */
  readonly stateDirectory: string;
  /** Folder of this daemon's namespace files. */
  readonly namespaceDirectory: string;
  readonly logger: Logger;
  readonly events: EventBus;
  /** The host's own namespace; by default the process's. */
  readonly hostNamespace?: NetworkNamespace;
  /** By default where the kernel can. */
  readonly fastPath?: FastPathMode;
  /** How often kernel and records are compared, whatever happens; milliseconds. */
  readonly resyncIntervalMs?: number;
  /** How long rows of an earlier daemon stay although no record explains them yet; milliseconds. */
  readonly adoptionGraceMs?: number;
}

const defaultResyncIntervalMs = 10_000;
/** Gossip's bulk syncs come every 30 s: after two of them what is not known is not there. */
const defaultAdoptionGraceMs = 60_000;

/** @returns the overlay driver of this host; it does nothing before its methods are called. */
export function createOverlayDriver(options: OverlayDriverOptions): OverlayDriver {
  return new Driver(options);
}

class Driver implements OverlayDriver {
  readonly #host: OverlayHost;
  readonly #ownsHostNamespace: boolean;
  readonly #gateway: Gateway;
  readonly #networks: LocalNetworks;
  readonly #queue = new SerialQueue();
  /** By container ID. BOUNDED by the containers of this host. */
  readonly #sandboxes = new Map<string, StoredSandbox>();
  /** By network ID: why this host did not take its new subnets. BOUNDED by the networks of this host's containers. */
  #refused: ReadonlyMap<string, string> = new Map();
  readonly #tables: TableKeeper;
  readonly #resync: NodeJS.Timeout;

  constructor(options: OverlayDriverOptions) {
    const { stateDirectory, namespaceDirectory, logger, events } = options;
    this.#ownsHostNamespace = options.hostNamespace === undefined;
    mkdirSync(namespaceDirectory, { recursive: true });
    const namespace = options.hostNamespace ?? NetworkNamespace.current();
    this.#host = {
      namespace,
      fastPath: openFastPath(namespace, options.fastPath ?? 'auto', logger),
      namespaces: new NamespaceDirectory(namespaceDirectory),
      state: new OverlayState(stateDirectory, logger),
      logger,
    };
    this.#gateway = new Gateway(this.#host.namespace, this.#host.state);
    this.#tables = new TableKeeper(logger);
    this.#tables.keep(this.#gateway.firewall, `of ${gatewayBridgeName}`);
    this.#tables.keep(this.#gateway.ipv6Firewall, `of IPv6 of ${gatewayBridgeName}`);
    this.#networks = new LocalNetworks(this.#host, events, options.adoptionGraceMs ?? defaultAdoptionGraceMs);
    this.#resync = setInterval(() => this.#resynchronize(), options.resyncIntervalMs ?? defaultResyncIntervalMs);
    this.#resync.unref();
  }

  async adopt(containerIds: ReadonlySet<string>): Promise<void> {
    await this.#queue.run(() => this.#adopt(containerIds));
  }

  async joinCluster(attachment: ClusterAttachment): Promise<void> {
    await this.#queue.run(async () => {
      this.#repairGateway(true);
      await this.#networks.join(attachment);
    });
  }

  async leaveCluster({ removeGateway }: { removeGateway: boolean }): Promise<void> {
    await this.#queue.run(() => {
      this.#networks.leave();
      const isUsed = [...this.#sandboxes.values()].some(({ gateway }) => gateway !== undefined);
      if (removeGateway && !isUsed) this.#gateway.remove();
    });
  }

  async createSandbox(given: SandboxSpec): Promise<SandboxState> {
    const wanted = withNetworks(given, (network) => this.#networks.current(network));
    for (const endpoint of wanted.endpoints) validateEndpoint(endpoint);
    return this.#queue.run(async () => {
      const existing = this.#sandboxes.get(given.containerId);
      const isPresent = ({ network, address }: EndpointSpec): boolean =>
        existing?.spec.endpoints.some((other) => other.network.id === network.id && other.address === address) ?? false;
      // A container that is on the network already stays on it as it is here; `growAll` sees to the rest.
      for (const endpoint of wanted.endpoints) if (!isPresent(endpoint)) await this.#grow(endpoint.network);
      const spec = withNetworks(wanted, (network) => this.#networks.here(network.id) ?? network);
      const stored = planSandbox(spec, existing, (known) =>
        known === undefined ? this.#gateway.allocate(this.#gatewayAddresses()) : this.#gateway.complete(known),
      );
      this.#sandboxes.set(spec.containerId, stored);
      this.#host.state.sandboxes.put(spec.containerId, stored);
      try {
        if (existing !== undefined) this.#detachDropped(existing, stored);
        await this.#build(stored, false);
      } catch (error) {
        if (existing === undefined) this.#remove(spec.containerId);
        throw error;
      }
      return this.#stateOf(stored);
    });
  }

  async removeSandbox(containerId: string): Promise<void> {
    await this.#queue.run(() => this.#remove(containerId));
  }

  sandbox(containerId: string): SandboxState | undefined {
    const stored = this.#sandboxes.get(containerId);
    return stored && this.#stateOf(stored);
  }

  sandboxes(): readonly SandboxState[] {
    return [...this.#sandboxes.values()].map((stored) => this.#stateOf(stored));
  }

  networks(): readonly LocalNetwork[] {
    return this.#networks.list();
  }

  gatewayNetwork(): GatewayNetwork | undefined {
    const stored = this.#gateway.stored;
    if (stored === undefined) return undefined;
    const { id, subnet, gateway, ipv6, created } = stored;
    const endpoints = this.sandboxes().flatMap(({ containerId, gateway: endpoint }) =>
      endpoint === undefined ? [] : [{ containerId, endpoint }],
    );
    return { id, name: gatewayBridgeName, subnet, gateway, ipv6, created: new Date(created), endpoints };
  }

  hasIpv6(): boolean {
    return hasIpv6(this.#host.namespace);
  }

  async setLoadBalancerAddresses(addresses: LoadBalancerAddresses): Promise<void> {
    await this.#queue.run(async () => {
      this.#networks.hearLoadBalancers(addresses);
      await this.#growAll();
      this.#networks.ensureLoadBalancers();
    });
  }

  /** Stops watching. Everything in the kernel stays as it is, for the next daemon. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#resync);
    await this.#queue.run(() => this.#networks.close());
    this.#host.fastPath[Symbol.dispose]();
    this.#tables[Symbol.dispose]();
    this.#gateway[Symbol.dispose]();
    if (this.#ownsHostNamespace) this.#host.namespace[Symbol.dispose]();
  }

  async #adopt(containerIds: ReadonlySet<string>): Promise<void> {
    const { state, namespaces } = this.#host;
    const networks = state.networks.all();
    const adopted: StoredSandbox[] = [];
    for (const [containerId, stored] of state.sandboxes.all()) {
      // The network's own record says what it has here: a sandbox's may be from before it grew, or be ahead of it.
      const spec = withNetworks(stored.spec, (network) => networks.get(network.id)?.network ?? network);
      const renewed = renewSandbox({ ...stored, spec });
      this.#sandboxes.set(containerId, renewed);
      const isWhole = stored.spec.endpoints.every(({ network }) => networks.has(network.id));
      const isRunning = containerIds.has(containerId) && namespaces.has(containerNamespaceName(stored.sandboxId));
      if (isRunning && isWhole) adopted.push(renewed);
    }
    // First what stays, so that no network seems to have lost its last endpoint.
    for (const stored of adopted) {
      for (const { network } of stored.spec.endpoints) {
        const known = networks.get(network.id);
        if (known !== undefined) await this.#networks.adopt(known);
      }
      const { containerId } = stored.spec;
      this.#orLog({ containerId }, 'cannot keep the state of a sandbox', () =>
        state.sandboxes.put(containerId, stored),
      );
      await this.#repairAdopted(stored);
    }
    const kept = new Set(adopted.map(({ spec }) => spec.containerId));
    for (const containerId of [...this.#sandboxes.keys()].filter((id) => !kept.has(id))) {
      this.#orLog({ containerId }, 'cannot remove a sandbox', () => this.#remove(containerId));
    }
    for (const network of [...networks.keys()].filter((id) => !this.#networks.has(id))) {
      this.#orLog({ network }, 'cannot forget a network', () => state.networks.delete(network));
    }
    this.#removeUnknownNamespaces();
  }

  /** For what must not keep the daemon from starting: its next start tries again. */
  #orLog(subject: Readonly<Record<string, string>>, what: string, action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#host.logger.error({ ...subject, error: errorText(error) }, what);
    }
  }

  /**
   * Puts right what others did to rows and rules, and grows what could not grow before. What fails is logged and tried
   * again the next time.
   */
  #resynchronize(): void {
    this.#networks.resynchronize();
    this.#repairGateway(this.#gateway.stored !== undefined);
    if (this.#outgrown().length === 0) return;
    this.#queue
      .run(() => this.#growAll())
      .catch((error: unknown) => this.#host.logger.error({ error: errorText(error) }, 'cannot grow networks'));
  }

  /** A cluster's node has a gateway network; one that cannot be made only fails those who need it. */
  #repairGateway(isWanted: boolean): void {
    try {
      if (isWanted) this.#gateway.ensure();
    } catch (error) {
      this.#host.logger.error({ error: errorText(error) }, `cannot repair ${gatewayBridgeName}`);
    }
  }

  #gatewayAddresses(): Set<string> {
    return addressesOf([...this.#sandboxes.values()].flatMap(({ gateway }) => gateway ?? []));
  }

  /** @returns the networks that have more subnets than they, or a sandbox on them, have on this host. */
  #outgrown(): OverlayNetwork[] {
    const networks = this.#networks.list().map(({ network }) => network);
    const placed = [...this.#sandboxes.values()].flatMap(({ spec }) => spec.endpoints.map(({ network }) => network));
    const wanted = networks.map((network) => this.#networks.current(network));
    return wanted.filter((network) => [...networks, ...placed].some((here) => hasGrown(here, network)));
  }

  /** Grows every network that has grown. One that this host must refuse stays as it is, which is said once. */
  async #growAll(): Promise<void> {
    const refused = new Map<string, string>();
    for (const network of this.#outgrown()) {
      try {
        await this.#grow(network);
      } catch (error) {
        const reason = errorText(error);
        refused.set(network.id, reason);
        if (this.#refused.get(network.id) === reason) continue;
        this.#host.logger.error({ network: network.name, error: reason }, 'this host keeps a network as it was');
      }
    }
    this.#refused = refused;
  }

  /**
   * Gives a network that is here, and then the sandboxes on it, its new subnets, while their containers run.
   * @throws SkeinError when this host cannot have them; nothing has changed then.
   */
  async #grow(network: OverlayNetwork): Promise<void> {
    await this.#networks.grow(network);
    for (const [containerId, stored] of this.#sandboxes) {
      if (!stored.spec.endpoints.some((endpoint) => hasGrown(endpoint.network, network))) continue;
      const spec = withNetworks(stored.spec, (before) => (hasGrown(before, network) ? network : before));
      const grown = { ...stored, spec };
      if (!(await this.#repairAdopted(grown))) continue;
      this.#sandboxes.set(containerId, grown);
      this.#host.state.sandboxes.put(containerId, grown);
    }
  }

  /** Makes the kernel and gossip as the sandbox should be, from whatever they are. */
  async #build(stored: StoredSandbox, isKnown: boolean): Promise<void> {
    using container = this.#host.namespaces.ensure(containerNamespaceName(stored.sandboxId));
    for (const endpoint of placedEndpoints(stored)) {
      await this.#networks.attach(container, stored.spec, endpoint, isKnown);
    }
    if (stored.gateway === undefined) return;
    this.#gateway.attach(container, stored.gateway, gatewayPosition(stored), stored.spec.containerId);
  }

  /** What cannot be repaired in a running container's sandbox is left as it is, and said. @returns whether it is whole. */
  async #repairAdopted(stored: StoredSandbox): Promise<boolean> {
    try {
      await this.#build(stored, true);
      return true;
    } catch (error) {
      const { containerId } = stored.spec;
      this.#host.logger.error({ containerId, error: errorText(error) }, 'cannot repair a running sandbox');
      return false;
    }
  }

  #remove(containerId: string): void {
    const stored = this.#sandboxes.get(containerId);
    if (stored === undefined) return;
    this.#removeLinks(stored);
    for (const endpoint of placedEndpoints(stored)) this.#networks.detach(containerId, endpoint);
    if (stored.gateway !== undefined) this.#gateway.detach(stored.gateway);
    this.#host.namespaces.delete(containerNamespaceName(stored.sandboxId));
    this.#host.state.sandboxes.delete(containerId);
    this.#sandboxes.delete(containerId);
  }

  /** The container's ends of its links, and so the others, at once: alone each costs the kernel a wait. */
  #removeLinks(stored: StoredSandbox): void {
    const name = containerNamespaceName(stored.sandboxId);
    if (!this.#host.namespaces.has(name)) return;
    using container = this.#host.namespaces.open(name);
    using route = RouteSocket.open(container);
    const links = route.links.list().filter(({ alias }) => isOurAlias(alias));
    route.links.deleteAll(links.map(({ index }) => index));
  }

  /** Removes endpoints that the sandbox had and shall not have any more. */
  #detachDropped(before: StoredSandbox, after: StoredSandbox): void {
    const isKept = ({ stored }: PlacedEndpoint): boolean => after.endpoints.some(({ id }) => id === stored.id);
    for (const endpoint of placedEndpoints(before)) {
      if (!isKept(endpoint)) this.#networks.detach(before.spec.containerId, endpoint);
    }
    if (before.gateway !== undefined && after.gateway === undefined) this.#gateway.detach(before.gateway);
  }

  /** Removes namespaces that belong to nothing: what a killed daemon left half done. */
  #removeUnknownNamespaces(): void {
    const { namespaces, logger } = this.#host;
    const known = new Set([
      ...this.#networks.ids().flatMap((id) => [networkNamespaceName(id), loadBalancerNamespaceName(id)]),
      ...[...this.#sandboxes.values()].map(({ sandboxId }) => containerNamespaceName(sandboxId)),
    ]);
    for (const name of namespaces.list().filter((candidate) => !known.has(candidate))) {
      logger.info({ namespace: name }, 'removing a namespace that nothing uses');
      this.#orLog({ namespace: name }, 'cannot remove a namespace that nothing uses', () => {
        if (namespaces.has(name)) {
          using namespace = namespaces.open(name);
          removeTunnels(namespace);
        }
        namespaces.delete(name);
      });
    }
  }

  #stateOf(stored: StoredSandbox): SandboxState {
    return sandboxState(stored, this.#host.namespaces.path(containerNamespaceName(stored.sandboxId)));
  }
}
