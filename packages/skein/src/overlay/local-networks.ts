/**
 * The overlay networks that exist on this host, from the first endpoint to the last, and their part in gossip. Whoever
 * calls takes care that no two calls run at once.
 */
import type { NetworkNamespace } from '@skein/netlink';
import { type EventBus, errorText, SkeinError } from '../common/index.ts';
import { LocalOverlay, type OverlayHost } from './local-overlay.ts';
import { PeerExchange } from './peer-exchange.ts';
import type { PlacedEndpoint } from './sandbox-plan.ts';
import type { StoredNetwork } from './state.ts';
import { hasGrown } from './subnets.ts';
import type { ClusterAttachment, LocalNetwork, OverlayNetwork, SandboxSpec } from './types.ts';

/** This node's load-balancer address by network ID. */
export type LoadBalancerAddresses = ReadonlyMap<string, { readonly network: OverlayNetwork; readonly address: string }>;

export class LocalNetworks {
  readonly #host: OverlayHost;
  readonly #events: EventBus;
  readonly #adoptionGraceMs: number;
  /** By network ID. BOUNDED by the networks of this host's containers. */
  readonly #networks = new Map<string, LocalOverlay>();
  /** Undefined until the manager has told them. */
  #loadBalancers: LoadBalancerAddresses | undefined;
  #cluster: { attachment: ClusterAttachment; exchange: PeerExchange } | undefined;
  #confirmation: NodeJS.Timeout | undefined;

  constructor(host: OverlayHost, events: EventBus, adoptionGraceMs: number) {
    this.#host = host;
    this.#events = events;
    this.#adoptionGraceMs = adoptionGraceMs;
  }

  has(networkId: string): boolean {
    return this.#networks.has(networkId);
  }

  /** @returns the network with the subnets that it has on this host. */
  here(networkId: string): OverlayNetwork | undefined {
    return this.#networks.get(networkId)?.network;
  }

  ids(): string[] {
    return [...this.#networks.keys()];
  }

  /** @returns the network with all subnets that this host has heard of: what a task was given may be from before it grew. */
  current(network: OverlayNetwork): OverlayNetwork {
    const heard = [this.#loadBalancers?.get(network.id)?.network, this.#networks.get(network.id)?.network];
    return heard.reduce<OverlayNetwork>((most, other) => (other && hasGrown(most, other) ? other : most), network);
  }

  /**
   * Gives a network that is here the further subnets that it has by now.
   * @throws SkeinError FailedPrecondition when this host cannot have them; the network is as it was then.
   */
  async grow(network: OverlayNetwork): Promise<void> {
    await this.#networks.get(network.id)?.grow(network);
  }

  list(): LocalNetwork[] {
    return [...this.#networks.values()].map((overlay) => ({
      network: overlay.network,
      created: overlay.created,
      endpoints: [...overlay.endpoints.values()],
      peers: this.#cluster?.exchange.nodes(overlay.network.id) ?? [],
      loadBalancer: overlay.loadBalancer,
    }));
  }

  /** Takes over a network of an earlier daemon. */
  async adopt(stored: StoredNetwork): Promise<void> {
    if (this.has(stored.network.id)) return;
    this.#networks.set(stored.network.id, await LocalOverlay.adopt(this.#host, stored));
  }

