/** A plain container's networks on this host: places, sandbox, names and ports. Every step is safe to repeat. */
import { isIPv6 } from 'node:net';
import { type Family, NetworkNamespace } from '@skein/netlink';
import { anyIpv6Address, forgetFlows, forgetUntranslated } from '../balancer/index.ts';
import type { LoadBalancer } from '../balancer/types.ts';
import { errorText, type Logger, SkeinError } from '../common/index.ts';
import { mayFilterPackets } from '../container/index.ts';
import type { ContainerRuntime, HostConfig } from '../container/types.ts';
import { type Discovery, hostsFile, type ResolvConf, resolvConf } from '../discovery/index.ts';
import { TableKeeper } from '../nftables/index.ts';
import { plainAddress, plainAddresses, subnetsOf } from '../overlay/index.ts';
import type { EndpointSpec, EndpointState, OverlayDriver, SandboxState } from '../overlay/types.ts';
import { BridgeFirewall, type Publication } from './bridge-firewall.ts';
import { addressesOf, type Bridges, defaultNetworkName } from './bridges.ts';
import { HostPorts, portWishes } from './host-ports.ts';
import { freePosition, type LivePlace, type NetworkRecord, type PlainRecord } from './record.ts';
import type { BridgeEndpoint, NetworkAttacher, PlainNetworking, PublishedPort } from './types.ts';

const gatewayBridge = 'docker_gwbridge';
const ipv6Loopback = '::1';
/** Detaching is tried so often, with so long a pause, before the manager's own reaping is relied on. */
const detachAttempts = { count: 20, pauseMs: 3_000 } as const;

export interface NetworkingParts {
  readonly host: NetworkNamespace;
  readonly runtime: ContainerRuntime;
  readonly overlay: OverlayDriver;
  readonly discovery: Discovery;
  readonly balancer: Pick<LoadBalancer, 'attach' | 'detach' | 'reservations'>;
  readonly attacher: NetworkAttacher;
  readonly bridges: Bridges;
  readonly hostResolver: () => ResolvConf;
  readonly logger: Logger;
  readonly records: () => Iterable<PlainRecord>;
  readonly save: (record: PlainRecord) => void;
}

/** What a container is started with. */
export interface StartNetwork {
  /** nsfs file; '' = the host's. */
  readonly networkNamespace: string;
  readonly hosts: string;
  readonly resolvConf: string;
}

/** Where published ports lead. */
interface WayIn {
  /** Plain address. */
  readonly address: string;
  /** The bridge that leads there. */
  readonly bridge: string;
}

type PlacedEndpoint = Pick<EndpointState, 'id' | 'address' | 'ipv6Address' | 'mac'>;

export class ContainerNetworking implements Disposable {
  readonly #parts: NetworkingParts;
  readonly #ports: HostPorts;
  readonly #firewall: BridgeFirewall;
  readonly #tables: TableKeeper;
  readonly #unwatch: () => void;

  constructor(parts: NetworkingParts) {
    this.#parts = parts;
    this.#ports = new HostPorts(parts.balancer.reservations);
    this.#firewall = BridgeFirewall.open(parts.host);
    this.#tables = new TableKeeper(parts.logger);
    this.#tables.keep(this.#firewall, 'of bridge networks');
    this.#unwatch = parts.balancer.reservations.onIpv6(() => this.applyFirewall());
  }

