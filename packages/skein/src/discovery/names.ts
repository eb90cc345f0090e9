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

/** Key → values, each with how many records say so: what one record adds, its end takes away, whatever else there is. */
class CountedValues {
  /** BOUNDED by the records that say so. */
  readonly #values = new Map<string, Map<string, number>>();

  add(key: string, value: string, count: 1 | -1): void {
    const counts = this.#values.get(key) ?? new Map<string, number>();
    const sum = (counts.get(value) ?? 0) + count;
    if (sum > 0) counts.set(value, sum);
    else counts.delete(value);
    if (counts.size > 0) this.#values.set(key, counts);
    else this.#values.delete(key);
  }

  /** @returns the values, the newest last, or undefined if there are none. */
  get(key: string): string[] | undefined {
    const counts = this.#values.get(key);
    return counts && [...counts.keys()];
  }
}

/** The names of one network. */
class NetworkNames {
  readonly addressesByName = new CountedValues();
  readonly namesByAddress = new CountedValues();
  /** Endpoint ID → record. BOUNDED by the tasks and containers of the cluster on this network. */
  readonly #records = new Map<string, NamedEndpoint>();

  get size(): number {
    return this.#records.size;
  }

  /** @param record undefined: the endpoint goes. */
  set(endpointId: string, record: NamedEndpoint | undefined): void {
    const known = this.#records.get(endpointId);
    if (known !== undefined) this.#count(known, -1);
    this.#records.delete(endpointId);
    if (record === undefined) return;
    this.#records.set(endpointId, record);
    this.#count(record, 1);
  }

  #count(record: NamedEndpoint, count: 1 | -1): void {
    // A draining task has no names: nobody new shall find it.
    if (record.serviceDisabled) return;
    const add = (name: string, addresses: readonly string[]): void => {
      if (name === '') return;
      for (const address of addresses) this.addressesByName.add(canonical(name), address, count);
    };
    const own = addressesOf(record.endpointIp, record.endpointIpv6);
    for (const name of new Set([record.name, ...record.taskAliases])) add(name, own);
    for (const address of own) this.namesByAddress.add(address, record.name, count);
    if (record.serviceId === '') {
      for (const alias of record.aliases) add(alias, own);
      return;
    }
    const virtual = addressesOf(record.virtualIp, record.virtualIpv6);
    for (const name of [record.serviceName, ...record.aliases]) {
      if (name === '') continue;
      add(name, virtual.length > 0 ? virtual : own);
      add(`${tasksPrefix}${name}`, own);
    }
    for (const address of virtual) this.namesByAddress.add(address, record.serviceName, count);
  }
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
    const network = this.#networks.get(networkId) ?? new NetworkNames();
    this.#networks.set(networkId, network);
    network.set(endpointId, record);
  }

  delete(networkId: string, endpointId: string): void {
    const network = this.#networks.get(networkId);
    network?.set(endpointId, undefined);
    if (network?.size === 0) this.#networks.delete(networkId);
  }

  /**
   * @returns the addresses of a name, of both families, from the first network that knows it, or undefined if none does. The whole
   * name is tried on every network first; then it is split, from the right, into a name and a network's name.
   */
  addresses(name: string, networks: readonly SearchedNetwork[]): readonly string[] | undefined {
    const wanted = canonical(name);
    for (const network of networks) {
      const found = this.#networks.get(network.id)?.addressesByName.get(wanted);
      if (found !== undefined) return found;
    }
    for (let dot = wanted.lastIndexOf('.'); dot > 0; dot = wanted.lastIndexOf('.', dot - 1)) {
      const suffix = wanted.slice(dot + 1);
      for (const network of networks) {
        if (network.name.toLowerCase() !== suffix) continue;
        const found = this.#networks.get(network.id)?.addressesByName.get(wanted.slice(0, dot));
        if (found !== undefined) return found;
      }
    }
    return undefined;
  }

  /** @returns `<task or container>.<network>` (for a virtual IP `<service>.<network>`), or undefined if unknown. */
  nameOf(address: string, networks: readonly SearchedNetwork[]): string | undefined {
    for (const network of networks) {
      const found = this.#networks.get(network.id)?.namesByAddress.get(normalizeAddress(address))?.at(-1);
      if (found !== undefined) return `${found}.${network.name}`;
    }
    return undefined;
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
