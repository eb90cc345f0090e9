/**
 * One overlay network while it exists on this host: its sandbox, the endpoints of this host, the peers on others, and
 * the load balancer's address. Whoever calls takes care that no two calls run at once.
 */
import { isDeepStrictEqual } from 'node:util';
import type { NetworkNamespace } from '@skein/netlink';
import { errorText, type Logger } from '../common/index.ts';
import { ensureEndpoint, removeEndpoint } from './endpoint-links.ts';
import { defaultLargestSegment, type FastPath, planEndpoints, planPeers } from './fast-path/index.ts';
import {
  bridgeName,
  containerInterfaceName,
  linkAlias,
  loadBalancerNamespaceName,
  networkNamespaceName,
  plainAddress,
  plainAddresses,
} from './names.ts';
import type { NamespaceDirectory } from './namespaces.ts';
import { ensureNetworkSandbox, removeTunnels, type TunnelEnd } from './network-sandbox.ts';
import type { PeerChange } from './peer-exchange.ts';
import { reconcilePeerRows } from './peer-rows.ts';
import { type PeerRows, PeerTable } from './peers.ts';
import { newEndpoint, renewEndpoint } from './sandbox-plan.ts';
import type { OverlayState, StoredEndpoint, StoredNetwork } from './state.ts';
import { hasGrown, subnetOf, subnetRoutes } from './subnets.ts';
import type { EndpointState, OverlayNetwork } from './types.ts';
import { overlayMtu, refuseOverlap } from './underlay.ts';

/** What all networks of this host share. */
export interface OverlayHost {
  readonly namespace: NetworkNamespace;
  readonly namespaces: NamespaceDirectory;
  readonly state: OverlayState;
  readonly logger: Logger;
  readonly fastPath: FastPath;
}

/** An endpoint of this host. */
export interface LocalEndpoint {
  readonly containerId: string;
  readonly containerName: string;
  readonly endpoint: EndpointState;
}

/** The load balancer counts as a container of this ID in aliases. */
const loadBalancerOwner = 'load-balancer';
/** Changes of the peers within so many milliseconds are programmed together. */
const programDelayMs = 10;
/** A container's port learns MACs the container makes up, but gets no frames for strangers. */
const containerPort = { learning: true, unicastFlood: false } as const;

interface MutableRows extends PeerRows {
  readonly neighbours: Map<string, string>;
  readonly forwarding: Map<string, string>;
}

export class LocalOverlay {
  readonly created: Date;
  readonly peers = new PeerTable();
  /** By endpoint ID. BOUNDED by the containers of this host. */
  readonly endpoints = new Map<string, LocalEndpoint>();
  /** Endpoint ID → the bridge's end of its veth pair. BOUNDED by the containers of this host. */
  readonly #ports = new Map<string, string>();
  readonly #host: OverlayHost;
  readonly #namespaceName: string;
  #network: OverlayNetwork;
  #tunnel: TunnelEnd;
  /** 0: not known yet. */
  #mtu = 0;
  #loadBalancer: StoredEndpoint | undefined;
  /** Rows that no record explains stay in the kernel while this is set: they are of an earlier daemon. */
  #keepsUnexplainedRows: boolean;
  #programTimer: NodeJS.Timeout | undefined;
  /** The rows as they were written last; undefined: they are to be read from the kernel. */
  #programmed: MutableRows | undefined;
  #isClosed = false;

  private constructor(host: OverlayHost, stored: StoredNetwork, adopted: boolean) {
    this.#host = host;
    this.#network = stored.network;
    this.created = new Date(stored.created);
    this.#tunnel = { vtep: stored.vtep, dataPathPort: stored.dataPathPort };
    this.#loadBalancer = stored.loadBalancer;
    this.#namespaceName = networkNamespaceName(stored.network.id);
    this.#keepsUnexplainedRows = adopted;
  }