  /** Makes everything that the container needs before it starts, or after a change of its networks. */
  async up(record: PlainRecord, hostConfig: HostConfig, exposed: readonly string[]): Promise<StartNetwork> {
    record.up = true;
    this.#parts.save(record);
    for (const network of record.networks) await this.#place(record, network);
    const sandbox = await this.#sandbox(record);
    await this.#serve(record, sandbox, hostConfig);
    if (record.ports.length === 0) await this.#openPorts(record, hostConfig, exposed);
    this.applyFirewall();
    const datagramPorts = record.ports.flatMap(({ protocol, hostPort }) => (protocol === 'udp' ? hostPort : []));
    forgetUntranslated(this.#parts.host, new Set(datagramPorts), this.#parts.logger);
    return { networkNamespace: sandbox.networkNamespace, ...this.#files(record, sandbox, hostConfig) };
  }

  /** The container takes traffic: its names are known from now on. */
  publish(record: PlainRecord): void {
    const shortId = record.containerId.slice(0, 12);
    for (const { networkId, networkName, request, live } of record.networks) {
      const endpoint = live && this.#endpointOf(record, live);
      if (!live || !endpoint || (live.kind === 'bridge' && networkName === defaultNetworkName)) continue;
      this.#parts.discovery.publish({
        id: endpoint.id,
        networkId,
        name: record.name,
        serviceName: '',
        serviceId: '',
        virtualIp: '',
        endpointIp: plainAddress(endpoint.address),
        endpointIpv6: endpoint.ipv6Address && plainAddress(endpoint.ipv6Address),
        ingressPorts: [],
        aliases: request.aliases,
        taskAliases: [...new Set([shortId, record.hostname])],
        local: live.kind === 'bridge',
      });
    }
  }

  /** Takes back names, ports, sandbox and places. */
  async down(record: PlainRecord): Promise<void> {
    if (!record.up) return;
    const { discovery, overlay } = this.#parts;
    const ways = record.ports.length > 0 ? [this.#wayIn(record), this.#wayIn(record, 'ipv6')] : [];
    for (const { live } of record.networks) this.#withdraw(record, live);
    await discovery.detach(record.containerId);
    this.#parts.balancer.detach(record.containerId);
    this.#closePorts(record);
    await overlay.removeSandbox(record.containerId);
    for (const network of record.networks) this.#leave(network);
    record.gatewayPosition = undefined;
    record.up = false;
    this.#parts.save(record);
    this.applyFirewall();
    const addresses = new Set(ways.flatMap((way) => way?.address ?? []));
    forgetFlows(this.#parts.host, addresses, this.#parts.logger);
  }

  /** Takes the container off one network; the rest is as it was after the next `up`. */
  async drop(record: PlainRecord, network: NetworkRecord): Promise<void> {
    this.#withdraw(record, network.live);
    record.networks = record.networks.filter((each) => each !== network);
    const { live } = network;
    if (live?.kind === 'bridge') this.#parts.bridges.detach(live.endpoint);
    if (record.up) await this.#sandbox(record);
    this.#leave(network);
    this.#parts.save(record);
  }

  /** Takes up a running container of an earlier daemon. */
  async resume(record: PlainRecord, hostConfig: HostConfig): Promise<void> {
    const sandbox = await this.#sandbox(record);
    await this.#serve(record, sandbox, hostConfig);
    for (const port of record.ports) {
      const wish = { ...port, firstHostPort: port.hostPort, lastHostPort: port.hostPort };
      await this.#ports.hold(wish, record, this.#wayIn(record)?.address).catch((error: unknown) => {
        this.#parts.logger.error({ container: record.name, error: errorText(error) }, 'a published port is not held');
      });
    }
    this.publish(record);
  }

  view(record: PlainRecord): PlainNetworking {
    const mode = record.mode.kind === 'container' ? `container:${record.mode.of}` : record.mode.kind;
    return {
      mode,
      ports: record.ports,
      endpoints: record.networks.map(({ networkId, networkName, target, request, live }) => {
        const endpoint = live && this.#endpointOf(record, live);
        const bridge = live?.kind === 'bridge' ? this.#parts.bridges.get(live.networkId) : undefined;
        const gateways = { gateway: bridge?.gateway ?? '', ipv6Gateway: bridge?.ipv6?.gateway ?? '' };
        return {
          networkName: networkName || target,
          networkId,
          requested: request,
          endpoint: endpoint && { ...endpoint, ...gateways },
        };
      }),
    };
  }

