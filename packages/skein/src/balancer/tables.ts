/** What each table of this room should be: in a client's namespace, at the mesh's entrance, on the host. Pure. */
import { isIPv6 } from 'node:net';
import type { Branch, DispatchTable, TableName } from './dispatch.ts';
import { markAnswer, markConnection, markPacket } from './entrance-mark.ts';
import {
  type AddressFamily,
  accept,
  addressType,
  BaseBuilder,
  balance,
  beyondLink,
  dispatchByAddress,
  dispatchByPort,
  drop,
  fromLoopback,
  fromSubnet,
  hasSocket,
  incoming,
  incomingOther,
  isControl,
  isNew,
  isTranslated,
  leadTo,
  masquerade,
  notFromLoopback,
  notToLoopback,
  notTracked,
  outgoing,
  placeOf,
  portElement,
  portKeyType,
  priority,
  redirectTo,
  refuse,
  sourceTranslation,
  toAddress,
  toLoopback,
  toPort,
  toSubnet,
  toThisHost,
  transport,
} from './rules.ts';
import { portKey, type ServiceKey } from './service-table.ts';
import type { EntranceAddresses, IngressEntrance, IngressTarget, PortProtocol, ReturnPathSpec } from './types.ts';

/** In containers and at the entrance. The host's own `skein` is the overlay room's. */
export const namespaceTable: TableName = { family: 'ip', name: 'skein' };
/** In containers on a network with IPv6. */
export const ipv6NamespaceTable: TableName = { family: 'ip6', name: 'skein' };
export const hostPortsTable: TableName = { family: 'ip', name: 'skein-ports' };
export const ipv6HostPortsTable: TableName = { family: 'ip6', name: 'skein-ports' };
const servicesMap = 'services';
/** Virtual IPs without a task. */
const refusedMap = 'refused';
/** Virtual IPs in a table that leaves other connections untracked. */
const trackedMap = 'tracked';
const portsMap = 'ports';
/** Tasks that answer to the entrance that asked. */
const returningMap = 'returning';
const protocols: readonly PortProtocol[] = ['tcp', 'udp', 'sctp'];
/** An SCTP association names its own addresses to the other side, which knows no way to them. */
const returnedProtocols: readonly PortProtocol[] = ['tcp', 'udp'];

/** @returns the service that a chain of a virtual IP or a port is for; undefined for other chains. */
export function serviceOfChain(chain: string): ServiceKey | undefined {
  return /^(?:vip|port)-(.+)$/.exec(chain)?.[1]?.replaceAll('_', ':');
}

/** nft's language has no colons in names, and people read and write tables in it. */
const chainOfAddress = (kind: string, address: string): string => `${kind}-${address.replaceAll(':', '_')}`;

const returningChain = (address: string): string => chainOfAddress('returning', address);
/** @returns the address of the task that the chain is for; undefined for other chains. */
export function returningOfChain(chain: string): string | undefined {
  return /^returning-(.+)$/.exec(chain)?.[1]?.replaceAll('_', ':');
}

const translation = (hook: 'prerouting' | 'output') => ({ type: 'nat', hook, prio: priority.destinationNat }) as const;
const sourceNat = { type: 'nat', hook: 'postrouting', prio: priority.sourceNat } as const;

/**
 * A container's table: what it sends to a virtual IP goes to one of the tasks, and what the mesh sends to its published
 * ports goes to its target ports.
 * @param untracked subnets, in CIDR notation, within which TCP connections are not tracked: of a container whose
 * connections to virtual IPs bear the task's address already when they are made.
 */
export function clientTable(
  containerId: string,
  services: ReadonlyMap<ServiceKey, readonly string[]>,
  ingress: IngressTarget | undefined,
  untracked: readonly string[] = [],
): DispatchTable {
  const { base, branches } = virtualIps('ip', containerId, services, untracked.length > 0 ? trackedMap : undefined);
  if (untracked.length > 0) addUntracked(base, untracked);
  if (ingress !== undefined) addIngress(base, branches, ingress, ingress.address, ingress.returnPath);
  return { ...namespaceTable, base: base.objects, branches };
}

/** The same for IPv6. */
export function ipv6ClientTable(
  containerId: string,
  services: ReadonlyMap<ServiceKey, readonly string[]>,
  ingress: IngressTarget | undefined,
): DispatchTable {
  const { base, branches } = virtualIps('ip6', containerId, services);
  if (ingress?.ipv6Address !== undefined) {
    addIngress(base, branches, ingress, ingress.ipv6Address, ipv6ReturnPath(ingress.returnPath));
  }
  return { ...ipv6NamespaceTable, base: base.objects, branches };
}

