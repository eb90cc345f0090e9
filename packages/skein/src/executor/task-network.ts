import type { BalancedClient, HostPort, LoadBalancer, PortTarget, ReturnPathSpec } from '../balancer/types.ts';
import { SkeinError } from '../common/index.ts';
import { mayFilterPackets } from '../container/index.ts';
import type { Discovery, PublishedEndpoint, ResolvConfOptions, Resolver } from '../discovery/types.ts';
import { subnetsOf } from '../overlay/index.ts';
import type { EndpointSpec, GatewayEndpoint, OverlayDriver, SandboxSpec, SandboxState } from '../overlay/types.ts';
import type { Task } from '../swarm/gen/objects_pb.js';
import type { ContainerSpec } from '../swarm/gen/specs_pb.js';
import { type PortConfig, PortConfig_PublishMode } from '../swarm/gen/types_pb.js';
import { hostPortsOf, protocolName } from './host-ports.ts';
import { twinAddress, withIpv6Twin } from './ingress-twin.ts';
import { taskNameOf } from './names.ts';
import { endpointAddresses, isIpv6, isOverlay, overlayNetworkOf, plainAddress } from './overlay-network.ts';

/** Label of a service: `masquerade` has every entrance of the mesh put its own address in the client's place, as Docker does. */
const ingressSourceLabel = 'skein.ingress.source';
const masqueradedSource = 'masquerade';
/** What libnetwork writes for a service without a virtual IP: how Go prints a nil address. */
const noVirtualIp = '<nil>';

/** Resolver settings of this host, from its /etc/resolv.conf. */
export interface HostResolver extends ResolvConfOptions {
  readonly nameservers: readonly string[];
}

/** A task's networks on this host: its sandbox, its names, its records. Each step is idempotent. */
export class TaskNetwork {
  readonly #overlay: OverlayDriver;
  readonly #discovery: Discovery;
  readonly #balancer: LoadBalancer;
  /** Container ID → tells again what is known of a task that takes traffic. BOUNDED by the containers of this host. */
  readonly #publications = new Map<string, () => void>();

  constructor(overlay: OverlayDriver, discovery: Discovery, balancer: LoadBalancer) {
    this.#overlay = overlay;
    this.#discovery = discovery;
    this.#balancer = balancer;
  }

  /** Makes the sandbox, starts its name server and balances what it sends to virtual IPs. */
  async prepare(task: Task, containerId: string, host: HostResolver): Promise<SandboxState> {
    const sandbox = await this.#overlay.createSandbox(sandboxSpec(task, containerId, this.#overlay.hasIpv6()));
    await this.#serve(task, sandbox, host);
    return sandbox;
  }

  /** Name server and virtual IPs of a sandbox that an earlier daemon made; no sandbox = nothing to do. */
  async resume(task: Task, containerId: string, host: HostResolver): Promise<void> {
    const sandbox = this.#overlay.sandbox(containerId);
    if (sandbox) await this.#serve(task, sandbox, host);
  }

