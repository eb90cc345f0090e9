/**
 * docker_gwbridge: the bridge in the host's namespace by which containers reach what is not on their overlay networks.
 * Its containers cannot reach each other there, and nothing outside can open a connection to them, but by published
 * ports. Where the host has IPv6, they have it there, too (ADR 0010).
 */
import { hasCode, type NetworkNamespace, Prefix, RouteSocket, readSysctl, writeSysctl } from '@skein/netlink';
import { newHexId, SkeinError, uniqueLocalSubnets } from '../common/index.ts';
import type { ManagedTable } from '../nftables/index.ts';
import { ensureEndpoint, removeEndpoint } from './endpoint-links.ts';
import { type GatewayRules, openGatewayFirewall } from './firewall.ts';
import { distrustAdvertisements, ensureIpv6Address, ensureIpv6Forwarding, hasIpv6, isReachableByIpv6 } from './ipv6.ts';
import { containerInterfaceName, gatewayBridgeName, linkAlias, plainAddress, randomMac } from './names.ts';
import { newEndpoint } from './sandbox-plan.ts';
import type { OverlayState, StoredEndpoint, StoredGateway } from './state.ts';
import type { Ipv6Subnet } from './types.ts';

/** The state file's key: there is one. */
const stateKey = 'gateway';
const alias = linkAlias('gateway', 'bridge');
const forwarding = 'net.ipv4.ip_forward';
/** br_netfilter; without it there is no such setting. */
const bridgeFilter = 'net.bridge.bridge-nf-call-iptables';
const plainMtu = 1500;
/** The host's addresses of IPv6 are not looked at more often: each look reads all links. */
const lookIntervalMs = 1_000;
/** RT_TABLE_MAIN, linux/rtnetlink.h. */
const mainTable = 254;
const defaultRoute = '0.0.0.0/0';
const ipv6DefaultRoute = '::/0';

/** @returns Docker's local address pools in its order, without 172.17 that docker0 has (libnetwork ipamutils). */
function* localPools(): Generator<Prefix> {
  for (let second = 18; second <= 31; second++) yield Prefix.parse(`172.${second}.0.0/16`);
  yield* Prefix.parse('192.168.0.0/16').subnets(20);
}

export class Gateway implements Disposable {
  readonly firewall: ManagedTable<GatewayRules>;
  readonly ipv6Firewall: ManagedTable<GatewayRules>;
  readonly #host: NetworkNamespace;
  readonly #state: OverlayState;
  #stored: StoredGateway | undefined;
  /** When the host's addresses of IPv6 are looked at again; of `performance.now`. */
  #nextLookMs = 0;

  constructor(host: NetworkNamespace, state: OverlayState) {
    this.firewall = openGatewayFirewall(host, 'ip');
    this.ipv6Firewall = openGatewayFirewall(host, 'ip6');
    this.#host = host;
    this.#state = state;
    this.#stored = state.gateway.all().get(stateKey);
  }

  get stored(): StoredGateway | undefined {
    return this.#stored;
  }