function virtualIps(
  family: AddressFamily,
  containerId: string,
  services: ReadonlyMap<ServiceKey, readonly string[]>,
  acceptedIn?: string,
): { base: BaseBuilder; branches: Map<string, Branch> } {
  const place = placeOf(containerId);
  const base = new BaseBuilder({ ...namespaceTable, family })
    .dispatch(servicesMap, addressType[family])
    .dispatch(refusedMap, addressType[family])
    .chain('output', translation('output'), [dispatchByAddress(servicesMap, family)])
    .chain('refusal', { type: 'filter', hook: 'output', prio: priority.filter }, [
      dispatchByAddress(refusedMap, family),
    ]);
  const branches = new Map<string, Branch>();
  for (const [key, tasks] of services) {
    const rules = tasks.length === 0 ? refuse(family) : balance(tasks, place);
    const [kind, map] = tasks.length === 0 ? (['refuse', refusedMap] as const) : (['vip', servicesMap] as const);
    branches.set(chainOfAddress(kind, key), { map, key, acceptedIn, rules });
  }
  return { base, branches };
}

/**
 * Tracking costs a connection between containers a tenth of its time, and only what is translated needs it: what is sent
 * to a virtual IP all the same, by a process outside the container's cgroup, and its answers, which no socket expects.
 */
function addUntracked(base: BaseBuilder, subnets: readonly string[]): void {
  const tcp = transport('tcp');
  const raw = { type: 'filter', prio: priority.raw } as const;
  base
    .dispatch(trackedMap, addressType.ip)
    .chain(
      'sent',
      { ...raw, hook: 'output' },
      [dispatchByAddress(trackedMap)],
      // To itself by a virtual IP: on this way back there is nothing that tells a translated connection.
      ...subnets.map((subnet) => [notToLoopback, tcp, toSubnet(subnet), notTracked]),
    )
    .chain(
      'received',
      { ...raw, hook: 'prerouting' },
      ...subnets.map((subnet) => [notFromLoopback, tcp, fromSubnet(subnet), hasSocket, notTracked]),
    );
}

const ipv6ReturnPath = (path: ReturnPathSpec | undefined): ReturnPathSpec | undefined =>
  path?.ipv6 && { ...path, ...path.ipv6 };

/** Published to target port; on the ingress network nothing but target ports can be reached. */
function addIngress(
  base: BaseBuilder,
  branches: Map<string, Branch>,
  { ports, returnPath: whole }: IngressTarget,
  address: string,
  returnPath: ReturnPathSpec | undefined,
): void {
  const here = toAddress(address);
  if (returnPath !== undefined && whole !== undefined) addReturnPath(base, returnPath, whole.subnet);
  const targets = [...new Map(ports.map((port) => [portKey(port.protocol, port.targetPort), port])).values()];
  base
    .dispatch(portsMap, portKeyType)
    .chain('prerouting', translation('prerouting'), [here, dispatchByPort(portsMap)])
    .chain(
      'input',
      { type: 'filter', hook: 'input', prio: priority.filter },
      ...targets.map(({ protocol, targetPort }) => [here, toPort(protocol, targetPort), accept]),
      [here, transport(protocols), isNew, drop],
    );
  for (const { protocol, publishedPort, targetPort } of ports) {
    // In IPv6 a link has several addresses: it is said which.
    const rules = isIPv6(address) ? [leadTo(address, protocol, targetPort)] : [redirectTo(protocol, targetPort)];
    // A datagram's answer bears the address of the way out: so that is where the question must go.
    if (returnPath !== undefined && protocol === 'udp') {
      rules.unshift([fromSubnet(returnPath.subnet, '!='), ...leadTo(returnPath.gatewayAddress, protocol, targetPort)]);
    }
    branches.set(portChain(protocol, publishedPort), {
      map: portsMap,
      key: portElement(protocol, publishedPort),
      rules,
    });
  }
}

/**
 * What comes from another network over the ingress network is a client of an entrance, and is answered to that.
 * @param marks the ingress network's subnet of IPv4, by which entrances are told apart in both families.
 */
function addReturnPath(base: BaseBuilder, { interfaceName, subnet }: ReturnPathSpec, marks: string): void {
  const asked = [incoming(interfaceName), fromSubnet(subnet, '!=')];
  const before = { type: 'filter', hook: 'prerouting' } as const;
  base
    .chain('questions', { ...before, prio: priority.raw }, [...asked, ...markPacket])
    .chain('connections', { ...before, prio: priority.mangle }, [...asked, isNew, markConnection])
    .chain('answers', { type: 'route', hook: 'output', prio: priority.mangle }, markAnswer(marks));
}

/**
 * The entrance's table: what the host sends to a published port goes to a task on the ingress network; with the
 * client's own address, if the task is among the `returning`, which answer to the entrance that asked, else in the name
 * of this node's load-balancer address. Clients that the host itself hides behind docker_gwbridge (a container of the
 * node, its 127.0.0.1) come in that name, too: it tells the node.
 */
