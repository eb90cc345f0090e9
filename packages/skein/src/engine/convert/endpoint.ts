/** A service's endpoint: resolution mode, published ports, virtual addresses. */
import { SkeinError } from '../../common/index.ts';
import { Endpoint_VirtualIPSchema, EndpointSchema } from '../../swarm/gen/objects_pb.js';
import { EndpointSpecSchema, EndpointSpec_ResolutionMode as ResolutionMode } from '../../swarm/gen/specs_pb.js';
import {
  PortConfigSchema,
  PortConfig_Protocol as Protocol,
  PortConfig_PublishMode as PublishMode,
} from '../../swarm/gen/types_pb.js';

import { field, struct, table } from './codec.ts';
import { list, text, uint32, type Value, words } from './values.ts';

/** The highest port number; dockerd takes larger ones and the service never works. */
const highestPort = 65_535;

function port(name: string): Value<number> {
  return {
    ...uint32,
    decode: (json, path) => {
      const number = uint32.decode(json, path);
      if (number > highestPort) {
        throw new SkeinError('InvalidArgument', `invalid ${name} port ${number}: ports go from 0 to ${highestPort}`);
      }
      return number;
    },
  };
}

export const portConfig = table(PortConfigSchema, [
  field('Name', 'name', text),
  field(
    'Protocol',
    'protocol',
    words({ tcp: Protocol.TCP, udp: Protocol.UDP, sctp: Protocol.SCTP }, (word) => `invalid protocol: "${word}"`),
  ),
  field('TargetPort', 'targetPort', port('target')),
  field('PublishedPort', 'publishedPort', port('published')),
  field(
    'PublishMode',
    'publishMode',
    words({ ingress: PublishMode.INGRESS, host: PublishMode.HOST }, (word) => `invalid publish mode: "${word}"`),
  ),
]);

export const endpointSpec = table(EndpointSpecSchema, [
  field(
    'Mode',
    'mode',
    words({ vip: ResolutionMode.VIP, dnsrr: ResolutionMode.DNSRR }, (word) => `invalid resolution mode: "${word}"`),
  ),
  field('Ports', 'ports', list(portConfig)),
]);

const virtualIp = table(Endpoint_VirtualIPSchema, [field('NetworkID', 'networkId', text), field('Addr', 'addr', text)]);

/** Docker prints an endpoint without a spec as `"Spec": {}`. */
const optionalSpec = {
  encode: (
    message: { spec?: Parameters<typeof endpointSpec.encode>[0] | undefined },
    json: Record<string, unknown>,
  ) => {
    json.Spec = message.spec === undefined ? {} : endpointSpec.encode(message.spec);
  },
  decode: struct('Spec', 'spec', EndpointSpecSchema, endpointSpec).decode,
};

const endpointTable = table(EndpointSchema, [
  optionalSpec,
  field('Ports', 'ports', list(portConfig)),
  field('VirtualIPs', 'virtualIps', list(virtualIp)),
]);

export const endpoint = {
  encode: (
    message: { endpoint?: Parameters<typeof endpointTable.encode>[0] | undefined },
    json: Record<string, unknown>,
  ) => {
    json.Endpoint = message.endpoint === undefined ? { Spec: {} } : endpointTable.encode(message.endpoint);
  },
  decode: struct('Endpoint', 'endpoint', EndpointSchema, endpointTable).decode,
};
