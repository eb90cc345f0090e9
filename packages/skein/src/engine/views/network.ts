/**
 * The networks that this node shows: the swarm's from the manager, where this node is one; those that stand on this
 * host; docker_gwbridge; and Docker's two predefined ones that need no driver, `host` and `none`.
 */
import { createHash } from 'node:crypto';
import type { BridgeNetwork, BridgeSubnet } from '../../local/types.ts';
import type { GatewayNetwork, LocalNetwork } from '../../overlay/types.ts';
import type { Network } from '../../swarm/gen/objects_pb.js';
import { formatTime } from '../convert/values.ts';
import type { JsonObject } from '../json.ts';
import type { Engine } from '../types.ts';

/** One network in Docker's JSON, with what the filters ask. */
export interface NetworkView {
  readonly id: string;
  readonly name: string;
  readonly scope: 'swarm' | 'local';
  readonly driver: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly created: string;
  readonly predefined: boolean;
  /** Whether a container of this node or a service is known to use it. */
  readonly inUse: boolean;
  /** A member of GET /networks. */
  summary(): JsonObject;
  /** GET /networks/{id}. */
  details(): JsonObject;
}

/** Label of the networks that the swarm keeps for `host` and `bridge` of each node (moby: predefined networks). */
const predefinedLabel = 'com.docker.swarm.predefined';
const shortIdLength = 12;

/** Members in Docker's order, with what a network has that says nothing else. */
function base(members: JsonObject): JsonObject {
  return {
    Name: '',
    Id: '',
    Created: '',
    Scope: 'local',
    Driver: '',
    EnableIPv4: true,
    EnableIPv6: false,
    IPAM: { Driver: 'default', Options: null, Config: [] },
    Internal: false,
    Attachable: false,
    Ingress: false,
    ConfigFrom: { Network: '' },
    ConfigOnly: false,
    Containers: {},
    Options: {},
    Labels: {},
    ...members,
  };
}

export function networkViews(engine: Engine): NetworkView[] {
  const local = new Map(engine.networking.networks().map((each) => [each.network.id, each]));
  const views: NetworkView[] = [];
  if (engine.swarm.status().controlAvailable) {
    const { networks, used } = engine.swarm.control().store.view((transaction) => ({
      networks: transaction.list('network'),
      used: new Set(
        transaction.list('service').flatMap((each) => each.spec?.task?.networks.map((network) => network.target) ?? []),
      ),
    }));
    for (const network of networks) {
      if (network.spec?.annotations?.labels[predefinedLabel] === 'true') continue;
      views.push(swarmView(network, local.get(network.id), used.has(network.id)));
      local.delete(network.id);
    }
  }
  for (const each of local.values()) views.push(localView(each));
  const bridges = engine.local.bridges();
  // Made when it is first needed, the default one is shown before.
  if (!bridges.some(({ name }) => name === 'bridge')) views.push(predefinedView(engine, 'bridge', 'bridge'));
  for (const bridge of bridges) views.push(bridgeView(engine, bridge));
  views.push(predefinedView(engine, 'none', 'null'), predefinedView(engine, 'host', 'host'));
  const gateway = engine.networking.gatewayNetwork();
  if (gateway !== undefined) views.push(gatewayView(gateway));
  return views;
}

/** @returns what the swarm keeps for every node's own network `host`, for services on it. Only asked for by scope; never listed. */
export function swarmHostNetwork(engine: Engine, term: string): NetworkView | undefined {
  if (!engine.swarm.status().controlAvailable) return undefined;
  const networks = engine.swarm.control().store.view((transaction) => transaction.list('network'));
  const found = networks.find(
    ({ id, spec }) =>
      spec?.annotations?.labels[predefinedLabel] === 'true' &&
      spec.annotations.name === 'host' &&
      (term === 'host' || term === id),
  );
  return found && swarmView(found, undefined, false);
}

