/** From gossip's EndpointRecords and PeerRecords to what balancing needs of them. */
import { isIPv4, isIPv6 } from 'node:net';
import { fromBinary } from '@bufbuild/protobuf';
import { normalizeAddress } from '@skein/netlink';
import { type EndpointRecord, PortConfig_Protocol } from '../discovery/gen/agent_pb.js';
import { PeerRecordSchema } from '../overlay/gen/overlay_pb.js';
import type { BackendRecord } from './service-table.ts';

const protocolNames = {
  [PortConfig_Protocol.TCP]: 'tcp',
  [PortConfig_Protocol.UDP]: 'udp',
  [PortConfig_Protocol.SCTP]: 'sctp',
} as const;

/** @returns undefined for plain containers, which have names only. */
export function backendOf(record: EndpointRecord): BackendRecord | undefined {
  if (record.serviceId === '' || record.name === '' || !isIPv4(record.endpointIp)) return undefined;
  return {
    virtualIp: isIPv4(record.virtualIp) ? record.virtualIp : '',
    serviceName: record.serviceName,
    address: record.endpointIp,
    ports: record.ingressPorts.flatMap(({ protocol, publishedPort }) => {
      const name = protocolNames[protocol];
      return name === undefined || publishedPort === 0 ? [] : [{ protocol: name, publishedPort }];
    }),
    isDisabled: record.serviceDisabled,
    returnsToEntrance: record.returnsToEntrance,
  };
}

/** @returns the same task behind its service's virtual IP of IPv6; undefined when it has no such address. */
export function ipv6BackendOf(record: EndpointRecord): BackendRecord | undefined {
  const address = ipv6Of(record.endpointIpv6);
  const ofIpv4 = backendOf(record);
  if (ofIpv4 === undefined || address === undefined) return undefined;
  return { ...ofIpv4, virtualIp: ipv6Of(record.virtualIpv6) ?? '', address };
}

function ipv6Of(text: string): string | undefined {
  return isIPv6(text) && !text.includes('%') ? normalizeAddress(text) : undefined;
}

/** Where gossip has the records of who is behind which VTEP (libnetwork drivers/overlay). */
export const peerTable = 'overlay_peer_table';

/** @returns the endpoint's plain addresses; none if the bytes are no PeerRecord: other nodes write them. */
export function peerAddressesOf(value: Uint8Array): { ipv4?: string | undefined; ipv6?: string | undefined } {
  try {
    const { endpointIp, endpointIpv6 } = fromBinary(PeerRecordSchema, value);
    const [ipv4 = ''] = endpointIp.split('/');
    const [ipv6 = ''] = endpointIpv6.split('/');
    return isIPv4(ipv4) ? { ipv4, ipv6: ipv6Of(ipv6) } : {};
  } catch {
    return {};
  }
}
