/** Containers as lists and inspections show them: the runtime's facts and the networks' together. */
import type { ContainerInspect, ContainerState } from '../../container/types.ts';
import type { PlainNetworking } from '../../local/types.ts';
import type { EndpointState, SandboxState } from '../../overlay/types.ts';
import { zeroTime } from '../convert/values.ts';
import type { JsonObject } from '../json.ts';
import type { Engine } from '../types.ts';
import { humanDuration } from '../units.ts';
import { predefinedId } from './network.ts';

const shortIdLength = 12;
/** Before API 1.45 the short ID stood among the aliases; now it is in DNSNames. */
const plainAliasesSince = 45;

/** @returns one element of GET /containers/json. */
export function containerSummary(engine: Engine, container: ContainerInspect, options: { size: boolean }): JsonObject {
  const summary: JsonObject = {
    Id: container.Id,
    Names: [container.Name],
    Image: container.Config.Image,
    ImageID: container.Image,
    Command: commandLine(container),
    Created: Math.floor(Date.parse(container.Created) / 1000),
    Ports: portList(engine, container),
    Labels: container.Config.Labels,
    State: container.State.Status,
    Status: statusText(container.State, Date.now()),
    HostConfig: { NetworkMode: container.HostConfig.NetworkMode ?? 'default' },
    NetworkSettings: { Networks: networksOf(engine, container, plainAliasesSince) },
    Mounts: container.Mounts,
  };
  if (options.size) {
    summary.SizeRw = container.SizeRw ?? 0;
    summary.SizeRootFs = container.SizeRootFs ?? 0;
  }
  return summary;
}

/** Path and arguments; an argument with a space stands in quotes (moby daemon/list.go). */
function commandLine({ Path, Args }: ContainerInspect): string {
  return [Path, ...Args.map((argument) => (/ /.test(argument) ? `'${argument}'` : argument))].join(' ');
}

/** @returns `Up 5 minutes (healthy)`, `Exited (0) 3 seconds ago`, … (moby container/state.go: String). */
export function statusText(state: ContainerState, nowMs: number): string {
  const since = (time: string): string => humanDuration(nowMs - Date.parse(time));
  if (state.Restarting) return `Restarting (${state.ExitCode}) ${since(state.FinishedAt)} ago`;
  if (state.Running) {
    if (state.Paused) return `Up ${since(state.StartedAt)} (Paused)`;
    return `Up ${since(state.StartedAt)}${healthText(state)}`;
  }
  if (state.Status === 'removing') return 'Removal In Progress';
  if (state.Dead) return 'Dead';
  if (state.StartedAt === zeroTime) return 'Created';
  if (state.FinishedAt === zeroTime) return '';
  return `Exited (${state.ExitCode}) ${since(state.FinishedAt)} ago`;
}

function healthText({ Health }: ContainerState): string {
  if (Health === undefined || Health.Status === 'none') return '';
  return Health.Status === 'starting' ? ' (health: starting)' : ` (${Health.Status})`;
}

/** @returns GET /containers/{id}/json. */
export function containerDetails(engine: Engine, container: ContainerInspect, apiVersion: number): JsonObject {
  const { networkNamespace: _ours, ...shown } = container;
  // While it waits for its next start, Docker calls a container running.
  const State = container.State.Restarting ? { ...container.State, Running: true } : container.State;
  return { ...shown, State, NetworkSettings: networkSettings(engine, container, apiVersion) };
}

function networkSettings(engine: Engine, container: ContainerInspect, apiVersion: number): JsonObject {
  const id = container.Id;
  const sandbox = engine.networking.sandbox(id);
  const plain = engine.local.networking(id);
  const bridge = plain?.endpoints.find(({ networkName }) => networkName === 'bridge')?.endpoint;
  const [address = '', prefix = '0'] = bridge?.address.split('/') ?? [];
  return {
    Bridge: '',
    SandboxID: sandbox?.sandboxId ?? '',
    SandboxKey: sandbox?.networkNamespace ?? '',
    Ports: portMap(engine, container),
    HairpinMode: false,
    LinkLocalIPv6Address: '',
    LinkLocalIPv6PrefixLen: 0,
    SecondaryIPAddresses: null,
    SecondaryIPv6Addresses: null,
    EndpointID: bridge?.id ?? '',
    Gateway: bridge?.gateway ?? '',
    GlobalIPv6Address: '',
    GlobalIPv6PrefixLen: 0,
    IPAddress: address,
    IPPrefixLen: Number(prefix),
    IPv6Gateway: '',
    MacAddress: bridge?.mac ?? '',
    Networks: networksOf(engine, container, apiVersion),
  };
}

type EndpointSettings = JsonObject & { readonly NetworkID: string };
type PortMap = Record<string, { HostIp: string; HostPort: string }[] | null>;

/** Ports by container port: `{"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "443/tcp": null}`. */
function portMap(engine: Engine, { Id, Config }: ContainerInspect): PortMap {
  const plain = engine.local.networking(Id);
  const isOnBridge =
    plain === undefined
      ? engine.networking.sandbox(Id)?.gateway !== undefined
      : plain.endpoints.some(({ endpoint }) => endpoint !== undefined);
  // Without a bridge nothing could be published, and Docker does not show what is exposed.
  const exposed = isOnBridge ? Object.keys(Config.ExposedPorts ?? {}) : [];
  const map: PortMap = Object.fromEntries(exposed.map((key) => [key, null]));
  for (const { protocol, containerPort, hostAddress, hostPort } of plain?.ports ?? engine.taskPorts(Id)) {
    const key = `${containerPort}/${protocol}`;
    map[key] = [...(map[key] ?? []), { HostIp: hostAddress, HostPort: String(hostPort) }];
  }
  return map;
}