  bridgeEndpoints(networkId: string): { containerId: string; name: string; endpoint: BridgeEndpoint }[] {
    return [...this.#parts.records()].flatMap(({ containerId, name, networks }) =>
      networks.flatMap(({ live }) =>
        live?.kind === 'bridge' && live.networkId === networkId ? [{ containerId, name, endpoint: live.endpoint }] : [],
      ),
    );
  }

  /** Makes the nft table say what the records say. */
  applyFirewall(): void {
    const publications = [...this.#parts.records()].flatMap((record) => {
      return record.up ? record.ports.flatMap((port) => this.#publicationsOf(record, port)) : [];
    });
    this.#firewall.apply({ networks: this.#parts.bridges.list(), publications });
    const ofIpv4 = publications.filter(({ address }) => !isIPv6(address));
    this.#parts.bridges.routeLoopback(new Set(ofIpv4.map(({ bridge }) => bridge)));
  }

  /** Where the rules lead a port, in each family that it is published in. */
  #publicationsOf(record: PlainRecord, port: PublishedPort): Publication[] {
    const { hostAddress, protocol, hostPort } = port;
    const ipv4 = isIPv6(hostAddress) ? undefined : this.#wayIn(record);
    const place = { protocol, address: hostAddress, port: hostPort };
    // What comes to ::1 cannot leave the host: the relay has it.
    const isLed = hostAddress !== ipv6Loopback && this.#parts.balancer.reservations.holdsIpv6(place);
    const ipv6 = isLed ? this.#wayIn(record, 'ipv6') : undefined;
    return [
      ...(ipv4 ? [{ ...port, ...ipv4 }] : []),
      ...(ipv6 ? [{ ...port, ...ipv6, hostAddress: isIPv6(hostAddress) ? hostAddress : anyIpv6Address }] : []),
    ];
  }

  /** Stops looking after the rules, which stay for the next daemon. */
  [Symbol.dispose](): void {
    this.#unwatch();
    this.#tables[Symbol.dispose]();
    this.#firewall[Symbol.dispose]();
  }

  /** Gives the container its address on the network. */
  async #place(record: PlainRecord, network: NetworkRecord): Promise<void> {
    if (network.live) return;
    const { bridges, attacher } = this.#parts;
    const bridge = bridges.find(network.networkId) ?? bridges.find(network.target);
    if (bridge) {
      const used = addressesOf(this.bridgeEndpoints(bridge.id).map(({ endpoint }) => endpoint));
      const endpoint = bridges.allocate(bridge, network.request, used);
      Object.assign(network, { networkId: bridge.id, networkName: bridge.name });
      network.live = { kind: 'bridge', networkId: bridge.id, endpoint };
    } else {
      const { ipv4Address, ipv6Address = '', aliases } = network.request;
      const place = await attacher.attach({
        target: network.target,
        containerId: record.containerId,
        addresses: [ipv4Address, ipv6Address].filter((address) => address !== ''),
        aliases,
      });
      Object.assign(network, { networkId: place.network.id, networkName: place.network.name });
      const { id, address, ipv6Address: given } = place;
      network.live = { kind: 'overlay', attachmentId: id, network: place.network, address, ipv6Address: given };
    }
    this.#parts.save(record);
  }

  /** Makes the namespace with all interfaces. */
  async #sandbox(record: PlainRecord): Promise<SandboxState> {
    const { overlay, bridges, save } = this.#parts;
    const overlays: EndpointSpec[] = record.networks.flatMap(({ live, request, position }) =>
      live?.kind === 'overlay'
        ? [
            {
              network: live.network,
              address: live.address,
              ipv6Address: live.ipv6Address,
              aliases: request.aliases,
              position,
              ...(request.mac && { mac: request.mac }),
            },
          ]
        : [],
    );
    const wayOut = this.#bridgeOut(record);
    const ipv6WayOut = this.#bridgeOut(record, 'ipv6');
    const gateway = wayOut === undefined && overlays.some(({ network }) => !network.internal);
    if (!gateway) record.gatewayPosition = undefined;
    else record.gatewayPosition ??= freePosition(record);
    save(record);
    const sandbox = await overlay.createSandbox({
      containerId: record.containerId,
      containerName: record.name,
      endpoints: overlays,
      gateway,
      ...(record.gatewayPosition !== undefined && { gatewayPosition: record.gatewayPosition }),
    });
    using namespace = NetworkNamespace.open(sandbox.networkNamespace);
    for (const network of record.networks) {
      const bridge = network.live?.kind === 'bridge' ? bridges.get(network.live.networkId) : undefined;
      if (network.live?.kind !== 'bridge' || !bridge) continue;
      const isWayOut = { ipv4: network === wayOut, ipv6: network === ipv6WayOut };
      const { position } = network;
      bridges.attach(namespace, bridge, network.live.endpoint, { position, isWayOut, owner: record.containerId });
    }
    return sandbox;
  }

  /** The first bridge that leads outside, in packets of the family. */
  #bridgeOut(record: PlainRecord, family: Family = 'ipv4'): NetworkRecord | undefined {
    return record.networks.find(({ live }) => {
      const bridge = live?.kind === 'bridge' ? this.#parts.bridges.get(live.networkId) : undefined;
      return bridge?.internal === false && (family === 'ipv4' || bridge.ipv6 !== undefined);
    });
  }

  /** Where published ports lead: to the container on a bridge, or on docker_gwbridge. */
  #wayIn(record: PlainRecord, family: Family = 'ipv4'): WayIn | undefined {
    const live = this.#bridgeOut(record, family)?.live;
    const bridge = live?.kind === 'bridge' ? this.#parts.bridges.get(live.networkId) : undefined;
    if (live?.kind === 'bridge' && bridge) return wayTo(live.endpoint, family, bridge.bridge);
    const gateway = this.#parts.overlay.sandbox(record.containerId)?.gateway;
    return gateway && wayTo(gateway, family, gatewayBridge);
  }

  #endpointOf(record: PlainRecord, live: LivePlace): PlacedEndpoint | undefined {
    if (live.kind === 'bridge') return live.endpoint;
    const sandbox = this.#parts.overlay.sandbox(record.containerId);
    return sandbox?.endpoints.find(({ network }) => network.id === live.network.id);
  }

  #withdraw(record: PlainRecord, live: LivePlace | undefined): void {
    const endpoint = live && this.#endpointOf(record, live);
    if (endpoint) this.#parts.discovery.withdraw(endpoint.id);
  }

  /** Gives the place back, in the background when it is a manager's. */
  #leave(network: NetworkRecord): void {
    const { live } = network;
    network.live = undefined;
    if (live?.kind === 'overlay') this.giveBack(live.attachmentId);
  }

  /** In the background: no container waits for it. */
  giveBack(attachmentId: string): void {
    void this.#detach(attachmentId);
  }

  async #detach(attachmentId: string): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#parts.attacher.detach(attachmentId);
        return;
      } catch (error) {
        // An earlier daemon has come as far, and did not hear of it.
        if (error instanceof SkeinError && error.code === 'NotFound') return;
        if (attempt < detachAttempts.count) {
          await new Promise((resolve) => setTimeout(resolve, detachAttempts.pauseMs).unref());
          continue;
        }
        this.#parts.logger.warn({ attachmentId, error: errorText(error) }, 'an attachment was not given back');
        return;
      }
    }
  }

  async #openPorts(record: PlainRecord, hostConfig: HostConfig, exposed: readonly string[]): Promise<void> {
    const wishes = portWishes(hostConfig.PortBindings ?? {}, exposed, hostConfig.PublishAllPorts ?? false);
    const way = this.#wayIn(record);
    if (wishes.length === 0 || !way) return;
    try {
      for (const wish of wishes) record.ports.push(await this.#ports.hold(wish, record, way.address));
    } catch (error) {
      this.#closePorts(record);
      throw error;
    }
    this.#parts.save(record);
  }

  #closePorts(record: PlainRecord): void {
    for (const port of record.ports) this.#ports.release(port);
    record.ports = [];
  }

  /** Its name server, and the virtual IPs of the overlay networks that it is on. */
  async #serve(record: PlainRecord, sandbox: SandboxState, hostConfig: HostConfig): Promise<void> {
    await this.#parts.discovery.attach(this.#resolver(record, sandbox, hostConfig));
    const networks = sandbox.endpoints.map(({ network }) => ({ id: network.id, subnets: subnetsOf(network) }));
    const { containerId } = record;
    const { networkNamespace } = sandbox;
    const filtersPackets = mayFilterPackets(hostConfig);
    if (networks.length === 0) this.#parts.balancer.detach(containerId);
    else this.#parts.balancer.attach({ containerId, networkNamespace, networks, filtersPackets });
  }

  #resolver(record: PlainRecord, sandbox: SandboxState, hostConfig: HostConfig) {
    const own = hostConfig.Dns ?? [];
    const named = record.networks.filter(({ live, networkName }) => live && networkName !== defaultNetworkName);
    return {
      containerId: record.containerId,
      networkNamespace: sandbox.networkNamespace,
      networks: named.map(({ networkId, networkName }) => ({ id: networkId, name: networkName })),
      upstream:
        own.length > 0
          ? own.map((address) => ({ address, fromContainer: true }))
          : this.#parts.hostResolver().nameservers.map((address) => ({ address, fromContainer: false })),
      internalOnly: sandbox.gateway === undefined && this.#bridgeOut(record) === undefined,
    };
  }

  #files(record: PlainRecord, sandbox: SandboxState, hostConfig: HostConfig): Omit<StartNetwork, 'networkNamespace'> {
    const resolver = this.#parts.hostResolver();
    const addresses = record.networks.flatMap(({ live }) =>
      live ? plainAddresses(live.kind === 'bridge' ? live.endpoint : live) : [],
    );
    return {
      hosts: hostsFile({
        hostname: record.hostname,
        names: [],
        addresses,
        extra: this.#extraHosts(hostConfig, sandbox),
      }),
      resolvConf: resolvConf({
        search: filled(hostConfig.DnsSearch) ?? resolver.search,
        options: filled(hostConfig.DnsOptions) ?? resolver.options,
      }),
    };
  }

  /** `name:address`; `host-gateway` stands for this host (moby daemon: HostGatewayIP). */
  #extraHosts(hostConfig: HostConfig, sandbox: SandboxState): { address: string; names: string[] }[] {
    return (hostConfig.ExtraHosts ?? []).map((entry) => {
      const at = entry.indexOf(':');
      const [name, address] = [entry.slice(0, at), entry.slice(at + 1)];
      if (at <= 0 || address === '') throw new SkeinError('InvalidArgument', `invalid extra host "${entry}"`);
      if (address !== 'host-gateway') return { address, names: [name] };
      const bridge = this.#parts.bridges.list().find((network) => network.name === defaultNetworkName);
      const host = bridge?.gateway ?? this.#parts.overlay.gatewayNetwork()?.gateway;
      if (!host) throw new SkeinError('FailedPrecondition', `no host gateway for ${sandbox.containerName}`);
      return { address: host, names: [name] };
    });
  }
}

function wayTo(
  endpoint: { address: string; ipv6Address?: string | undefined },
  family: Family,
  bridge: string,
): WayIn | undefined {
  const cidr = family === 'ipv4' ? endpoint.address : endpoint.ipv6Address;
  return cidr === undefined ? undefined : { address: plainAddress(cidr), bridge };
}

function filled(list: readonly string[] | undefined): readonly string[] | undefined {
  return list !== undefined && list.length > 0 ? list : undefined;
}
