/** The bridge networks of this host: their records, links and addresses. Every method is safe to repeat. */
import { type NetworkNamespace, normalizeAddress, Prefix, RouteSocket, readSysctl, writeSysctl } from '@skein/netlink';
import { type EventBus, errorText, type Logger, newHexId, SkeinError, uniqueLocalSubnets } from '../common/index.ts';
import {
  Collection,
  containerInterfaceName,
  distrustAdvertisements,
  ensureEndpoint,
  ensureIpv6Address,
  ensureIpv6Forwarding,
  linkAlias,
  macOfAddress,
  plainAddresses,
  randomMac,
  removeEndpoint,
  vethName,
} from '../overlay/index.ts';
import type { BridgeEndpoint, BridgeNetwork, BridgeNetworkCreate, BridgeSubnet, EndpointRequest } from './types.ts';

/** Docker's default network and its link. */
export const defaultNetworkName = 'bridge';
const defaultBridge = 'docker0';
const bridgeNameOption = 'com.docker.network.bridge.name';
const mtuOption = 'com.docker.network.driver.mtu';
const forwarding = 'net.ipv4.ip_forward';
const plainMtu = 1500;
/** RT_TABLE_MAIN, linux/rtnetlink.h. */
const mainTable = 254;
/** Longest name of a link, IFNAMSIZ - 1. */
const maximumLinkName = 15;

/** Docker's local address pools in its order (libnetwork ipamutils). */
function* localPools(): Generator<Prefix> {
  for (let second = 17; second <= 31; second++) yield Prefix.parse(`172.${second}.0.0/16`);
  yield* Prefix.parse('192.168.0.0/16').subnets(20);
}

export class Bridges {
  readonly #host: NetworkNamespace;
  readonly #store: Collection<BridgeNetwork>;
  readonly #events: EventBus;
  readonly #logger: Logger;
  /** By ID. BOUNDED by what users create. */
  readonly #networks: Map<string, BridgeNetwork>;

  readonly #defaultId: string;

  /** @param defaultId of the default network, which is shown before it is made. */
  constructor(host: NetworkNamespace, directory: string, defaultId: string, events: EventBus, logger: Logger) {
    this.#host = host;
    this.#defaultId = defaultId;
    this.#store = new Collection(directory, logger);
    this.#events = events;
    this.#logger = logger;
    this.#networks = this.#store.all();
  }