/** A port as GET /containers/json shows it; one that is only exposed has no `PublicPort`. */
export type ShownPort = JsonObject & {
  readonly PrivatePort: number;
  readonly PublicPort?: number;
  readonly Type: string;
};

/** @returns the ports that a container exposes or publishes. */
export function portList(engine: Engine, container: ContainerInspect): ShownPort[] {
  return Object.entries(portMap(engine, container)).flatMap(([key, bindings]) => {
    const [port, Type = 'tcp'] = key.split('/');
    const exposed = { PrivatePort: Number(port), Type };
    return (
      bindings?.map(({ HostIp, HostPort }) => ({ IP: HostIp, ...exposed, PublicPort: Number(HostPort) })) ?? [exposed]
    );
  });
}

/** @returns whether the container is on the network of that name or ID. */
export function isOnNetwork(engine: Engine, container: ContainerInspect, network: string): boolean {
  return Object.entries(networksOf(engine, container, plainAliasesSince)).some(
    ([name, settings]) => name === network || settings.NetworkID.startsWith(network),
  );
}

function networksOf(
  engine: Engine,
  { Id: id, HostConfig }: ContainerInspect,
  apiVersion: number,
): Record<string, EndpointSettings> {
  const sandbox = engine.networking.sandbox(id);
  const plain = engine.local.networking(id);
  if (plain !== undefined) return plainNetworks(engine, plain, id, apiVersion);
  if (HostConfig.NetworkMode === 'host') return { host: unplaced(predefinedId(engine, 'host')) };
  return Object.fromEntries(
    (sandbox?.endpoints ?? []).map((endpoint) => [
      endpoint.network.name,
      endpointSettings(endpoint, sandbox, apiVersion),
    ]),
  );
}

/** A plain container shows its networks also while it does not run. */
function plainNetworks(
  engine: Engine,
  plain: PlainNetworking,
  id: string,
  apiVersion: number,
): Record<string, EndpointSettings> {
  if (plain.mode === 'none' || plain.mode === 'host')
    return { [plain.mode]: unplaced(predefinedId(engine, plain.mode)) };
  return Object.fromEntries(
    plain.endpoints.map(({ networkName, networkId, requested, endpoint }) => {
      const [address = '', prefix = '0'] = endpoint?.address.split('/') ?? [];
      const shortId = id.slice(0, shortIdLength);
      const aliases =
        apiVersion < plainAliasesSince && networkName !== 'bridge'
          ? [...requested.aliases, shortId]
          : requested.aliases;
      const settings: EndpointSettings = {
        ...unplaced(networkId),
        IPAMConfig: ipamConfig(requested.ipv4Address, requested.ipv6Address),
        Aliases: aliases.length > 0 ? [...new Set(aliases)] : null,
        MacAddress: endpoint?.mac ?? '',
        EndpointID: endpoint?.id ?? '',
        Gateway: endpoint?.gateway ?? '',
        IPAddress: address,
        IPPrefixLen: Number(prefix),
        IPv6Gateway: endpoint?.ipv6Gateway ?? '',
        ...globalIpv6(endpoint?.ipv6Address),
      };
      return [networkName, settings];
    }),
  );
}

function ipamConfig(ipv4: string, ipv6 = ''): JsonObject | null {
  if (ipv4 === '' && ipv6 === '') return null;
  return { ...(ipv4 !== '' && { IPv4Address: ipv4 }), ...(ipv6 !== '' && { IPv6Address: ipv6 }) };
}

function globalIpv6(cidr: string | undefined): JsonObject {
  const [address = '', prefix = '0'] = cidr?.split('/') ?? [];
  return { GlobalIPv6Address: address, GlobalIPv6PrefixLen: Number(prefix) };
}

function unplaced(networkId: string): EndpointSettings {
  return {
    IPAMConfig: null,
    Links: null,
    Aliases: null,
    MacAddress: '',
    DriverOpts: null,
    GwPriority: 0,
    NetworkID: networkId,
    EndpointID: '',
    Gateway: '',
    IPAddress: '',
    IPPrefixLen: 0,
    IPv6Gateway: '',
    GlobalIPv6Address: '',
    GlobalIPv6PrefixLen: 0,
    DNSNames: null,
  };
}

/** Docker's EndpointSettings. An overlay endpoint has no gateway: the way out is docker_gwbridge. */
function endpointSettings(
  endpoint: EndpointState,
  sandbox: SandboxState | undefined,
  apiVersion: number,
): EndpointSettings {
  const [address = '', prefix = '0'] = endpoint.address.split('/');
  const shortId = sandbox?.containerId.slice(0, shortIdLength) ?? '';
  return {
    IPAMConfig: ipamConfig(address, endpoint.ipv6Address?.split('/')[0]),
    Links: null,
    Aliases: apiVersion < plainAliasesSince ? [...new Set([...endpoint.aliases, shortId])] : [...endpoint.aliases],
    MacAddress: endpoint.mac,
    DriverOpts: null,
    GwPriority: 0,
    NetworkID: endpoint.network.id,
    EndpointID: endpoint.id,
    Gateway: '',
    IPAddress: address,
    IPPrefixLen: Number(prefix),
    IPv6Gateway: '',
    ...globalIpv6(endpoint.ipv6Address),
    DNSNames: [...new Set([sandbox?.containerName ?? '', ...endpoint.aliases, shortId])].filter((name) => name !== ''),
  };
}
