/**
 * What the balancer room offers: virtual IPs in the namespaces of this host's containers, the routing mesh, and ports
 * published on this host. It learns from gossip's endpoint records which tasks stand behind what.
 */
import type { NetworkDB } from '@skein/gossip';
import type { PortProtocol } from './port-place.ts';
import type { Reservations } from './reservations.ts';

export type { PortProtocol } from './port-place.ts';

/** A container whose connections to virtual IPs are balanced. */
export interface BalancedClient {
  readonly containerId: string;
  /** nsfs file of its network namespace. */
  readonly networkNamespace: string;
  /** Networks whose services it sees, with their subnets in CIDR notation. */
  readonly networks: readonly { readonly id: string; readonly subnets: readonly string[] }[];
  /** It may have rules of its own that go by the states of connections (CAP_NET_ADMIN): all of its are tracked. */
  readonly filtersPackets?: boolean | undefined;
  /** Its endpoint on the ingress network, where the mesh sends what came for the published ports. */
  readonly ingress?: IngressTarget | undefined;
  /** Called when `takesIpv6` has another answer. */
  readonly onIpv6?: (() => void) | undefined;
}

export interface IngressTarget {
  /** Plain address of the endpoint. */
  readonly address: string;
  /** Plain address of IPv6, if it has one. */
  readonly ipv6Address?: string | undefined;
  readonly ports: readonly IngressPort[];
  /** What lets the task see its clients' addresses; undefined: every entrance puts its own there. */
  readonly returnPath?: ReturnPathSpec | undefined;
}

/** Where answers to the mesh's clients go: over the ingress network, to the entrance that the question came from. */
export interface ReturnPathSpec {
  /** The endpoint's interface, and the ingress network's subnet in CIDR notation. */
  readonly interfaceName: string;
  readonly subnet: string;
  /** The container's plain address on docker_gwbridge, which its datagrams to the outside bear. */
  readonly gatewayAddress: string;
  /** The same of IPv6, for a task that has it on both networks. */
  readonly ipv6?: { readonly subnet: string; readonly gatewayAddress: string } | undefined;
}

export interface IngressPort {
  readonly protocol: PortProtocol;
  readonly targetPort: number;
  readonly publishedPort: number;
}

/** This node's entrance to the routing mesh: a namespace between docker_gwbridge and the ingress network. */
export interface IngressEntrance {
  readonly networkId: string;
  /** nsfs file of its network namespace. */
  readonly networkNamespace: string;
  /** Its interface on the ingress network, and its plain address there: this node's load-balancer address. */
  readonly ingressInterface: string;
  readonly loadBalancerAddress: string;
  /** Its plain address on docker_gwbridge, and that network's subnet in CIDR notation. */
  readonly gatewayAddress: string;
  readonly gatewaySubnet: string;
  /** The same of IPv6, when this host has it. */
  readonly ipv6?: EntranceAddresses | undefined;
}

/** The entrance's addresses of one family. */
export type EntranceAddresses = Pick<IngressEntrance, 'loadBalancerAddress' | 'gatewayAddress' | 'gatewaySubnet'>;

/** A port of this host that leads to one container of this host. */
export interface HostPort {
  readonly protocol: PortProtocol;
  readonly targetPort: number;
  /** 0: the balancer chooses a free one. */
  readonly publishedPort: number;
}

/** A container of this host that ports lead to. */
export interface PortTarget {
  readonly containerId: string;
  /** For who else wants its ports: `task web.1`. */
  readonly name: string;
  /** Its plain address on docker_gwbridge. */
  readonly address: string;
  /** The same of IPv6, if it has one. */
  readonly ipv6Address?: string | undefined;
}

/** Rules stay in the kernel when the balancer is disposed of: connections go on while the daemon is away. */
export interface LoadBalancer extends AsyncDisposable {
  /** Who has which port of this host; for all rooms. */
  readonly reservations: Reservations;
  /** Learns from this gossip who stands behind which virtual IP and which port. */
  joinCluster(gossip: NetworkDB): void;
  leaveCluster(): void;
  /** Balances the container's connections from when this returns; idempotent, and takes over changes. */
  attach(client: BalancedClient): void;
  /** Stops. Call it before the namespace is removed, which otherwise lives on. */
  detach(containerId: string): void;
  /** Whether the container's answers to the mesh go to the entrance that asked, so that it may see clients' addresses. */
  returnsToEntrance(containerId: string): boolean;
  /** Whether the container's servers of the mesh's ports listen on IPv6, by which others may then lead clients there. */
  takesIpv6(containerId: string): boolean;
  /** Opens the mesh's ports on this host; undefined closes them. Idempotent. */
  setEntrance(entrance: IngressEntrance | undefined): void;
  /**
   * Leads ports of this host to a container; idempotent. @returns the ports with the published ones chosen.
   * @throws PortHeldError naming the holder of a port that is taken; then none of them is open.
   */
  openPorts(target: PortTarget, ports: readonly HostPort[]): Promise<readonly HostPort[]>;
  /** Closes the container's ports. No error when there are none. */
  closePorts(containerId: string): void;
  /** Closes ports that an earlier daemon led to other addresses than these: of the containers that there are, and the mesh. */
  retainPorts(addresses: ReadonlySet<string>): void;
  /** The container's open ports. */
  ports(containerId: string): readonly HostPort[];
}