function swarmView(network: Network, local: LocalNetwork | undefined, inUse: boolean): NetworkView {
  const { spec, ipam, driverState } = network;
  const members = {
    Name: spec?.annotations?.name ?? '',
    Id: network.id,
    Created: formatTime(network.meta?.createdAt),
    Scope: 'swarm',
    Driver: driverState?.name || spec?.driverConfig?.name || '',
    EnableIPv6: spec?.ipv6Enabled ?? false,
    IPAM: {
      Driver: ipam?.driver?.name ?? '',
      Options: emptyAsNull(ipam?.driver?.options ?? {}),
      Config:
        ipam?.configs.map((config) => ({
          Subnet: config.subnet,
          ...(config.range === '' ? {} : { IPRange: config.range }),
          ...(config.gateway === '' ? {} : { Gateway: config.gateway }),
          ...(Object.keys(config.reserved).length === 0 ? {} : { AuxiliaryAddresses: config.reserved }),
        })) ?? null,
    },
    Internal: spec?.internal ?? false,
    Attachable: spec?.attachable ?? false,
    Ingress: spec?.ingress ?? false,
  };
  const options = emptyAsNull(driverState?.options ?? {});
  const labels = spec?.annotations?.labels ?? {};
  return {
    id: network.id,
    name: members.Name,
    scope: 'swarm',
    driver: members.Driver,
    labels,
    created: members.Created,
    predefined: false,
    inUse: inUse || (local?.endpoints.length ?? 0) > 0,
    summary: () => base({ ...members, Containers: null, Options: options, Labels: emptyAsNull(labels) }),
    details: () =>
      base({
        ...members,
        Containers: local === undefined ? {} : localContainers(local),
        Options: options,
        Labels: labels,
        ...(local === undefined ? {} : { Peers: peersOf(local) }),
      }),
  };
}

/** A swarm network on a worker, as this host knows it. */
function localView(local: LocalNetwork): NetworkView {
  const { network, created } = local;
  // The ingress network's is a matter of the nodes, of which the swarm knows nothing (ADR 0010).
  const ipv6 = network.ingress ? [] : network.subnets.flatMap((subnet) => subnet.ipv6 ?? []);
  const members = {
    Name: network.name,
    Id: network.id,
    Created: created.toISOString(),
    Scope: 'swarm',
    Driver: 'overlay',
    EnableIPv6: ipv6.length > 0,
    IPAM: {
      Driver: 'default',
      Options: null,
      Config: [...network.subnets, ...ipv6].map(({ subnet, gateway }) => ({ Subnet: subnet, Gateway: gateway })),
    },
    Internal: network.internal,
    Attachable: network.attachable,
    Ingress: network.ingress,
    Options: {
      ...network.options,
      'com.docker.network.driver.overlay.vxlanid_list': network.subnets.map(({ vni }) => vni).join(','),
    },
    Labels: network.labels,
  };
  return {
    id: network.id,
    name: network.name,
    scope: 'swarm',
    driver: 'overlay',
    labels: network.labels,
    created: members.Created,
    predefined: false,
    inUse: local.endpoints.length > 0,
    summary: () => base(members),
    details: () => base({ ...members, Containers: localContainers(local), Peers: peersOf(local) }),
  };
}

function localContainers({ endpoints, loadBalancer, network }: LocalNetwork): JsonObject {
  const containers = endpoints.map(
    ({ containerId, containerName, endpoint }) => [containerId, containerEntry(containerName, endpoint)] as const,
  );
  // Docker lists the endpoint of the node's load balancer among the containers.
  if (loadBalancer !== undefined) {
    containers.push([`lb-${network.name}`, containerEntry(`${network.name}-endpoint`, loadBalancer)]);
  }
  return Object.fromEntries(containers);
}

