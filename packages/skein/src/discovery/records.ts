/** EndpointRecords to and from gossip's `endpoint_table`. */
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import { type EndpointRecord, EndpointRecordSchema, PortConfig_Protocol } from './gen/agent_pb.js';
import type { PublishedEndpoint } from './types.ts';

export const endpointTable = 'endpoint_table';
/** What Go prints for an address that there is not; libnetwork writes it for a service without a virtual IP. */
const noAddress = '<nil>';
const protocols = { tcp: PortConfig_Protocol.TCP, udp: PortConfig_Protocol.UDP, sctp: PortConfig_Protocol.SCTP };

/** @returns the record of an endpoint of this host; a disabled one gets no new traffic. */
export function recordOf(endpoint: PublishedEndpoint, isDisabled: boolean): EndpointRecord {
  return create(EndpointRecordSchema, {
    name: endpoint.name,
    serviceName: endpoint.serviceName,
    serviceId: endpoint.serviceId,
    virtualIp: endpoint.virtualIp === '' ? noAddress : endpoint.virtualIp,
    endpointIp: endpoint.endpointIp,
    ingressPorts: endpoint.ingressPorts.map((port) => ({ ...port, protocol: protocols[port.protocol] })),
    aliases: [...endpoint.aliases],
    taskAliases: [...endpoint.taskAliases],
    serviceDisabled: isDisabled,
    returnsToEntrance: endpoint.returnsToEntrance ?? false,
    endpointIpv6: endpoint.endpointIpv6 ?? '',
    virtualIpv6: endpoint.virtualIpv6 ?? '',
  });
}

export const encodeRecord = (record: EndpointRecord): Uint8Array => toBinary(EndpointRecordSchema, record);

/** @returns the record, or undefined if the bytes are none: other nodes write them. */
export function decodeRecord(value: Uint8Array): EndpointRecord | undefined {
  try {
    return fromBinary(EndpointRecordSchema, value);
  } catch {
    return undefined;
  }
}
