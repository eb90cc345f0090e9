/** RTM_…LINK messages: the tables of linux/rtnetlink.h and linux/if_link.h, and Link ↔ message. */
import { familyOf } from '../ip.ts';
import {
  attributes,
  be16,
  bool8,
  bytes,
  ip,
  mac,
  nested,
  s32,
  string,
  structure,
  u8,
  u32,
} from '../wire/attributes.ts';
import { struct } from '../wire/struct.ts';
import type { BridgeInfo, Link, LinkChanges, LinkSpec, VxlanInfo, VxlanSpec } from './link-spec.ts';

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;

/** struct ifinfomsg */
const ifinfomsg = struct({ family: 'u8', pad: 'u8', type: 'u16', index: 's32', flags: 'u32', change: 'u32' });
// net/if.h
const IFF_UP = 0x1;
const IFF_LOOPBACK = 0x8;
const IFF_LOWER_UP = 0x10000;

/** struct rtnl_link_stats64, its first eight counters */
const linkStats64 = struct({
  rxPackets: 'u64',
  txPackets: 'u64',
  rxBytes: 'u64',
  txBytes: 'u64',
  rxErrors: 'u64',
  txErrors: 'u64',
  rxDropped: 'u64',
  txDropped: 'u64',
});

/** IFLA_VXLAN_* */
const vxlanAttributes = attributes({
  vni: [1, u32],
  group: [2, ip],
  underlay: [3, u32],
  local: [4, ip],
  ttl: [5, u8],
  learning: [7, bool8],
  proxy: [11, bool8],
  l2miss: [13, bool8],
  l3miss: [14, bool8],
  port: [15, be16],
  group6: [16, ip],
  local6: [17, ip],
});

/** IFLA_BR_*; ageing in USER_HZ, hundredths of a second */
const bridgeAttributes = attributes({
  ageing: [4, u32],
  stp: [5, u32],
  vlanFiltering: [7, bool8],
  multicastSnooping: [23, bool8],
});
const USER_HZ = 100;

/** IFLA_BRPORT_* */
const bridgePortAttributes = attributes({
  hairpin: [4, bool8],
  learning: [8, bool8],
  unicastFlood: [9, bool8],
  multicastFlood: [27, bool8],
  broadcastFlood: [30, bool8],
  neighbourSuppression: [32, bool8],
  isolated: [33, bool8],
});

/** IFLA_INFO_*; what data and slaveData mean depends on the kinds */
const linkInfoAttributes = attributes({
  kind: [1, string],
  data: [2, nested(bytes)],
  slaveKind: [4, string],
  slaveData: [5, nested(bytes)],
});

/** IFLA_* */
const linkAttributes = attributes({
  mac: [1, mac],
  name: [3, string],
  mtu: [4, u32],
  parentIndex: [5, u32],
  master: [10, u32],
  linkInfo: [18, nested(linkInfoAttributes)],
  alias: [20, string],
  stats64: [23, structure(linkStats64)],
  group: [27, u32],
  namespaceFd: [28, u32],
  linkNetnsid: [37, s32],
  gsoIpv4MaxSize: [63, u32],
});
type LinkAttributes = ReturnType<typeof linkAttributes.decode>;

/** VETH_INFO_PEER (linux/veth.h): an ifinfomsg and IFLA_* attributes of the peer */
const vethAttributes = attributes({ peer: [1, nested(bytes)] });

/** The body of RTM_NEWLINK that creates a link. */
export function encodeLinkSpec(spec: LinkSpec): Uint8Array {
  return encode(
    { index: 0, up: spec.up },
    { ...common(spec), linkInfo: { kind: spec.kind, data: encodeKindData(spec) } },
  );
}

/** The body of RTM_NEWLINK that changes a link. */
export function encodeLinkChanges(index: number, changes: LinkChanges): Uint8Array {
  const { bridge, bridgePort } = changes;
  const linkInfo = {
    ...(bridge && { kind: 'bridge', data: encodeBridge(bridge) }),
    ...(bridgePort && { slaveKind: 'bridge', slaveData: bridgePortAttributes.encode(bridgePort) }),
  };
  const values = { ...common(changes), alias: changes.alias, linkInfo: bridge || bridgePort ? linkInfo : undefined };
  return encode({ index, up: changes.up }, values);
}

/** The body of RTM_NEWLINK that puts a link into a group. */
export function encodeLinkGroup(index: number, group: number): Uint8Array {
  return encode({ index }, { group });
}

/** The body of RTM_DELLINK for all links of a group. */
export function encodeGroupSelector(group: number): Uint8Array {
  return encode({ index: 0 }, { group });
}

