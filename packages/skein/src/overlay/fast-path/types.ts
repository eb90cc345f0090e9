import type { NetworkNamespace } from '@skein/netlink';
import type { RemoteEndpoint } from './records.ts';

/** An endpoint of this host: with its plain address, and the bridge's end of its veth pair. */
export interface PlannedEndpoint {
  readonly address: string;
  readonly mac: string;
  readonly vni: number;
  readonly portName: string;
}

/** One network of this host as the fast path needs to know it. */
export interface NetworkPlan {
  readonly networkId: string;
  readonly mtu: number;
  /** Plain address of this host's VTEP. One of IPv6 has tunnels of the kernel's only. */
  readonly vtep: string;
  /** UDP port of VXLAN. */
  readonly dataPathPort: number;
  readonly endpoints: readonly PlannedEndpoint[];
  readonly peers: readonly RemoteEndpoint[];
}

/** The way around bridge and VXLAN device, or the absence of one. Nothing that it does or cannot do stops a packet. */
export interface FastPath extends Disposable {
  /** Whether this host takes tunnel packets of more bytes than their lengths can say. */
  readonly takesLargeSegments: boolean;
  /** @returns how many bytes a container's TCP segments may have, by the link that has the VTEP. */
  largestSegment(vtep: string): number;
  /**
   * Makes programs and maps as the plan says, whatever they are now. A failure is logged, and the network's packets go
   * the kernel's way.
   */
  reconcile(sandbox: NetworkNamespace, plan: NetworkPlan): void;
  /**
   * What has these addresses on the network is now these endpoints and peers; among the addresses may be MACs, which say
   * nothing here. @returns whether that is enough: if not, the whole plan is needed.
   */
  change(
    sandbox: NetworkNamespace,
    networkId: string,
    addresses: ReadonlySet<string>,
    now: Pick<NetworkPlan, 'endpoints' | 'peers'>,
  ): boolean;
  /** The network goes from this host; its links are removed by others. Safe to repeat. */
  forget(networkId: string): void;
  /** There is no network on this host: takes the program off the link that has the VTEP. */
  release(vtep: string): void;
}