function containerEntry(
  name: string,
  endpoint: { id: string; mac: string; address: string; ipv6Address?: string | undefined },
): JsonObject {
  return {
    Name: name,
    EndpointID: endpoint.id,
    MacAddress: endpoint.mac,
    IPv4Address: endpoint.address,
    IPv6Address: endpoint.ipv6Address ?? '',
  };
}

const peersOf = (local: LocalNetwork): JsonObject[] =>
  local.peers.map(({ name, address }) => ({ Name: name, IP: address }));

const bridgeConfig = ({ subnet, gateway, ipRange }: BridgeSubnet): JsonObject => ({
  Subnet: subnet,
  ...(ipRange && { IPRange: ipRange }),
  Gateway: gateway,
});

function bridgeView(engine: Engine, network: BridgeNetwork): NetworkView {
  const { id, name, labels, created, ipv6 } = network;
  const endpoints = engine.local.bridgeEndpoints(id);
  const members = {
    Name: name,
    Id: id,
    Created: created,
    Scope: 'local',
    Driver: 'bridge',
    EnableIPv6: ipv6 !== undefined,
    IPAM: { Driver: 'default', Options: null, Config: [network, ...(ipv6 ? [ipv6] : [])].map(bridgeConfig) },
    Internal: network.internal,
    Attachable: network.attachable,
    Options: network.options,
    Labels: labels,
  };
  return {
    id,
    name,
    scope: 'local',
    driver: 'bridge',
    labels,
    created,
    predefined: name === 'bridge',
    inUse: endpoints.length > 0,
    summary: () => base(members),
    details: () =>
      base({
        ...members,
        Containers: Object.fromEntries(
          endpoints.map(({ containerId, name: container, endpoint }) => [
            containerId,
            containerEntry(container, endpoint),
          ]),
        ),
      }),
  };
}

function gatewayView(gateway: GatewayNetwork): NetworkView {
  const members = {
    Name: gateway.name,
    Id: gateway.id,
    Created: gateway.created.toISOString(),
    Scope: 'local',
    Driver: 'bridge',
    EnableIPv6: gateway.ipv6 !== undefined,
    IPAM: {
      Driver: 'default',
      Options: null,
      Config: [gateway, ...(gateway.ipv6 ? [gateway.ipv6] : [])].map(bridgeConfig),
    },
    Options: {
      'com.docker.network.bridge.enable_icc': 'false',
      'com.docker.network.bridge.enable_ip_masquerade': 'true',
      'com.docker.network.bridge.name': gateway.name,
    },
  };
  return {
    id: gateway.id,
    name: gateway.name,
    scope: 'local',
    driver: 'bridge',
    labels: {},
    created: members.Created,
    predefined: false,
    inUse: gateway.endpoints.length > 0,
    summary: () => base(members),
    details: () =>
      base({
        ...members,
        Containers: Object.fromEntries(
          gateway.endpoints.map(({ containerId, endpoint }) => [
            containerId,
            containerEntry(`gateway_${containerId.slice(0, shortIdLength)}`, endpoint),
          ]),
        ),
      }),
  };
}

/** @returns the ID of a network that Docker has from the start: the same for the life of this engine. */
export function predefinedId({ host }: { readonly host: Pick<Engine['host'], 'id'> }, name: string): string {
  return createHash('sha256').update(`${host.id}/${name}`).digest('hex');
}

function predefinedView(engine: Engine, name: 'bridge' | 'host' | 'none', driver: string): NetworkView {
  const { host } = engine;
  const id = predefinedId(engine, name);
  const members = { Name: name, Id: id, Created: host.started.toISOString(), Driver: driver };
  return {
    id,
    name,
    scope: 'local',
    driver,
    labels: {},
    created: members.Created,
    predefined: true,
    inUse: true,
    summary: () => base(members),
    details: () => base(members),
  };
}

function emptyAsNull(map: Readonly<Record<string, string>>): Readonly<Record<string, string>> | null {
  return Object.keys(map).length === 0 ? null : map;
}