  /**
   * Takes part in the cluster's gossip for all networks. A network that cannot be made as it should be is logged: its
   * containers may well run on.
   */
  async join(attachment: ClusterAttachment): Promise<void> {
    this.#connect(attachment);
    if (this.#networks.size === 0) this.#host.fastPath.release(attachment.vtep);
    for (const overlay of this.#networks.values()) {
      try {
        await overlay.ensure(attachment);
      } catch (error) {
        this.#host.logger.error({ network: overlay.network.name, error: errorText(error) }, 'cannot repair a network');
      }
      this.#announce(overlay);
      this.#tryLoadBalancer(overlay);
    }
  }

  #connect(attachment: ClusterAttachment): void {
    const before = this.#cluster?.attachment;
    if (before?.gossip === attachment.gossip && before.vtep === attachment.vtep) {
      this.#cluster = this.#cluster && { ...this.#cluster, attachment };
      return;
    }
    this.#cluster?.exchange.close();
    for (const overlay of this.#networks.values()) overlay.forgetPeersIn(this.#adoptionGraceMs);
    const { gossip, vtep } = attachment;
    const { logger, fastPath } = this.#host;
    const own = { vtep, takesLargeSegments: fastPath.takesLargeSegments };
    const exchange = new PeerExchange(gossip, own, logger, (networkId, change) =>
      this.#networks.get(networkId)?.applyPeerChange(change),
    );
    this.#cluster = { attachment, exchange };
    clearTimeout(this.#confirmation);
    this.#confirmation = setTimeout(() => {
      for (const overlay of this.#networks.values()) overlay.confirmPeers();
    }, this.#adoptionGraceMs);
    this.#confirmation.unref();
  }

  /** Takes back what this host published. Networks with endpoints stay. What one network cannot is logged; the others do. */
  leave(): void {
    const exchange = this.#cluster?.exchange;
    this.#cluster = undefined;
    clearTimeout(this.#confirmation);
    this.#loadBalancers = undefined;
    for (const overlay of this.#networks.values()) {
      try {
        if (exchange !== undefined) withdraw(overlay, exchange);
        overlay.setLoadBalancer(undefined);
      } catch (error) {
        const { name } = overlay.network;
        this.#host.logger.error({ network: name, error: errorText(error) }, 'cannot take a network out of the cluster');
      }
    }
    exchange?.close();
  }

  /** Hears this node's addresses, which `ensureLoadBalancers` gives, and with them the networks as they are now. */
  hearLoadBalancers(addresses: LoadBalancerAddresses): void {
    this.#loadBalancers = addresses;
  }

  ensureLoadBalancers(): void {
    for (const overlay of this.#networks.values()) this.#tryLoadBalancer(overlay);
  }

  /** Makes the endpoint, and its network if this is the first. `isKnown`: its container had it before this daemon. */
  async attach(
    container: NetworkNamespace,
    { containerId, containerName }: SandboxSpec,
    { network, position, stored, state }: PlacedEndpoint,
    isKnown: boolean,
  ): Promise<void> {
    const overlay = await this.#ensure(network);
    const isNew = !isKnown && !overlay.endpoints.has(stored.id);
    overlay.endpoints.set(stored.id, { containerId, containerName, endpoint: { ...state, network: overlay.network } });
    overlay.attach(container, stored, position, containerId);
    this.#cluster?.exchange.publish(network.id, stored);
    if (isNew) this.#publishEvent('connect', network, { container: containerId });
  }

  /** Takes the endpoint off its network, and the network off this host if it was the last. */
  detach(containerId: string, { network, stored }: PlacedEndpoint): void {
    const overlay = this.#networks.get(network.id);
    if (overlay === undefined) return;
    this.#cluster?.exchange.withdraw(network.id, stored.id);
    overlay.detach(stored);
    const wasThere = overlay.endpoints.delete(stored.id);
    if (wasThere) this.#publishEvent('disconnect', network, { container: containerId });
    if (overlay.endpoints.size === 0) this.#remove(overlay);
  }

  /** Compares the kernel's rows with the records, soon. */
  resynchronize(): void {
    for (const overlay of this.#networks.values()) overlay.scheduleProgramming();
  }

  /** Stops listening and programming. Everything stays as it is. */
  close(): void {
    clearTimeout(this.#confirmation);
    this.#cluster?.exchange.close();
    for (const overlay of this.#networks.values()) overlay.close();
  }

  async #ensure(network: OverlayNetwork): Promise<LocalOverlay> {
    const attachment = this.#cluster?.attachment;
    const existing = this.#networks.get(network.id);
    // Its removal failed halfway: the rest goes now.
    if (existing?.isClosed) this.#remove(existing);
    else if (existing !== undefined) {
      if (attachment !== undefined) await existing.ensure(attachment);
      return existing;
    }
    if (attachment === undefined) {
      throw new SkeinError('FailedPrecondition', `cannot join network ${network.name}: this node is not in a swarm`);
    }
    const overlay = await LocalOverlay.build(this.#host, network, attachment);
    this.#networks.set(network.id, overlay);
    this.#publishEvent('create', network, {});
    try {
      this.#announce(overlay);
      this.#ensureLoadBalancer(overlay);
    } catch (error) {
      this.#remove(overlay);
      throw error;
    }
    return overlay;
  }

  #remove(overlay: LocalOverlay): void {
    if (this.#cluster !== undefined) withdraw(overlay, this.#cluster.exchange);
    overlay.remove();
    this.#networks.delete(overlay.network.id);
    this.#publishEvent('destroy', overlay.network, {});
  }

  /** Joins the network's gossip and tells it of this host's endpoints. */
  #announce(overlay: LocalOverlay): void {
    const exchange = this.#cluster?.exchange;
    if (exchange === undefined) return;
    exchange.join(overlay.network.id);
    for (const { endpoint } of overlay.endpoints.values()) {
      exchange.publish(overlay.network.id, endpoint);
    }
  }

  /** One network's failure is no other one's: it is logged, and tried again with the manager's next word or a new gossip. */
  #tryLoadBalancer(overlay: LocalOverlay): void {
    try {
      this.#ensureLoadBalancer(overlay);
    } catch (error) {
      const { name } = overlay.network;
      this.#host.logger.error({ network: name, error: errorText(error) }, 'a network has no load balancer here');
    }
  }

  #ensureLoadBalancer(overlay: LocalOverlay): void {
    const { id } = overlay.network;
    const before = overlay.loadBalancer;
    // What an earlier daemon made stays until the manager has told the addresses.
    overlay.setLoadBalancer(this.#loadBalancers === undefined ? before?.address : this.#loadBalancers.get(id)?.address);
    const after = overlay.loadBalancer;
    if (before !== undefined && before.id !== after?.id) this.#cluster?.exchange.withdraw(id, before.id);
    if (after !== undefined) this.#cluster?.exchange.publish(id, after);
  }

  #publishEvent(action: string, network: OverlayNetwork, attributes: Record<string, string>): void {
    this.#events.publish({
      type: 'network',
      action,
      actor: { id: network.id, attributes: { ...attributes, name: network.name, type: 'overlay' } },
      scope: 'local',
    });
  }
}

function withdraw(overlay: LocalOverlay, exchange: PeerExchange): void {
  const { id } = overlay.network;
  for (const endpointId of overlay.endpoints.keys()) exchange.withdraw(id, endpointId);
  if (overlay.loadBalancer !== undefined) exchange.withdraw(id, overlay.loadBalancer.id);
  exchange.leave(id);
}
