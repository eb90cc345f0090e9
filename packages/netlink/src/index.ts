/**
 * @skein/netlink: Linux networking from Node.js, without child processes.
 *
 * This room owns the kernel's network interfaces as they are: rtnetlink, network namespaces, sockets in them,
 * nftables, connection tracking, packet capture, sysctl, BPF programs on links. It knows nothing of containers, swarms or overlays, and keeps no state of its own
 * beyond open descriptors, each of which is Disposable.
 */

export { attachToCgroup, type CgroupProgramKind, cgroupPrograms, detachFromCgroup } from './bpf/cgroup.ts';
export { type BpfEntry, BpfMap, type BpfMapSpec, type BpfMapType } from './bpf/map.ts';
export { BpfObject, BpfObjectError } from './bpf/object.ts';
export { BpfProgram, type BpfProgramKind, type BpfProgramSpec, BpfVerifierError } from './bpf/program.ts';
export { attachTcx, detachTcx, TCX_DROP, TCX_NEXT, type TcxDirection, type TcxTarget, tcxPrograms } from './bpf/tcx.ts';
export { decodeFrame, type Layer } from './capture/decode.ts';
export { type CapturedFrame, type CaptureOptions, PacketSocket } from './capture/packet-socket.ts';
export { encodePcap, pcapFileHeader, pcapRecord } from './capture/pcap.ts';
export { errnoName, hasCode, NetlinkError, SystemError } from './errors.ts';
export {
  addressBits,
  addressFromBigInt,
  addressToBigInt,
  type Family,
  familyOf,
  formatAddress,
  InvalidAddressError,
  normalizeAddress,
  Prefix,
  parseAddress,
} from './ip.ts';
export { formatMac, parseMac } from './mac.ts';
export { NetworkNamespace } from './namespace.ts';
export { Conntrack, type ConntrackEntry, type ConntrackFlow } from './netfilter/conntrack.ts';
export { RulesetGeneration } from './netfilter/generation.ts';
export { Nftables, NftablesError } from './nftables/nftables.ts';
export type {
  NftChain,
  NftCommand,
  NftElement,
  NftExpression,
  NftFamily,
  NftJson,
  NftMap,
  NftObject,
  NftRule,
  NftSelector,
  NftSet,
  NftStatement,
  NftTable,
} from './nftables/schema.ts';
export type { Address, Addresses, AddressSpec } from './route/addresses.ts';
export type { Fdb, FdbEntry, FdbSpec, FdbTable } from './route/fdb.ts';
export type {
  BridgeInfo,
  BridgePort,
  BridgeSpec,
  Link,
  LinkChanges,
  LinkSpec,
  LinkStatistics,
  VethSpec,
  VxlanInfo,
  VxlanSpec,
} from './route/link-spec.ts';
export type { Links } from './route/links.ts';
export { type MonitorGroup, type RouteEvent, RouteMonitor } from './route/monitor.ts';
export type { Protocol, Scope } from './route/names.ts';
export type { NeighbourState } from './route/neighbour-codec.ts';
export type { Neighbour, NeighbourSpec, Neighbours } from './route/neighbours.ts';
export type { NextHop, Route, RouteSpec, RouteType } from './route/route-codec.ts';
export { RouteSocket } from './route/route-socket.ts';
export type { RouteLookup, Routes } from './route/routes.ts';
export type { Rule, RuleAction, Rules } from './route/rules.ts';
export { type TcpConnection, TcpConnections } from './sock-diag.ts';
export {
  type BindOptions,
  type ConnectOptions,
  connectTcpIn,
  tcpListenerIn,
  tcpServerIn,
  udpClientIn,
  udpSocketIn,
} from './sockets.ts';
export { readSysctl, writeSysctl } from './sysctl.ts';
