/** swarmkit's Network as tasks show it (`NetworksAttachments`), and Docker's network create → NetworkSpec. */
import { create } from '@bufbuild/protobuf';
import { NetworkAttachmentSchema, NetworkSchema } from '../../swarm/gen/objects_pb.js';
import { type NetworkSpec, NetworkSpecSchema } from '../../swarm/gen/specs_pb.js';
import { DriverSchema, type IPAMConfig, IPAMConfigSchema, IPAMOptionsSchema } from '../../swarm/gen/types_pb.js';
import { always, type Field, field, optional, struct, table } from './codec.ts';
import { annotations, driver, meta } from './common.ts';
import { flag, list, strings, text } from './values.ts';

const ipamConfig = table(IPAMConfigSchema, [
  field('Subnet', 'subnet', text),
  field('Range', 'range', text),
  field('Gateway', 'gateway', text),
]);

const ipam = table(IPAMOptionsSchema, [
  struct('Driver', 'driver', DriverSchema, driver),
  field('Configs', 'configs', list(ipamConfig)),
]);

const configFromAndScope: Field<NetworkSpec> = {
  encode: ({ configFrom }, json) => {
    if (configFrom.case === 'network') json.ConfigFrom = { Network: configFrom.value };
    json.Scope = 'swarm';
  },
  decode: () => {},
};

const networkSpec = table(NetworkSpecSchema, [
  annotations,
  optional('DriverConfiguration', 'driverConfig', driver),
  field('IPv6Enabled', 'ipv6Enabled', flag),
  field('Internal', 'internal', flag),
  field('Attachable', 'attachable', flag),
  field('Ingress', 'ingress', flag),
  optional('IPAMOptions', 'ipam', ipam),
  configFromAndScope,
]);

const network = table(NetworkSchema, [
  always('ID', 'id', text),
  meta,
  struct('Spec', 'spec', NetworkSpecSchema, networkSpec),
  struct('DriverState', 'driverState', DriverSchema, driver),
  optional('IPAMOptions', 'ipam', ipam),
]);

/** One network that a task is on. */
export const networkAttachment = table(NetworkAttachmentSchema, [
  struct('Network', 'network', NetworkSchema, network),
  field('Addresses', 'addresses', strings),
]);

/** The body of POST /networks/create that becomes a swarm network, already checked. */
export interface NetworkCreate {
  readonly Name: string;
  readonly Driver: string;
  readonly EnableIPv6: boolean;
  readonly Internal: boolean;
  readonly Attachable: boolean;
  readonly Ingress: boolean;
  readonly IPAM: NetworkCreateIpam | undefined;
  readonly Options: Readonly<Record<string, string>>;
  readonly Labels: Readonly<Record<string, string>>;
}
export interface NetworkCreateIpam {
  readonly Driver: string;
  readonly Options: Readonly<Record<string, string>>;
  readonly Config: readonly {
    readonly Subnet: string;
    readonly IPRange: string;
    readonly Gateway: string;
    readonly AuxiliaryAddresses: Readonly<Record<string, string>>;
  }[];
}

/** @returns the spec for the manager (convert.BasicNetworkCreateToGRPC). */
export function networkCreateToSpec(body: NetworkCreate): NetworkSpec {
  return create(NetworkSpecSchema, {
    annotations: { name: body.Name, labels: { ...body.Labels } },
    driverConfig: { name: body.Driver, options: { ...body.Options } },
    ipv6Enabled: body.EnableIPv6,
    internal: body.Internal,
    attachable: body.Attachable,
    ingress: body.Ingress,
    ipam: body.IPAM && {
      driver: { name: body.IPAM.Driver || 'default', options: { ...body.IPAM.Options } },
      configs: body.IPAM.Config.map(ipamConfigToSpec),
    },
  });
}

/** @returns one subnet that is asked for. */
export function ipamConfigToSpec(config: NetworkCreateIpam['Config'][number]): IPAMConfig {
  return create(IPAMConfigSchema, {
    subnet: config.Subnet,
    range: config.IPRange,
    gateway: config.Gateway,
    reserved: { ...config.AuxiliaryAddresses },
  });
}
