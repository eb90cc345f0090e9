/**
 * What the overlay room offers: the networks of this host's containers. It never asks the manager: whoever calls
 * it brings VNI, subnets and addresses.
 */
import type { NetworkDB } from '@skein/gossip';

/** One overlay network as the manager made it. */
export interface OverlayNetwork {
  /** Swarm network ID (25 characters); the key of everything. */
  readonly id: string;
  readonly name: string;
  /** One per subnet, in the order of `vxlanid_list`. */
  readonly subnets: readonly OverlaySubnet[];
  /** From the network's option `com.docker.network.driver.mtu`; undefined = from the underlay's route. */
  readonly mtu?: number;
  readonly internal: boolean;
  /** The cluster's ingress network. */
  readonly ingress: boolean;
  /** Asked for ESP. */
  readonly encrypted: boolean;
  /** Given back in `networks()`, for network inspect. */
  readonly labels: Readonly<Record<string, string>>;
  readonly options: Readonly<Record<string, string>>;
  readonly attachable: boolean;
}

export interface OverlaySubnet {
  /** CIDR, `10.0.1.0/24`. */
  readonly subnet: string;
  /** Plain address, `10.0.1.1`. */
  readonly gateway: string;
  readonly vni: number;
  /** The IPv6 subnet that shares the VXLAN, on a network with IPv6. */
  readonly ipv6?: Ipv6Subnet | undefined;
}

export interface Ipv6Subnet {
  /** CIDR, `fd00:1::/64`. */
  readonly subnet: string;
  /** Plain address, `fd00:1::1`. */
  readonly gateway: string;
}

/** What one container needs: its endpoints, in order (eth0 first), and the way to the outside. */
export interface SandboxSpec {
  readonly containerId: string;
  readonly containerName: string;
  readonly endpoints: readonly EndpointSpec[];
  /** Also on docker_gwbridge, with the default route there. */
  readonly gateway: boolean;
  /** Number of the interface on docker_gwbridge; default: the number of endpoints. */
  readonly gatewayPosition?: number;
}

export interface EndpointSpec {
  readonly network: OverlayNetwork;
  /** CIDR, `10.0.1.3/24`. */
  readonly address: string;
  /** CIDR, `fd00:1::3/64`, on a network with IPv6. */
  readonly ipv6Address?: string | undefined;
  /** Default: 02:42 and the IPv4 bytes. */
  readonly mac?: string;
  readonly aliases: readonly string[];
  /** Number of the interface, kept while others come and go; default: its place among the endpoints. */
  readonly position?: number;
}

/** One endpoint as it stands in the kernel. */
export interface EndpointState {
  /** 64 hex; the key of its gossip records. */
  readonly id: string;
  readonly network: OverlayNetwork;
  readonly address: string;
  readonly ipv6Address?: string | undefined;
  readonly mac: string;
  /** Interface in the container. */
  readonly interfaceName: string;
  readonly aliases: readonly string[];
}

export interface SandboxState {
  readonly containerId: string;
  readonly containerName: string;
  /** 64 hex, Docker's SandboxID. */
  readonly sandboxId: string;
  /** nsfs file of the container's network namespace, Docker's SandboxKey. */
  readonly networkNamespace: string;
  readonly endpoints: readonly EndpointState[];
  readonly gateway: GatewayEndpoint | undefined;
}

/** The endpoint on docker_gwbridge. */
export interface GatewayEndpoint {
  readonly id: string;
  readonly address: string;
  readonly ipv6Address?: string | undefined;
  readonly mac: string;
  readonly interfaceName: string;
}

/** An overlay network that exists on this host now, or the gateway network. */
export interface LocalNetwork {
  readonly network: OverlayNetwork;
  readonly created: Date;
  readonly endpoints: readonly {
    readonly containerId: string;
    readonly containerName: string;
    readonly endpoint: EndpointState;
  }[];
  /** Gossip's peers on the network: name and address. */
  readonly peers: readonly { readonly name: string; readonly address: string }[];
  /** The endpoint that holds this node's load-balancer address (CIDR), while the network is here. */
  readonly loadBalancer?: { readonly id: string; readonly address: string; readonly mac: string } | undefined;
}

export interface GatewayNetwork {
  readonly id: string;
  readonly name: 'docker_gwbridge';
  readonly subnet: string;
  readonly gateway: string;
  /** On a host with IPv6. */
  readonly ipv6?: Ipv6Subnet | undefined;
  readonly created: Date;
  readonly endpoints: readonly { readonly containerId: string; readonly endpoint: GatewayEndpoint }[];
}

/** What this host is in the cluster, given once the node has joined. */
export interface ClusterAttachment {
  readonly gossip: NetworkDB;
  /** Plain address of this host's VTEP. */
  readonly vtep: string;
  /** UDP port of VXLAN, 4789 unless the cluster says otherwise. */
  readonly dataPathPort: number;
}

/**
 * The overlay driver of this host. All methods are idempotent: calling again with the same arguments repairs what
 * differs in the kernel. State that the kernel does not hold is kept on disk and survives a restart.
 */
export interface OverlayDriver extends AsyncDisposable {
  /** Adopts the sandboxes of `containerIds` that an earlier daemon made and removes all others of ours. Traffic of adopted ones is not interrupted. */
  adopt(containerIds: ReadonlySet<string>): Promise<void>;
  /** Connects to the cluster's gossip: publishes own endpoints' PeerRecords, programs those of others. Makes docker_gwbridge. */
  joinCluster(attachment: ClusterAttachment): Promise<void>;
  /** Withdraws; with `removeGateway` docker_gwbridge goes as well if no container is on it. */
  leaveCluster(options: { removeGateway: boolean }): Promise<void>;
  /** @throws SkeinError InvalidArgument / FailedPrecondition when a subnet overlaps a route of this node, naming both. */
  createSandbox(spec: SandboxSpec): Promise<SandboxState>;
  /** No error when there is none. The network goes with its last endpoint. */
  removeSandbox(containerId: string): Promise<void>;
  sandbox(containerId: string): SandboxState | undefined;
  sandboxes(): readonly SandboxState[];
  networks(): readonly LocalNetwork[];
  gatewayNetwork(): GatewayNetwork | undefined;
  /** Whether this host's containers can have IPv6. */
  hasIpv6(): boolean;
  /** This node's load-balancer address on a network (Node.attachments), CIDR; known before tasks come. Published as a PeerRecord while the network exists here. */
  setLoadBalancerAddresses(addresses: ReadonlyMap<string, { network: OverlayNetwork; address: string }>): Promise<void>;
}
