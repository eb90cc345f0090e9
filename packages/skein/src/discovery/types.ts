/**
 * What the discovery room offers: names. It serves DNS at 127.0.0.11 in each container's namespace, from the
 * endpoint records that gossip brings and that this host publishes for its own tasks.
 */
import type { NetworkDB } from '@skein/gossip';

/** A container that asks: where it is, and which networks it sees, in order of search. */
export interface Resolver {
  readonly containerId: string;
  /** nsfs file of its network namespace. */
  readonly networkNamespace: string;
  readonly networks: readonly { readonly id: string; readonly name: string }[];
  /** Upstream servers (port 53 by default); asked from the host's namespace unless `fromContainer`. */
  readonly upstream: readonly { readonly address: string; readonly port?: number; readonly fromContainer: boolean }[];
  /** Only internal networks: servers of the host are not asked. */
  readonly internalOnly: boolean;
  /** The user's `ndots` option, 0 if there is none: above 0 names without a dot are not asked outside. */
  readonly ndots?: number;
}

/** One task (or plain container) on one network: what is published as an EndpointRecord. */
export interface PublishedEndpoint {
  /** Endpoint ID, 64 hex. */
  readonly id: string;
  readonly networkId: string;
  /** Task name, `<service>.<slot>.<task id>`. */
  readonly name: string;
  readonly serviceName: string;
  readonly serviceId: string;
  /** Plain address or '' for none (DNSRR). */
  readonly virtualIp: string;
  readonly endpointIp: string;
  /** Plain addresses of IPv6; undefined or '' for none. */
  readonly virtualIpv6?: string | undefined;
  readonly endpointIpv6?: string | undefined;
  readonly ingressPorts: readonly {
    readonly name: string;
    readonly protocol: 'tcp' | 'udp' | 'sctp';
    readonly targetPort: number;
    readonly publishedPort: number;
  }[];
  /** Names of the service besides its own. */
  readonly aliases: readonly string[];
  /** Names of this one container: short ID, hostname. */
  readonly taskAliases: readonly string[];
  /** On the ingress network: answers go to the entrance that asked, whoever its client is. */
  readonly returnsToEntrance?: boolean;
  /** On a network of this host only, such as a bridge: its names are not gossiped. */
  readonly local?: boolean;
}

/** What the resolver in /etc/resolv.conf needs. */
export interface ResolvConfOptions {
  readonly search: readonly string[];
  readonly options: readonly string[];
}

export interface Discovery extends AsyncDisposable {
  /** Names of other hosts come from here; own endpoints are published into it. Call it after the overlay driver's. */
  joinCluster(gossip: NetworkDB): void;
  leaveCluster(): void;
  /** Starts answering in the namespace; idempotent, and takes over changes. @throws SkeinError when that is impossible there. */
  attach(resolver: Resolver): Promise<void>;
  /** Stops answering. Call it before the namespace is removed, which otherwise lives on. */
  detach(containerId: string): Promise<void>;
  /**
   * The endpoint takes traffic from now on. Idempotent, and takes over changes. Its network must have been joined, which
   * the overlay driver does when it makes the sandbox.
   */
  publish(endpoint: PublishedEndpoint): void;
  /** No new traffic (graceful stop): record disabled. */
  disable(endpointId: string): void;
  /** Gone. */
  withdraw(endpointId: string): void;
}