  async #serve(task: Task, sandbox: SandboxState, host: HostResolver): Promise<void> {
    const onIpv6 = (): void => this.#publications.get(sandbox.containerId)?.();
    this.#balancer.attach({ ...clientOf(task, sandbox), onIpv6 });
    await this.#discovery.attach(resolverOf(task, sandbox, host));
  }

  /** Opens the ports of mode `host`. @throws SkeinError FailedPrecondition naming who has one. */
  async openPorts(task: Task, containerId: string): Promise<void> {
    const ports = hostPortsOf(task);
    if (ports.length === 0) return;
    const gateway = this.#overlay.sandbox(containerId)?.gateway;
    if (gateway === undefined)
      throw new SkeinError(
        'FailedPrecondition',
        `ports of mode host need docker_gwbridge, and the task is on internal networks only`,
      );
    const target = { containerId, name: `task ${taskNameOf(task)}`, ...waysTo(gateway) };
    await this.#balancer.openPorts(target, ports.map(balancedPort));
  }

  /** @returns the ports of mode `host` that are open, with their published ports. */
  openedPorts(task: Task, containerId: string): PortConfig[] {
    const opened = this.#balancer.ports(containerId);
    return hostPortsOf(task).flatMap((port, index) => {
      const publishedPort = opened[index]?.publishedPort;
      return publishedPort === undefined ? [] : [{ ...port, publishedPort }];
    });
  }

  /** Names and records from now on: the task takes traffic. */
  publish(task: Task, containerId: string, hostname: string): void {
    this.#publications.set(containerId, () => this.#publish(task, containerId, hostname));
    this.#publish(task, containerId, hostname);
  }

  #publish(task: Task, containerId: string, hostname: string): void {
    const sandbox = this.#overlay.sandbox(containerId);
    for (const endpoint of sandbox?.endpoints ?? []) {
      const published = publishedEndpoint(task, containerId, hostname, endpoint);
      if (!endpoint.network.ingress) {
        this.#discovery.publish(published);
        continue;
      }
      const endpointIpv6 = this.#balancer.takesIpv6(containerId) ? published.endpointIpv6 : undefined;
      const returnsToEntrance = this.#balancer.returnsToEntrance(containerId);
      this.#discovery.publish({ ...published, endpointIpv6, returnsToEntrance });
    }
  }

  /** No new traffic. @returns whether there was an endpoint to disable. */
  disable(containerId: string): boolean {
    this.#publications.delete(containerId);
    const endpoints = this.#overlay.sandbox(containerId)?.endpoints ?? [];
    for (const endpoint of endpoints) this.#discovery.disable(endpoint.id);
    return endpoints.length > 0;
  }

  /** Takes back names, records and the sandbox. */
  async release(containerId: string): Promise<void> {
    this.#publications.delete(containerId);
    for (const endpoint of this.#overlay.sandbox(containerId)?.endpoints ?? []) this.#discovery.withdraw(endpoint.id);
    await this.#discovery.detach(containerId);
    this.#balancer.closePorts(containerId);
    this.#balancer.detach(containerId);
    await this.#overlay.removeSandbox(containerId);
    this.#balancer.retainPorts(gatewayAddresses(this.#overlay));
  }
}

/** @returns the addresses to which ports of this host may lead: those of sandboxes on docker_gwbridge. */
export function gatewayAddresses(overlay: OverlayDriver): ReadonlySet<string> {
  return new Set(overlay.sandboxes().flatMap(({ gateway }) => (gateway ? [plainAddress(gateway.address)] : [])));
}

function sandboxSpec(task: Task, containerId: string, hasIpv6: boolean): SandboxSpec {
  const endpoints: EndpointSpec[] = [];
  for (const attachment of task.networks) {
    if (!attachment.network || !isOverlay(attachment.network)) continue;
    const given = overlayNetworkOf(attachment.network);
    const network = hasIpv6 ? withIpv6Twin(given) : given;
    const addresses = endpointAddresses(network, attachment.addresses);
    if (!addresses)
      throw new Error(`task ${task.id} has no address on network ${attachment.network.spec?.annotations?.name}`);
    const twin = network.ingress ? twinAddress(network, addresses.address) : undefined;
    endpoints.push({ network, ...addresses, ...(twin && { ipv6Address: twin }), aliases: attachment.aliases });
  }
  // A task on internal networks only stays inside; one without any network still reaches the outside.
  const gateway =
    endpoints.every((endpoint) => endpoint.network.ingress) ||
    endpoints.some((endpoint) => !endpoint.network.internal && !endpoint.network.ingress);
  return { containerId, containerName: taskNameOf(task), endpoints, gateway };
}

function resolverOf(task: Task, sandbox: SandboxState, host: HostResolver): Resolver {
  const own = containerSpecOf(task)?.dnsConfig?.nameservers ?? [];
  const upstream =
    own.length > 0
      ? own.map((address) => ({ address, fromContainer: true }))
      : host.nameservers.map((address) => ({ address, fromContainer: false }));
  const names = sandbox.endpoints.filter((endpoint) => !endpoint.network.ingress);
  return {
    containerId: sandbox.containerId,
    networkNamespace: sandbox.networkNamespace,
    networks: names.map((endpoint) => ({ id: endpoint.network.id, name: endpoint.network.name })),
    upstream,
    internalOnly: sandbox.gateway === undefined,
  };
}