export function entranceTable(
  { networkNamespace, ingressInterface, ...ipv4 }: IngressEntrance,
  ports: ReadonlyMap<ServiceKey, readonly string[]>,
  returning: readonly string[],
  addresses: EntranceAddresses = ipv4,
): DispatchTable {
  const { loadBalancerAddress, gatewaySubnet } = addresses;
  const table = isIPv6(loadBalancerAddress) ? ipv6NamespaceTable : namespaceTable;
  const family = isIPv6(loadBalancerAddress) ? 'ip6' : 'ip';
  const asNode = sourceTranslation(loadBalancerAddress);
  const base = new BaseBuilder(table)
    .dispatch(portsMap, portKeyType)
    .dispatch(returningMap, addressType[family])
    .chain('prerouting', translation('prerouting'), [toThisHost, dispatchByPort(portsMap)])
    .chain('forward', { type: 'filter', hook: 'forward', prio: priority.filter }, [isTranslated, accept], [drop])
    // A port without a task. What is refused here is no flow, so that the next packet may find one.
    .chain(
      'input',
      { type: 'filter', hook: 'input', prio: priority.filter },
      [isControl(family), accept],
      ...refuse(family).map((rule) => [incomingOther(ingressInterface), isNew, ...rule]),
    )
    .chain(
      'postrouting',
      sourceNat,
      [outgoing(ingressInterface), fromSubnet(gatewaySubnet), asNode],
      [outgoing(ingressInterface), dispatchByAddress(returningMap, family)],
      [outgoing(ingressInterface), asNode],
    );
  const place = placeOf(networkNamespace);
  const branches = new Map<string, Branch>();
  for (const address of returning) {
    const rules = [[transport(returnedProtocols), accept], [asNode]];
    branches.set(returningChain(address), { map: returningMap, key: address, rules });
  }
  for (const [service, tasks] of ports) {
    if (tasks.length === 0) continue;
    const { protocol, port } = parsePortKey(service);
    const key = portElement(protocol, port);
    branches.set(portChain(protocol, port), { map: portsMap, key, rules: balance(tasks, place) });
  }
  return { ...table, base: base.objects, branches };
}

/** A port of this host: to which address it leads, and to which port there. */
export interface Publication {
  readonly protocol: PortProtocol;
  readonly publishedPort: number;
  readonly address: string;
  readonly targetPort: number;
}

/**
 * The host's table: published ports on any of its addresses, from outside, from itself (127.0.0.1 too) and from
 * containers, lead over `bridge` to the entrance or to a container.
 */
export function hostTable(bridge: string, publications: Iterable<Publication>): DispatchTable {
  const led = [toThisHost, dispatchByPort(portsMap)];
  const base = new BaseBuilder(hostPortsTable)
    .dispatch(portsMap, portKeyType)
    // route_localnet opens 127.0.0.0/8 to the bridge, and destinations are translated before the kernel finds fault.
    .chain('early', { type: 'filter', hook: 'prerouting', prio: priority.raw }, [notFromLoopback, toLoopback, drop])
    .chain('prerouting', translation('prerouting'), led)
    .chain('output', translation('output'), led)
    .chain(
      'postrouting',
      sourceNat,
      // Answers must come back here: to 127.0.0.1, or from one port of the bridge to another.
      [outgoing(bridge), fromLoopback, masquerade],
      [incoming(bridge), outgoing(bridge), isTranslated, masquerade],
    );
  return { ...hostPortsTable, base: base.objects, branches: publicationBranches(publications) };
}

/** The same for IPv6, but for ::1. */
export function ipv6HostTable(bridge: string, publications: Iterable<Publication>): DispatchTable {
  const led = [toThisHost, ...beyondLink, dispatchByPort(portsMap)];
  const base = new BaseBuilder(ipv6HostPortsTable)
    .dispatch(portsMap, portKeyType)
    .chain('prerouting', translation('prerouting'), led)
    .chain('output', translation('output'), led)
    .chain('postrouting', sourceNat, [incoming(bridge), outgoing(bridge), isTranslated, masquerade]);
  return { ...ipv6HostPortsTable, base: base.objects, branches: publicationBranches(publications) };
}

function publicationBranches(publications: Iterable<Publication>): Map<string, Branch> {
  const branches = new Map<string, Branch>();
  for (const { protocol, publishedPort, address, targetPort } of publications) {
    const rules = [leadTo(address, protocol, targetPort)];
    branches.set(portChain(protocol, publishedPort), {
      map: portsMap,
      key: portElement(protocol, publishedPort),
      rules,
    });
  }
  return branches;
}

export const isVirtualIp = (service: ServiceKey): boolean => !service.includes('-');

/** @returns `tcp-80` in its parts. */
export function parsePortKey(service: ServiceKey): { protocol: PortProtocol; port: number } {
  const [protocol = '', port] = service.split('-');
  return { protocol: protocol as PortProtocol, port: Number(port) };
}

const portChain = (protocol: PortProtocol, port: number): string => `port-${portKey(protocol, port)}`;