  /**
   * Starts a network that is not on this host yet.
   * @throws SkeinError FailedPrecondition when one of its subnets is routed elsewhere by this host.
   */
  static async build(host: OverlayHost, network: OverlayNetwork, tunnel: TunnelEnd): Promise<LocalOverlay> {
    refuseOverlap(host.namespace, network);
    const { vtep, dataPathPort } = tunnel;
    const stored = { network, created: new Date().toISOString(), vtep, dataPathPort, loadBalancer: undefined };
    const overlay = new LocalOverlay(host, stored, false);
    try {
      await overlay.ensure(tunnel);
      return overlay;
    } catch (error) {
      overlay.remove();
      throw error;
    }
  }

  /** Takes over a network that an earlier daemon built. Its rows stay until `confirmPeers`. */
  static async adopt(host: OverlayHost, stored: StoredNetwork): Promise<LocalOverlay> {
    const loadBalancer = stored.loadBalancer && renewEndpoint(stored.loadBalancer);
    const overlay = new LocalOverlay(host, { ...stored, loadBalancer }, true);
    try {
      await overlay.ensure(overlay.#tunnel);
      if (overlay.#loadBalancer !== undefined) overlay.#ensureLoadBalancer(overlay.#loadBalancer);
    } catch (error) {
      // Its containers run: what still works must not be taken from them. Joining the cluster tries again.
      host.logger.error({ network: stored.network.name, error: errorText(error) }, 'cannot repair an adopted network');
    }
    return overlay;
  }

  get network(): OverlayNetwork {
    return this.#network;
  }

  /**
   * Takes the further subnets that the manager has given the network; `attach` makes the endpoints' ways to them. What
   * cannot be had whole is not had: the network stays as it was.
   * @throws SkeinError FailedPrecondition when a new subnet is routed elsewhere by this host.
   */
  async grow(network: OverlayNetwork): Promise<void> {
    if (!hasGrown(this.#network, network)) return;
    refuseOverlap(this.#host.namespace, network, this.#network);
    await this.#make(network);
    this.#network = network;
    this.#store();
    this.scheduleProgramming();
    for (const [id, local] of this.endpoints)
      this.endpoints.set(id, { ...local, endpoint: { ...local.endpoint, network } });
    if (this.#loadBalancer !== undefined) this.#ensureLoadBalancer(this.#loadBalancer);
  }

  /** Nothing is programmed any more. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  get loadBalancer(): StoredEndpoint | undefined {
    return this.#loadBalancer;
  }

  /** Makes sandbox, bridges and tunnels as they should be. */
  async ensure({ vtep, dataPathPort }: TunnelEnd): Promise<void> {
    const before = { mtu: this.#mtu, ...this.#tunnel };
    this.#tunnel = { vtep, dataPathPort };
    this.#mtu = overlayMtu(this.#host.namespace, this.network, vtep);
    this.#store();
    const hasNewTunnel = await this.#make(this.network);
    if (hasNewTunnel || !isDeepStrictEqual(before, { mtu: this.#mtu, ...this.#tunnel })) this.scheduleProgramming();
  }

  /** Makes the endpoint's link into the container's namespace, as interface number `position`. */
  attach(container: NetworkNamespace, endpoint: StoredEndpoint, position: number, owner: string): void {
    using sandbox = this.#host.namespaces.open(this.#namespaceName);
    ensureEndpoint(container, sandbox, {
      interfaceName: containerInterfaceName(position),
      portName: endpoint.portName,
      bridge: bridgeName(subnetOf(this.network, endpoint.address)),
      address: endpoint.address,
      ipv6Address: endpoint.ipv6Address,
      mac: endpoint.mac,
      mtu: this.#mtu || undefined,
      largestSegment: this.#largestSegment,
      alias: linkAlias(this.network.id, owner),
      port: containerPort,
      routes: subnetRoutes(this.network, endpoint),
    });
    this.#ports.set(endpoint.id, endpoint.portName);
    this.#programEndpointSoon(endpoint);
  }

  /** Removes the endpoint's link. */
  detach(endpoint: StoredEndpoint): void {
    this.#ports.delete(endpoint.id);
    this.#programEndpointSoon(endpoint);
    if (!this.#host.namespaces.has(this.#namespaceName)) return;
    using sandbox = this.#host.namespaces.open(this.#namespaceName);
    removeEndpoint(sandbox, endpoint.portName);
  }

  /** Gives the load balancer its address (CIDR), in a namespace of its own, or takes it away. */
  setLoadBalancer(address: string | undefined): void {
    if (address === this.#loadBalancer?.address) {
      if (this.#loadBalancer !== undefined) this.#ensureLoadBalancer(this.#loadBalancer);
      return;
    }
    if (this.#loadBalancer !== undefined) this.#removeLoadBalancer();
    if (address !== undefined) {
      this.#loadBalancer = newEndpoint({ address });
      this.#store();
      this.#ensureLoadBalancer(this.#loadBalancer);
    }
    this.scheduleProgramming();
  }

  /** Takes in what gossip says of an endpoint elsewhere. */
  applyPeerChange(change: PeerChange): void {
    const { endpointId } = change;
    if (change.type === 'present' && this.peers.set(endpointId, change.peer)) this.#programSoon();
    if (change.type === 'gone' && this.peers.delete(endpointId)) this.#programSoon();
    if (change.type === 'lost') this.peers.orphan(endpointId, Date.now() + change.keepMs);
  }

  /** Another gossip takes over: what the one before said holds for so many milliseconds, unless it is said again. */
  forgetPeersIn(keepMs: number): void {
    this.peers.orphanAll(Date.now() + keepMs);
  }

  /** From now on rows that no record explains are removed. */
  confirmPeers(): void {
    this.#keepsUnexplainedRows = false;
    this.scheduleProgramming();
  }

  /** Programs the peers soon, whatever the kernel has now. */
  scheduleProgramming(): void {
    this.#programmed = undefined;
    this.#programSoon();
  }

  /** Programs what changes with an endpoint of this host. */
  #programEndpointSoon(endpoint: StoredEndpoint): void {
    this.peers.touch([...plainAddresses(endpoint), endpoint.mac]);
    this.#programSoon();
  }

  /** Programs what has changed of peers and endpoints, together with what else changes by then. */
  #programSoon(): void {
    if (this.#isClosed) return;
    this.#programTimer ??= setTimeout(() => {
      this.#programTimer = undefined;
      this.programPeers();
    }, programDelayMs);
  }

  /** Makes the kernel's rows equal to the peer records. A failure is logged; the next resynchronization tries again. */
  programPeers(): void {
    try {
      using sandbox = this.#host.namespaces.open(this.#namespaceName);
      this.peers.expire(Date.now());
      const programmed = this.#programmed;
      // Until all is written again, nothing is known.
      this.#programmed = undefined;
      this.#programmed =
        programmed === undefined ? this.#programAll(sandbox) : this.#programChanges(sandbox, programmed);
    } catch (error) {
      this.#host.logger.error({ network: this.network.name, error: errorText(error) }, 'cannot program peers');
    }
  }

  #programAll(sandbox: NetworkNamespace): MutableRows {
    const { neighbours, forwarding } = this.peers.desiredRows(this.#localView());
    this.#writeRows(sandbox, { neighbours, forwarding });
    this.#programFastPath(sandbox, { neighbours, forwarding });
    return { neighbours: new Map(neighbours), forwarding: new Map(forwarding) };
  }

  #programChanges(sandbox: NetworkNamespace, programmed: MutableRows): MutableRows {
    const { keys, rows } = this.peers.takeChanges(this.#localView());
    const ofKeys = (map: ReadonlyMap<string, string>): Map<string, string> =>
      new Map([...keys].flatMap((key) => (map.has(key) ? [[key, map.get(key) ?? '']] : [])));
    const known = { neighbours: ofKeys(programmed.neighbours), forwarding: ofKeys(programmed.forwarding) };
    this.#writeRows(sandbox, rows, known);
    for (const kind of ['neighbours', 'forwarding'] as const) {
      for (const key of keys) programmed[kind].delete(key);
      for (const [key, value] of rows[kind]) programmed[kind].set(key, value);
    }
    if (!this.#isForFastPath) return programmed;
    const own = this.#endpoints.filter(({ address }) => keys.has(plainAddress(address)));
    const endpoints = planEndpoints(this.network, own, this.#ports);
    const peers = planPeers(this.network, rows, this.peers);
    const isDone = this.#host.fastPath.change(sandbox, this.network.id, keys, { endpoints, peers });
    if (!isDone) this.#programFastPath(sandbox, programmed);
    return programmed;
  }

  #programFastPath(sandbox: NetworkNamespace, rows: PeerRows): void {
    if (!this.#isForFastPath) return;
    this.#host.fastPath.reconcile(sandbox, {
      networkId: this.network.id,
      mtu: this.#mtu,
      ...this.#tunnel,
      endpoints: planEndpoints(this.network, this.#endpoints, this.#ports),
      peers: planPeers(this.network, rows, this.peers),
    });
  }

  /** @param known the rows that are there; undefined: those that the kernel has. */
  #writeRows(sandbox: NetworkNamespace, rows: PeerRows, known?: PeerRows): void {
    for (const position of this.network.subnets.keys()) {
      const counts = reconcilePeerRows(
        sandbox,
        position,
        this.#ofSubnet(rows, position),
        !this.#keepsUnexplainedRows,
        known && this.#ofSubnet(known, position),
      );
      if (counts.replaced + counts.removed > 0) {
        this.#host.logger.debug({ network: this.network.name, position, ...counts }, 'peer rows reconciled');
      }
    }
  }

  #ofSubnet({ neighbours, forwarding }: PeerRows, position: number): PeerRows {
    const own = new Map([...neighbours].filter(([address]) => subnetOf(this.network, address) === position));
    const macs = new Set(own.values());
    return { neighbours: own, forwarding: new Map([...forwarding].filter(([mac]) => macs.has(mac))) };
  }

  /** Removes everything of this network from the host. Safe to repeat. */
  remove(): void {
    this.close();
    this.#host.fastPath.forget(this.network.id);
    this.#removeLoadBalancer();
    if (this.#host.namespaces.has(this.#namespaceName)) {
      using sandbox = this.#host.namespaces.open(this.#namespaceName);
      removeTunnels(sandbox);
    }
    this.#host.namespaces.delete(this.#namespaceName);
    this.#host.state.networks.delete(this.network.id);
  }

  /** Stops working on the network, which stays as it is. */
  close(): void {
    this.#isClosed = true;
    clearTimeout(this.#programTimer);
    this.#programTimer = undefined;
  }

  /** Traffic of the routing mesh is forwarded, which packets that have skipped the kernel's tunnel are not fit for. */
  get #isForFastPath(): boolean {
    return !this.network.ingress && !this.network.encrypted;
  }

  get #largestSegment(): number {
    return this.#isForFastPath ? this.#host.fastPath.largestSegment(this.#tunnel.vtep) : defaultLargestSegment;
  }

  get #endpoints(): EndpointState[] {
    return [...this.endpoints.values()].map(({ endpoint }) => endpoint);
  }

  #localView(): { vtep: string; addresses: Set<string>; macs: Set<string> } {
    const own = this.#loadBalancer === undefined ? this.#endpoints : [...this.#endpoints, this.#loadBalancer];
    return {
      vtep: this.#tunnel.vtep,
      addresses: new Set(own.flatMap(plainAddresses)),
      macs: new Set(own.map(({ mac }) => mac)),
    };
  }

  /** @returns whether there is a new tunnel. */
  async #make(network: OverlayNetwork): Promise<boolean> {
    using sandbox = this.#host.namespaces.ensure(this.#namespaceName);
    const plan = { network, mtu: this.#mtu, ...this.#tunnel };
    return await ensureNetworkSandbox(this.#host.namespace, sandbox, plan);
  }

  #ensureLoadBalancer(endpoint: StoredEndpoint): void {
    using namespace = this.#host.namespaces.ensure(loadBalancerNamespaceName(this.network.id));
    this.attach(namespace, endpoint, 0, loadBalancerOwner);
  }

  #removeLoadBalancer(): void {
    if (this.#loadBalancer !== undefined) this.detach(this.#loadBalancer);
    this.#host.namespaces.delete(loadBalancerNamespaceName(this.network.id));
    if (this.#loadBalancer === undefined) return;
    this.#loadBalancer = undefined;
    this.#store();
  }

  #store(): void {
    this.#host.state.networks.put(this.network.id, {
      network: this.network,
      created: this.created.toISOString(),
      ...this.#tunnel,
      loadBalancer: this.#loadBalancer,
    });
  }
}