function publishedEndpoint(
  task: Task,
  containerId: string,
  hostname: string,
  endpoint: SandboxState['endpoints'][number],
): PublishedEndpoint {
  const virtualIps = (task.endpoint?.virtualIps ?? []).filter(({ networkId }) => networkId === endpoint.network.id);
  const virtualIp = virtualIps.find(({ addr }) => !isIpv6(addr))?.addr;
  const virtualIpv6 = endpoint.ipv6Address && virtualIps.find(({ addr }) => isIpv6(addr))?.addr;
  const ports = endpoint.network.ingress ? (task.endpoint?.ports ?? []) : [];
  const shortId = containerId.slice(0, 12);
  return {
    id: endpoint.id,
    networkId: endpoint.network.id,
    name: taskNameOf(task),
    serviceName: task.serviceAnnotations?.name ?? '',
    serviceId: task.serviceId,
    virtualIp: virtualIp ? plainAddress(virtualIp) : noVirtualIp,
    endpointIp: plainAddress(endpoint.address),
    virtualIpv6: virtualIpv6 && plainAddress(virtualIpv6),
    endpointIpv6: endpoint.ipv6Address && plainAddress(endpoint.ipv6Address),
    ingressPorts: ports.filter((port) => port.publishMode === PortConfig_PublishMode.INGRESS).map(ingressPort),
    aliases: endpoint.aliases,
    taskAliases: hostname === shortId ? [shortId] : [shortId, hostname],
  };
}

function clientOf(task: Task, sandbox: SandboxState): BalancedClient {
  const spec = containerSpecOf(task);
  const ingress = sandbox.endpoints.find((endpoint) => endpoint.network.ingress);
  const ports = (task.endpoint?.ports ?? []).filter((port) => port.publishMode === PortConfig_PublishMode.INGRESS);
  return {
    containerId: sandbox.containerId,
    networkNamespace: sandbox.networkNamespace,
    networks: sandbox.endpoints
      .filter((endpoint) => !endpoint.network.ingress)
      .map(({ network }) => ({ id: network.id, subnets: subnetsOf(network) })),
    filtersPackets: mayFilterPackets({ CapAdd: spec?.capabilityAdd ?? [], CapDrop: spec?.capabilityDrop ?? [] }),
    ingress: ingress && {
      address: plainAddress(ingress.address),
      ipv6Address: ingress.ipv6Address && sandbox.gateway?.ipv6Address && plainAddress(ingress.ipv6Address),
      ports: ports.map(balancedPort),
      returnPath: returnPathOf(task, sandbox, ingress),
    },
  };
}

/** @returns undefined for a service that wants the mesh as Docker has it, and for a task without a way to the outside. */
function returnPathOf(
  task: Task,
  { gateway }: SandboxState,
  { address, ipv6Address, interfaceName }: SandboxState['endpoints'][number],
): ReturnPathSpec | undefined {
  const source = task.serviceAnnotations?.labels[ingressSourceLabel];
  if (source === masqueradedSource || gateway === undefined) return undefined;
  const path = { interfaceName, subnet: address, gatewayAddress: plainAddress(gateway.address) };
  if (ipv6Address === undefined || gateway.ipv6Address === undefined) return path;
  return { ...path, ipv6: { subnet: ipv6Address, gatewayAddress: plainAddress(gateway.ipv6Address) } };
}

function waysTo({ address, ipv6Address }: GatewayEndpoint): Pick<PortTarget, 'address' | 'ipv6Address'> {
  return { address: plainAddress(address), ...(ipv6Address && { ipv6Address: plainAddress(ipv6Address) }) };
}

function balancedPort({ protocol, targetPort, publishedPort }: PortConfig): HostPort {
  return { protocol: protocolName[protocol], targetPort, publishedPort };
}

function ingressPort(port: PortConfig): PublishedEndpoint['ingressPorts'][number] {
  return {
    name: port.name,
    protocol: protocolName[port.protocol],
    targetPort: port.targetPort,
    publishedPort: port.publishedPort,
  };
}

/** @returns the container spec of a task; undefined for other runtimes. */
export function containerSpecOf(task: Task): ContainerSpec | undefined {
  return task.spec?.runtime.case === 'container' ? task.spec.runtime.value : undefined;
}
