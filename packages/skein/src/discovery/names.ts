/**
 * Who answers to which name on which network: a pure table of endpoint records, asked by the DNS server.
 * Rules: docs/protocols.md "Answers"; libnetwork resolver.go, network.go, service_common.go.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { normalizeAddress } from '@skein/netlink';
import type { EndpointRecord } from './gen/agent_pb.js';

/** The part of an EndpointRecord that names need. */
export type NamedEndpoint = Pick<
  EndpointRecord,
  'name' | 'serviceName' | 'serviceId' | 'virtualIp' | 'endpointIp' | 'aliases' | 'taskAliases' | 'serviceDisabled'
> &
  Partial<Pick<EndpointRecord, 'endpointIpv6' | 'virtualIpv6'>>;

/** A network that a container searches. */
export interface SearchedNetwork {
  readonly id: string;
  readonly name: string;
}

/** Answers with the addresses of a service's tasks instead of its virtual IP. */
const tasksPrefix = 'tasks.';

/** The names of one network, rebuilt when one of its records changes. */
interface NetworkNames {
  /** Endpoint ID → record. BOUNDED by the tasks and containers of the cluster on this network. */
  readonly records: Map<string, NamedEndpoint>;
  /** Undefined when a record has changed since. */
  index: { byName: Map<string, ReadonlySet<string>>; byAddress: Map<string, string> } | undefined;
}

export class NameTable {
  /** BOUNDED by the networks that exist on this host. */
  readonly #networks = new Map<string, NetworkNames>();

  /** Adds or replaces a record. One without a name or a readable address is left out, as libnetwork does. */
  set(networkId: string, endpointId: string, record: NamedEndpoint): void {
    if (record.name === '' || !isIPv4(record.endpointIp)) {
      this.delete(networkId, endpointId);
      return;
    }
    let network = this.#networks.get(networkId);
    if (network === undefined) {
      network = { records: new Map(), index: undefined };
      this.#networks.set(networkId, network);
    }
    network.records.set(endpointId, record);
    network.index = undefined;
  }

  delete(networkId: string, endpointId: string): void {
    const network = this.#networks.get(networkId);
    if (!network?.records.delete(endpointId)) return;
    network.index = undefined;
    if (network.records.size === 0) this.#networks.delete(networkId);
  }

  /**
   * @returns the addresses of a name, of both families, from the first network that knows it, or undefined if none does. The whole
   * name is tried on every network first; then it is split, from the right, into a name and a network's name.
   */
  addresses(name: string, networks: readonly SearchedNetwork[]): readonly string[] | undefined {
    const wanted = canonical(name);
    for (const network of networks) {
      const found = this.#index(network.id)?.byName.get(wanted);
      if (found !== undefined) return [...found];
    }
    for (let dot = wanted.lastIndexOf('.'); dot > 0; dot = wanted.lastIndexOf('.', dot - 1)) {
      const suffix = wanted.slice(dot + 1);
      for (const network of networks) {
        if (network.name.toLowerCase() !== suffix) continue;
        const found = this.#index(network.id)?.byName.get(wanted.slice(0, dot));
        if (found !== undefined) return [...found];
      }
    }
    return undefined;
  }

  /** @returns `<task or container>.<network>` (for a virtual IP `<service>.<network>`), or undefined if unknown. */
  nameOf(address: string, networks: readonly SearchedNetwork[]): string | undefined {
    for (const network of networks) {
      const found = this.#index(network.id)?.byAddress.get(normalizeAddress(address));
      if (found !== undefined) return `${found}.${network.name}`;
    }
    return undefined;
  }

  #index(networkId: string): NetworkNames['index'] {
    const network = this.#networks.get(networkId);
    if (network === undefined) return undefined;
    network.index ??= buildIndex(network.records.values());
    return network.index;
  }
}

/** DNS names compare without case and without the root's dot (RFC 4343). */
function canonical(name: string): string {
  return (name.endsWith('.') ? name.slice(0, -1) : name).toLowerCase();
}

/** @returns the addresses that can be read, IPv6 in its short form: other nodes write them. */
function addressesOf(ipv4: string, ipv6 = ''): string[] {
  return [...(isIPv4(ipv4) ? [ipv4] : []), ...(isIPv6(ipv6) && !ipv6.includes('%') ? [normalizeAddress(ipv6)] : [])];
}

function buildIndex(records: Iterable<NamedEndpoint>): NonNullable<NetworkNames['index']> {
  const byName = new Map<string, Set<string>>();
  const byAddress = new Map<string, string>();
  const add = (name: string, addresses: readonly string[]): void => {
    if (name === '') return;
    const key = canonical(name);
    const known = byName.get(key) ?? new Set();
    for (const address of addresses) known.add(address);
    byName.set(key, known);
  };
  for (const record of records) {
    // A draining task has no names: nobody new shall find it.
    if (record.serviceDisabled) continue;
    const own = addressesOf(record.endpointIp, record.endpointIpv6);
    for (const name of [record.name, ...record.taskAliases]) add(name, own);
    for (const address of own) byAddress.set(address, record.name);
    if (record.serviceId === '') {
      for (const alias of record.aliases) add(alias, own);
      continue;
    }
    const virtual = addressesOf(record.virtualIp, record.virtualIpv6);
    for (const name of [record.serviceName, ...record.aliases]) {
      if (name === '') continue;
      add(name, virtual.length > 0 ? virtual : own);
      add(`${tasksPrefix}${name}`, own);
    }
    for (const address of virtual) byAddress.set(address, record.serviceName);
  }
  return { byName, byAddress };
}