  /** Makes the bridge, its address, forwarding and masquerade, or repairs them. */
  ensure(): StoredGateway {
    const stored = this.#withIpv6(this.#stored ?? this.#plan());
    this.#stored = stored;
    this.#state.gateway.put(stateKey, stored);
    this.#ensureBridge(stored);
    this.firewall.apply({ bridge: gatewayBridgeName, subnet: stored.subnet });
    if (readSysctl(this.#host, forwarding) !== '1') writeSysctl(this.#host, forwarding, 1);
    if (stored.ipv6 !== undefined) this.#ensureIpv6(stored.ipv6);
    return stored;
  }

  /** Nobody comes by IPv6 to a host that has no address of it: there packets need not be passed on. */
  #ensureIpv6({ subnet, gateway }: Ipv6Subnet): void {
    using route = RouteSocket.open(this.#host);
    const bridge = route.links.get(gatewayBridgeName);
    if (bridge === undefined) return;
    ensureIpv6Address(this.#host, route, bridge, `${gateway}/${Prefix.parse(subnet).length}`);
    this.ipv6Firewall.apply({ bridge: gatewayBridgeName, subnet });
    if (performance.now() < this.#nextLookMs) return;
    this.#nextLookMs = performance.now() + lookIntervalMs;
    if (isReachableByIpv6(route)) ensureIpv6Forwarding(this.#host, route);
  }

  /** @returns an endpoint with the lowest free address. @throws SkeinError ResourceExhausted when there is none. */
  allocate(used: ReadonlySet<string>): StoredEndpoint {
    const { subnet, gateway } = this.#stored ?? this.ensure();
    const prefix = Prefix.parse(subnet);
    for (let host = 1n; host < prefix.size - 1n; host++) {
      const address = prefix.address(host);
      if (address === gateway || used.has(address)) continue;
      return this.complete(newEndpoint({ address: `${address}/${prefix.length}` }));
    }
    throw new SkeinError(
      'ResourceExhausted',
      `${gatewayBridgeName}: all ${prefix.size} addresses of ${subnet} are taken`,
    );
  }

  /** @returns the endpoint with an address of IPv6, if there is such: it has the number in the subnet that its other one has. */
  complete(endpoint: StoredEndpoint): StoredEndpoint {
    const { subnet, ipv6 } = this.#stored ?? this.ensure();
    const number = Prefix.parse(subnet).indexOf(plainAddress(endpoint.address));
    if (ipv6 === undefined || number === undefined) return { ...endpoint, ipv6Address: undefined };
    const prefix = Prefix.parse(ipv6.subnet);
    return { ...endpoint, ipv6Address: `${prefix.address(number)}/${prefix.length}` };
  }

  /** Makes the container's way out, at interface number `position`. */
  attach(container: NetworkNamespace, endpoint: StoredEndpoint, position: number, containerId: string): void {
    const { gateway, ipv6 } = this.ensure();
    ensureEndpoint(container, this.#host, {
      interfaceName: containerInterfaceName(position),
      portName: endpoint.portName,
      bridge: gatewayBridgeName,
      address: endpoint.address,
      ipv6Address: endpoint.ipv6Address,
      mac: endpoint.mac,
      mtu: this.#mtu(),
      alias: linkAlias('gateway', containerId),
      port: { isolated: !this.#isBridgeFiltered() },
      gateway,
      ipv6Gateway: endpoint.ipv6Address && ipv6?.gateway,
    });
  }

  detach(endpoint: StoredEndpoint): void {
    removeEndpoint(this.#host, endpoint.portName);
  }

  /** Removes bridge, nft table and state, and turns forwarding off if it was off before. No error when all is gone. */
  remove(): void {
    const stored = this.#stored;
    if (stored === undefined) return;
    using route = RouteSocket.open(this.#host);
    const bridge = route.links.get(gatewayBridgeName);
    // The state file says that it is ours; without an alias it was made by a daemon killed in that moment.
    if (bridge !== undefined && (bridge.alias ?? alias) === alias) route.links.delete(bridge.index);
    this.firewall.remove();
    if (stored.ipv6 !== undefined) this.ipv6Firewall.remove();
    if (stored.turnedForwardingOn) writeSysctl(this.#host, forwarding, 0);
    this.#state.gateway.delete(stateKey);
    this.#stored = undefined;
  }

  /** Everything in the kernel stays as it is. */
  [Symbol.dispose](): void {
    this.firewall[Symbol.dispose]();
    this.ipv6Firewall[Symbol.dispose]();
  }

  /**
   * Where br_netfilter shows bridged packets to the rules of IP, these keep the containers apart (firewall.ts). An isolated
   * port would there stop also what a published port leads from one container to another: it does not leave the bridge.
   */
  #isBridgeFiltered(): boolean {
    try {
      return readSysctl(this.#host, bridgeFilter) === '1';
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return false;
      throw error;
    }
  }

  #plan(): StoredGateway {
    using route = RouteSocket.open(this.#host);
    if (route.links.get(gatewayBridgeName) !== undefined) {
      throw new SkeinError(
        'FailedPrecondition',
        `${gatewayBridgeName} exists and is not Skein's: stop the dockerd that uses it, then: ip link delete ${gatewayBridgeName}`,
      );
    }
    const taken = route.routes
      .list({ family: 'ipv4', table: mainTable })
      .filter((entry) => entry.destination !== defaultRoute)
      .map((entry) => Prefix.parse(entry.destination));
    for (const pool of localPools()) {
      if (taken.some((prefix) => prefix.overlaps(pool))) continue;
      const turnedForwardingOn = readSysctl(this.#host, forwarding) !== '1';
      return {
        id: newHexId(),
        subnet: pool.toString(),
        gateway: pool.address(1),
        created: new Date().toISOString(),
        turnedForwardingOn,
      };
    }
    throw new SkeinError('ResourceExhausted', `${gatewayBridgeName}: this node has routes to all local address pools`);
  }

  /** A unique local subnet (RFC 4193) of the network's ID. One that it has had stays, for the containers that are there. */
  #withIpv6(stored: StoredGateway): StoredGateway {
    if (stored.ipv6 !== undefined || !hasIpv6(this.#host)) return stored;
    using route = RouteSocket.open(this.#host);
    const taken = route.routes
      .list({ family: 'ipv6', table: mainTable })
      .filter((entry) => entry.destination !== ipv6DefaultRoute)
      .map((entry) => Prefix.parse(entry.destination));
    for (const text of uniqueLocalSubnets(`skein IPv6 site of ${gatewayBridgeName} ${stored.id}`, stored.id)) {
      const subnet = Prefix.parse(text);
      if (taken.some((prefix) => prefix.overlaps(subnet))) continue;
      return { ...stored, ipv6: { subnet: subnet.toString(), gateway: subnet.address(1) } };
    }
    return stored;
  }

  #ensureBridge(stored: StoredGateway): void {
    using route = RouteSocket.open(this.#host);
    const bridge =
      route.links.get(gatewayBridgeName) ??
      route.links.create({ kind: 'bridge', name: gatewayBridgeName, mac: randomMac(), alias, up: true });
    if (!bridge.up || bridge.alias !== alias) route.links.set(bridge.index, { up: true, alias });
    distrustAdvertisements(this.#host, gatewayBridgeName);
    const { length, broadcast } = Prefix.parse(stored.subnet);
    const present = route.addresses.list({ index: bridge.index, family: 'ipv4' });
    if (!present.some((entry) => entry.address === stored.gateway && entry.prefixLength === length)) {
      route.addresses.replace({ index: bridge.index, address: stored.gateway, prefixLength: length, broadcast });
    }
  }

  /** A packet to the outside takes the host's default route: the containers' links must not be wider. */
  #mtu(): number {
    using route = RouteSocket.open(this.#host);
    const bridge = route.links.get(gatewayBridgeName);
    const way = route.routes
      .list({ family: 'ipv4', table: mainTable })
      .find((entry) => entry.destination === defaultRoute && entry.index !== undefined);
    const outward = way?.index === undefined ? undefined : route.links.get(way.index);
    return Math.min(bridge?.mtu ?? plainMtu, way?.mtu ?? plainMtu, outward?.mtu ?? plainMtu);
  }
}

/** @returns the plain addresses of endpoints. */
export function addressesOf(endpoints: Iterable<StoredEndpoint>): Set<string> {
  return new Set([...endpoints].map((endpoint) => plainAddress(endpoint.address)));
}
