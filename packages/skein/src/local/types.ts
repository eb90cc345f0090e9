/**
 * What the local room offers: plain containers (those that no task owns), the bridge networks of this host, and plain
 * containers' places on the swarm's attachable networks.
 */
import type { ContainerConfig, HostConfig } from '../container/types.ts';
import type { OverlayNetwork } from '../overlay/types.ts';

/** What a container wants on one network. */
export interface EndpointRequest {
  readonly aliases: readonly string[];
  /** Plain address; '' = any. */
  readonly ipv4Address: string;
  /** Plain address; undefined or '' = any. */
  readonly ipv6Address?: string | undefined;
  /** '' = made from the address. */
  readonly mac: string;
}

export interface PlainContainerCreate {
  /** '' = one is made up. */
  readonly name: string;
  readonly config: ContainerConfig;
  readonly hostConfig: HostConfig;
  /** Networks by name or ID; the one of `HostConfig.NetworkMode` is among them even if nothing is said of it. */
  readonly networks: ReadonlyMap<string, EndpointRequest>;
}

export type PortProtocol = 'tcp' | 'udp' | 'sctp';

/** A port of this host that leads to a container. */
export interface PublishedPort {
  readonly protocol: PortProtocol;
  readonly containerPort: number;
  /** `0.0.0.0`: all addresses of the host, `::`: all of IPv6. */
  readonly hostAddress: string;
  readonly hostPort: number;
}

/** What a bridge network has of one family. */
export interface BridgeSubnet {
  /** CIDR. */
  readonly subnet: string;
  /** Plain address. */
  readonly gateway: string;
  /** CIDR within the subnet that addresses are taken from. */
  readonly ipRange?: string | undefined;
}

/** A bridge network of this host. */
export interface BridgeNetwork {
  readonly id: string;
  readonly name: string;
  /** CIDR. */
  readonly subnet: string;
  /** Plain address. */
  readonly gateway: string;
  /** CIDR within the subnet that addresses are taken from. */
  readonly ipRange?: string | undefined;
  /** On a network with IPv6. */
  readonly ipv6?: BridgeSubnet | undefined;
  /** Name of the link. */
  readonly bridge: string;
  readonly internal: boolean;
  readonly attachable: boolean;
  readonly labels: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
  /** RFC 3339. */
  readonly created: string;
}

export interface BridgeNetworkCreate {
  readonly name: string;
  /** CIDR; undefined = one that nothing on this host uses. */
  readonly subnet?: string | undefined;
  readonly gateway?: string | undefined;
  readonly ipRange?: string | undefined;
  /** Undefined = no IPv6; without a subnet a unique local one (RFC 4193). */
  readonly ipv6?: Partial<BridgeSubnet> | undefined;
  readonly internal: boolean;
  readonly attachable: boolean;
  readonly labels: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
}

/** A container's place on a bridge. */
export interface BridgeEndpoint {
  /** 64 hex. */
  readonly id: string;
  /** CIDR. */
  readonly address: string;
  /** CIDR, on a network with IPv6. */
  readonly ipv6Address?: string | undefined;
  readonly mac: string;
  /** The veth's end on the bridge. */
  readonly portName: string;
}

/** One network of a plain container, as it stands. */
export interface PlainEndpoint {
  readonly networkName: string;
  readonly networkId: string;
  readonly requested: EndpointRequest;
  /** Undefined while the container does not run. */
  readonly endpoint:
    | {
        readonly id: string;
        readonly address: string;
        readonly ipv6Address?: string | undefined;
        readonly mac: string;
        readonly gateway: string;
        readonly ipv6Gateway: string;
      }
    | undefined;
}

/** A plain container's networks, for inspections. */
export interface PlainNetworking {
  readonly mode: string;
  readonly endpoints: readonly PlainEndpoint[];
  readonly ports: readonly PublishedPort[];
}

/** Who gives places on the swarm's attachable networks. */
export interface NetworkAttacher {
  attach(request: {
    target: string;
    containerId: string;
    addresses: readonly string[];
    aliases: readonly string[];
  }): Promise<{
    readonly id: string;
    readonly network: OverlayNetwork;
    readonly address: string;
    readonly ipv6Address?: string | undefined;
  }>;
  detach(attachmentId: string): Promise<void>;
  /** IDs of the attachments that this node holds and no `attach` waits for. */
  held(): readonly string[];
}

/** Plain containers and local networks of this host. */
export interface LocalContainers extends AsyncDisposable {
  /** Takes up containers, networks and ports of an earlier daemon, and starts what its restart policy wants. */
  adopt(): Promise<void>;
  /** Whether the container is a plain one: all methods but `create` are for those only. */
  isPlain(id: string): boolean;
  /** @returns the ID. @throws SkeinError in Docker's words. */
  create(request: PlainContainerCreate): Promise<string>;
  start(id: string): Promise<void>;
  stop(id: string, options: { timeout?: number; signal?: string }): Promise<void>;
  kill(id: string, signal: string): Promise<void>;
  restart(id: string, options: { timeout?: number; signal?: string }): Promise<void>;
  rename(id: string, name: string): Promise<void>;
  remove(id: string, options: { force: boolean; volumes: boolean }): Promise<void>;
  /** Takes the new policy at once. */
  setRestartPolicy(id: string, policy: { Name: string; MaximumRetryCount: number }): Promise<void>;
  networking(id: string): PlainNetworking | undefined;
  /** @param network name or ID of a bridge or an attachable network. */
  connect(id: string, network: string, request: EndpointRequest): Promise<void>;
  /** @throws SkeinError Conflict when the container is not on the network. */
  disconnect(id: string, network: string): Promise<void>;
  bridges(): readonly BridgeNetwork[];
  /** Containers on a bridge network that run. */
  bridgeEndpoints(networkId: string): readonly { containerId: string; name: string; endpoint: BridgeEndpoint }[];
  createBridge(request: BridgeNetworkCreate): Promise<string>;
  /** @throws SkeinError PermissionDenied while containers are on it. */
  removeBridge(id: string): Promise<void>;
}