  list(): BridgeNetwork[] {
    return [...this.#networks.values()];
  }

  get(id: string): BridgeNetwork | undefined {
    return this.#networks.get(id);
  }

  /** The default network goes by its name: it has an ID before it is made. */
  canonical(target: string): string {
    return target === this.#defaultId ? defaultNetworkName : target;
  }

  /** @returns the network of this ID or name; the default one is made when it is first asked for. */
  find(target: string): BridgeNetwork | undefined {
    const wanted = this.canonical(target);
    const known = this.#networks.get(target) ?? this.list().find(({ name }) => name === wanted);
    if (known !== undefined || wanted !== defaultNetworkName) return known;
    const nothing = { internal: false, attachable: false, labels: {}, options: { [bridgeNameOption]: defaultBridge } };
    return this.create({ name: defaultNetworkName, ...nothing }, this.#defaultId);
  }

  /** @throws SkeinError InvalidArgument, PermissionDenied when the subnet is in use, ResourceExhausted. */
  create(request: BridgeNetworkCreate, id = newHexId()): BridgeNetwork {
    const bridge = request.options[bridgeNameOption] || `br-${id.slice(0, 12)}`;
    if (bridge.length > maximumLinkName) throw new SkeinError('InvalidArgument', `bridge name ${bridge} is too long`);
    const { name, internal, attachable, labels, options, ipv6 } = request;
    const ipv4Half = halfOf(this.#subnetFor(name, request.subnet, bridge), request);
    const ipv6Half = ipv6 && halfOf(this.#ipv6SubnetFor(id, ipv6.subnet, bridge), ipv6);
    const network: BridgeNetwork = {
      id,
      name,
      ...ipv4Half,
      ...(ipv6Half && { ipv6: ipv6Half }),
      bridge,
      internal,
      attachable,
      labels,
      options,
      created: new Date().toISOString(),
    };
    this.#store.put(id, network);
    this.#networks.set(id, network);
    try {
      this.ensure(network);
    } catch (error) {
      this.#forget(network);
      throw error;
    }
    this.#publish('create', network);
    return network;
  }

  remove(network: BridgeNetwork): void {
    using route = RouteSocket.open(this.#host);
    const link = route.links.get(network.bridge);
    if (link?.alias === linkAlias(network.id, 'bridge')) route.links.delete(link.index);
    this.#forget(network);
    this.#publish('destroy', network);
  }

  /** Makes links and addresses of all networks as they should be. What fails is logged: containers on them run on. */
  ensureAll(): void {
    for (const network of this.list()) {
      try {
        this.ensure(network);
      } catch (error) {
        this.#logger.error({ network: network.name, error: errorText(error) }, 'cannot repair a bridge network');
      }
    }
  }

  /** Makes the link and its address. @throws SkeinError FailedPrecondition when another program's link has the name. */
  ensure(network: BridgeNetwork): void {
    using route = RouteSocket.open(this.#host);
    const alias = linkAlias(network.id, 'bridge');
    const present = route.links.get(network.bridge);
    if (present !== undefined && present.alias !== alias) {
      throw new SkeinError(
        'FailedPrecondition',
        `link ${network.bridge} exists and is not Skein's: stop what uses it, then: ip link delete ${network.bridge}`,
      );
    }
    const mtu = mtuOf(network);
    const link =
      present ?? route.links.create({ kind: 'bridge', name: network.bridge, mac: randomMac(), mtu, alias, up: true });
    if (!link.up) route.links.set(link.index, { up: true });
    distrustAdvertisements(this.#host, link.name);
    const { length, broadcast } = Prefix.parse(network.subnet);
    const addresses = route.addresses.list({ index: link.index, family: 'ipv4' });
    if (!addresses.some((entry) => entry.address === network.gateway && entry.prefixLength === length)) {
      route.addresses.replace({ index: link.index, address: network.gateway, prefixLength: length, broadcast });
    }
    if (!network.internal && readSysctl(this.#host, forwarding) !== '1') writeSysctl(this.#host, forwarding, 1);
    if (network.ipv6 === undefined) return;
    ensureIpv6Address(this.#host, route, link, `${network.ipv6.gateway}/${Prefix.parse(network.ipv6.subnet).length}`);
    if (!network.internal) ensureIpv6Forwarding(this.#host, route);
  }

  /**
   * @param used plain addresses on the network. @returns a new endpoint, with the address that is wanted or the lowest
   * free one. @throws SkeinError in Docker's words.
   */
  allocate(network: BridgeNetwork, wanted: EndpointRequest, used: ReadonlySet<string>): BridgeEndpoint {
    const { ipv4Address, ipv6Address = '', mac } = wanted;
    if (ipv6Address !== '' && network.ipv6 === undefined) throw notOnNetwork(ipv6Address);
    const address = addressOn(network.name, network, ipv4Address, used);
    const ipv6 = network.ipv6 && addressOn(network.name, network.ipv6, ipv6Address, used);
    const id = newHexId();
    return {
      id,
      address,
      ...(ipv6 && { ipv6Address: ipv6 }),
      mac: mac || macOfAddress(address),
      portName: vethName(id),
    };
  }

  /** Makes the container's interface. `isWayOut`: the default route of the family leads over this network. */
  attach(
    container: NetworkNamespace,
    network: BridgeNetwork,
    endpoint: BridgeEndpoint,
    { position, isWayOut, owner }: { position: number; isWayOut: { ipv4: boolean; ipv6: boolean }; owner: string },
  ): void {
    this.ensure(network);
    ensureEndpoint(container, this.#host, {
      interfaceName: containerInterfaceName(position),
      portName: endpoint.portName,
      bridge: network.bridge,
      address: endpoint.address,
      ipv6Address: endpoint.ipv6Address,
      mac: endpoint.mac,
      mtu: mtuOf(network),
      alias: linkAlias(network.id, owner),
      port: { hairpin: true },
      ...(isWayOut.ipv4 && { gateway: network.gateway }),
      ...(isWayOut.ipv6 && { ipv6Gateway: network.ipv6?.gateway }),
    });
  }

  detach(endpoint: BridgeEndpoint): void {
    removeEndpoint(this.#host, endpoint.portName);
  }

  /** Lets what comes from 127.0.0.1 of this host leave by these bridges, where published ports lead. */
  routeLoopback(bridges: ReadonlySet<string>): void {
    for (const bridge of bridges) {
      const name = `net/ipv4/conf/${bridge}/route_localnet`;
      if (readSysctl(this.#host, name) !== '1') writeSysctl(this.#host, name, 1);
    }
  }

  #forget(network: BridgeNetwork): void {
    this.#networks.delete(network.id);
    this.#store.delete(network.id);
  }

  #subnetFor(name: string, wanted: string | undefined, bridge: string): Prefix {
    const isFree = this.#freeSubnets('ipv4', bridge);
    if (wanted) return freeOne(Prefix.parse(wanted), isFree);
    // The first pool is kept for the default network, as Docker has it there.
    const pools = [...localPools()].slice(name === defaultNetworkName ? 0 : 1);
    const pool = pools.find(isFree);
    if (pool) return pool;
    throw new SkeinError('ResourceExhausted', `network ${name}: this host has routes to all local address pools`);
  }

  /** The network's ID gives the site, too: what one host has of these nobody outside needs to know together. */
  #ipv6SubnetFor(id: string, wanted: string | undefined, bridge: string): Prefix {
    const isFree = this.#freeSubnets('ipv6', bridge);
    if (wanted) return freeOne(Prefix.parse(wanted), isFree);
    for (const subnet of uniqueLocalSubnets(`skein IPv6 site of bridge network ${id}`, id)) {
      const candidate = Prefix.parse(subnet);
      if (isFree(candidate)) return candidate;
    }
    throw new SkeinError('ResourceExhausted', 'this host has routes to all unique local subnets of IPv6');
  }

  /** @returns what says whether nothing of this host but the bridge itself leads to a subnet. */
  #freeSubnets(family: 'ipv4' | 'ipv6', bridge: string): (subnet: Prefix) => boolean {
    using route = RouteSocket.open(this.#host);
    const own = route.links.get(bridge)?.index;
    const taken = route.routes
      .list({ family, table: mainTable })
      .filter(({ destination, index }) => !destination.endsWith('/0') && index !== own)
      .map(({ destination }) => Prefix.parse(destination));
    return (subnet) => !taken.some((other) => other.overlaps(subnet));
  }

  #publish(action: string, { id, name }: BridgeNetwork): void {
    this.#events.publish({
      type: 'network',
      action,
      actor: { id, attributes: { name, type: 'bridge' } },
      scope: 'local',
    });
  }
}

/** @throws SkeinError in Docker's words. */
function freeOne(subnet: Prefix, isFree: (subnet: Prefix) => boolean): Prefix {
  if (isFree(subnet)) return subnet;
  throw new SkeinError('PermissionDenied', 'Pool overlaps with other one on this address space');
}

/** @returns a network's part of one family, with the gateway that is wanted or the subnet's first address. */
function halfOf(subnet: Prefix, wanted: { gateway?: string | undefined; ipRange?: string | undefined }): BridgeSubnet {
  const gateway = wanted.gateway ? normalizeAddress(wanted.gateway) : subnet.address(1);
  if (!subnet.contains(gateway)) throw new SkeinError('InvalidArgument', `no matching subnet for gateway ${gateway}`);
  return { subnet: subnet.toString(), gateway, ...(wanted.ipRange && { ipRange: wanted.ipRange }) };
}

/** @returns the address (CIDR) that is wanted on the network, or the lowest free one for ''. */
function addressOn(name: string, half: BridgeSubnet, wanted: string, used: ReadonlySet<string>): string {
  const subnet = Prefix.parse(half.subnet);
  const address = wanted === '' ? lowestFree(name, half, used) : normalizeAddress(wanted);
  if (!subnet.contains(address)) throw notOnNetwork(wanted);
  if (used.has(address) || address === half.gateway) throw new SkeinError('PermissionDenied', 'Address already in use');
  return `${address}/${subnet.length}`;
}

function notOnNetwork(address: string): SkeinError {
  const why = `It does not belong to any of this network's subnets`;
  return new SkeinError('InvalidArgument', `Invalid address ${address}: ${why}`);
}

function lowestFree(
  name: string,
  { subnet: whole, gateway, ipRange }: BridgeSubnet,
  used: ReadonlySet<string>,
): string {
  const subnet = Prefix.parse(whole);
  const range = ipRange ? Prefix.parse(ipRange) : subnet;
  const ends = new Set([subnet.network, gateway, ...(subnet.family === 'ipv4' ? [subnet.broadcast] : [])]);
  for (let host = 0n; host < range.size; host++) {
    const address = range.address(host);
    if (!ends.has(address) && !used.has(address)) return address;
  }
  const family = subnet.family === 'ipv4' ? 'IPv4' : 'IPv6';
  throw new SkeinError(
    'ResourceExhausted',
    `no available ${family} addresses on this network's address pools: ${name}`,
  );
}

function mtuOf({ options }: BridgeNetwork): number {
  return Number(options[mtuOption] ?? plainMtu) || plainMtu;
}

/** @returns the plain addresses of endpoints. */
export function addressesOf(endpoints: Iterable<BridgeEndpoint>): Set<string> {
  return new Set([...endpoints].flatMap(plainAddresses));
}