/** The body of RTM_GETLINK and RTM_DELLINK: one link by index or name. */
export function encodeLinkSelector(link: number | string): Uint8Array {
  return typeof link === 'number' ? encode({ index: link }, {}) : encode({ index: 0 }, { name: link });
}

function encode(header: { index: number; up?: boolean | undefined }, values: LinkAttributes): Uint8Array {
  const change = header.up === undefined ? 0 : IFF_UP;
  const fixed = ifinfomsg.encode({ index: header.index, flags: header.up ? IFF_UP : 0, change });
  return Buffer.concat([fixed, linkAttributes.encode(values)]);
}

function common(link: LinkChanges): LinkAttributes {
  const { name, mac, mtu, gsoIpv4MaxSize, master, namespace } = link;
  return { name, mac, mtu, gsoIpv4MaxSize, master: master === null ? 0 : master, namespaceFd: namespace?.fd };
}

function encodeKindData(spec: LinkSpec): Uint8Array {
  if (spec.kind === 'vxlan') return vxlanAttributes.encode(vxlanValues(spec));
  if (spec.kind === 'veth') {
    const namespace = spec.peer.namespace ?? spec.namespace;
    return vethAttributes.encode({ peer: encode({ index: 0 }, common({ ...spec.peer, namespace })) });
  }
  return encodeBridge(spec);
}

function encodeBridge({ ageingSeconds, stp, vlanFiltering, multicastSnooping }: Partial<BridgeInfo>): Uint8Array {
  return bridgeAttributes.encode({
    ageing: ageingSeconds === undefined ? undefined : Math.round(ageingSeconds * USER_HZ),
    stp: stp === undefined ? undefined : Number(stp),
    vlanFiltering,
    multicastSnooping,
  });
}

/** The kernel has one attribute for an IPv4 address and another for an IPv6 address. */
function vxlanValues(spec: VxlanSpec): ReturnType<typeof vxlanAttributes.decode> {
  const { vni, port, underlay, ttl, learning = false, proxy, l2miss, l3miss, local, group } = spec;
  const values = { vni, port, underlay, ttl, learning, proxy, l2miss, l3miss };
  return {
    ...values,
    ...(local && (familyOf(local) === 'ipv4' ? { local } : { local6: local })),
    ...(group && (familyOf(group) === 'ipv4' ? { group } : { group6: group })),
  };
}

/** Reads the body of RTM_NEWLINK or RTM_DELLINK. */
export function decodeLink(payload: Uint8Array): Link {
  const header = ifinfomsg.decode(payload);
  const values = linkAttributes.decode(payload.subarray(ifinfomsg.size));
  const { kind, data, slaveKind, slaveData } = values.linkInfo ?? {};
  return {
    index: header.index,
    name: values.name ?? '',
    kind,
    mac: values.mac,
    mtu: values.mtu ?? 0,
    gsoIpv4MaxSize: values.gsoIpv4MaxSize,
    up: (header.flags & IFF_UP) !== 0,
    carrier: (header.flags & IFF_LOWER_UP) !== 0,
    loopback: (header.flags & IFF_LOOPBACK) !== 0,
    master: values.master,
    alias: values.alias,
    parentIndex: values.parentIndex,
    linkNetnsid: values.linkNetnsid,
    vxlan: kind === 'vxlan' && data ? decodeVxlan(data) : undefined,
    bridge: kind === 'bridge' && data ? decodeBridge(data) : undefined,
    bridgePort: slaveKind === 'bridge' && slaveData ? bridgePortAttributes.decode(slaveData) : undefined,
    stats: values.stats64,
  };
}

function decodeVxlan(data: Uint8Array): VxlanInfo {
  const values = vxlanAttributes.decode(data);
  return {
    vni: values.vni ?? 0,
    port: values.port ?? 0,
    local: values.local ?? values.local6,
    group: values.group ?? values.group6,
    underlay: values.underlay,
    learning: values.learning ?? false,
    proxy: values.proxy ?? false,
    l2miss: values.l2miss ?? false,
    l3miss: values.l3miss ?? false,
    ttl: values.ttl ?? 0,
  };
}

function decodeBridge(data: Uint8Array): BridgeInfo {
  const values = bridgeAttributes.decode(data);
  return {
    stp: values.stp !== undefined && values.stp !== 0,
    vlanFiltering: values.vlanFiltering ?? false,
    multicastSnooping: values.multicastSnooping ?? false,
    ageingSeconds: (values.ageing ?? 0) / USER_HZ,
  };
}
