/** What links look like from outside: the values read from the kernel, and the specifications given to it. */
import type { NetworkNamespace } from '../namespace.ts';

/** Counters of struct rtnl_link_stats64. */
export interface LinkStatistics {
  readonly rxPackets: bigint;
  readonly txPackets: bigint;
  readonly rxBytes: bigint;
  readonly txBytes: bigint;
  readonly rxErrors: bigint;
  readonly txErrors: bigint;
  readonly rxDropped: bigint;
  readonly txDropped: bigint;
}

export interface VxlanInfo {
  readonly vni: number;
  /** Destination UDP port. */
  readonly port: number;
  /** Source address of outgoing packets; without it the kernel picks one for each. */
  readonly local?: string | undefined;
  /** Default destination (multicast group or unicast address). */
  readonly group?: string | undefined;
  /** Index of the underlay link, in the namespace where the VXLAN socket is. */
  readonly underlay?: number | undefined;
  readonly learning: boolean;
  /** Answer ARP and ND from the neighbour table. */
  readonly proxy: boolean;
  /** Notify when a destination MAC is not in the FDB. */
  readonly l2miss: boolean;
  /** Notify when a destination IP is not in the neighbour table. */
  readonly l3miss: boolean;
  /** 0: from the inner packet's route. */
  readonly ttl: number;
}

/** Settings of a bridge device; reading gives these and nothing else. */
export interface BridgeInfo {
  readonly stp: boolean;
  readonly vlanFiltering: boolean;
  readonly multicastSnooping: boolean;
  /** Seconds after which a learned address is forgotten. */
  readonly ageingSeconds: number;
}

/** Settings of a link as a port of its bridge. */
export interface BridgePort {
  readonly hairpin?: boolean | undefined;
  readonly learning?: boolean | undefined;
  /** Flood frames to unknown unicast addresses to this port. */
  readonly unicastFlood?: boolean | undefined;
  readonly multicastFlood?: boolean | undefined;
  readonly broadcastFlood?: boolean | undefined;
  /** Do not flood ARP and ND that the bridge can answer from the neighbour table. */
  readonly neighbourSuppression?: boolean | undefined;
  /** Forward to and from non-isolated ports only. */
  readonly isolated?: boolean | undefined;
}

export interface Link {
  /** Number in its namespace, unique there and kept for life (while it stays in the namespace). */
  readonly index: number;
  readonly name: string;
  /** 'bridge', 'veth', 'vxlan', …; undefined for devices without one (lo, hardware). */
  readonly kind: string | undefined;
  readonly mac: string | undefined;
  readonly mtu: number;
  /** Bytes of the largest packet of IPv4 that the link takes to cut it itself; undefined before Linux 6.3. */
  readonly gsoIpv4MaxSize: number | undefined;
  /** Administratively up (IFF_UP). */
  readonly up: boolean;
  /** A carrier is there (IFF_LOWER_UP): for a veth, the peer is up too. */
  readonly carrier: boolean;
  readonly loopback: boolean;
  /** Index of the bridge (or other master) it is a port of. */
  readonly master: number | undefined;
  readonly alias: string | undefined;
  /** IFLA_LINK: the other end of a veth, the underlay of a tunnel; in the namespace `linkNetnsid` names. */
  readonly parentIndex: number | undefined;
  /** This namespace's number for the namespace of `parentIndex`, when it is another one. */
  readonly linkNetnsid: number | undefined;
  readonly vxlan: VxlanInfo | undefined;
  readonly bridge: BridgeInfo | undefined;
  readonly bridgePort: BridgePort | undefined;
  readonly stats: LinkStatistics | undefined;
}

interface CommonSpec {
  /** At most 15 bytes. */
  readonly name: string;
  readonly mac?: string | undefined;
  readonly mtu?: number | undefined;
  /** Bring it up at once; default false. */
  readonly up?: boolean | undefined;
  /** Index of the bridge to make it a port of, in the namespace of the new link. */
  readonly master?: number | undefined;
  /** Free text of up to 255 bytes: how an owner tags its links. */
  readonly alias?: string | undefined;
  /** Create the link there. A VXLAN's UDP socket stays in the namespace of the connection. */
  readonly namespace?: NetworkNamespace | undefined;
  readonly bridgePort?: BridgePort | undefined;
}

export interface BridgeSpec extends CommonSpec, Partial<BridgeInfo> {
  readonly kind: 'bridge';
}

export interface VethSpec extends CommonSpec {
  readonly kind: 'veth';
  readonly peer: {
    readonly name: string;
    readonly mac?: string | undefined;
    readonly mtu?: number | undefined;
    readonly up?: boolean | undefined;
    /** Default: the namespace of the link itself. */
    readonly namespace?: NetworkNamespace | undefined;
  };
}

export interface VxlanSpec extends CommonSpec {
  readonly kind: 'vxlan';
  /** 1 to 16777215 (2^24 - 1). */
  readonly vni: number;
  /** Destination UDP port; IANA's is 4789. */
  readonly port: number;
  readonly local?: string | undefined;
  readonly group?: string | undefined;
  readonly underlay?: number | undefined;
  /** Default false: the FDB is what its owner writes. (The kernel's own default is true.) */
  readonly learning?: boolean | undefined;
  readonly proxy?: boolean | undefined;
  readonly l2miss?: boolean | undefined;
  readonly l3miss?: boolean | undefined;
  readonly ttl?: number | undefined;
}

export type LinkSpec = BridgeSpec | VethSpec | VxlanSpec;

/** Changes to a link; what is left out stays. */
export interface LinkChanges {
  readonly name?: string | undefined;
  readonly mac?: string | undefined;
  readonly mtu?: number | undefined;
  /** The kernel refuses more than the link's driver can. */
  readonly gsoIpv4MaxSize?: number | undefined;
  readonly up?: boolean | undefined;
  /** null takes it out of its bridge. */
  readonly master?: number | null | undefined;
  readonly alias?: string | undefined;
  /** Move it there (it arrives down, without addresses; with `name` it is renamed on the way). */
  readonly namespace?: NetworkNamespace | undefined;
  readonly bridgePort?: BridgePort | undefined;
  /** Settings of a bridge. */
  readonly bridge?: Partial<BridgeInfo> | undefined;
}
