/**
 * Which tasks stand behind a virtual IP or a published port of a network: a pure table of endpoint and peer records.
 *
 * A task gets new flows once this host knows the way to it: the two records of an endpoint may come seconds apart.
 *
 * A record that its owner deleted is gone at once. One whose owner is lost (its node does not answer, or its daemon was
 * started anew and has not told again) is kept for a while as a last resort: its task gets new flows only when nobody
 * better is there, and keeps those it has.
 */
import { isIPv6 } from 'node:net';
import type { PortProtocol } from './types.ts';

/** The part of an EndpointRecord that balancing needs. */
export interface BackendRecord {
  /** Plain address; '' for none. */
  readonly virtualIp: string;
  /** '' = not known. */
  readonly serviceName: string;
  readonly address: string;
  readonly ports: readonly { readonly protocol: PortProtocol; readonly publishedPort: number }[];
  /** Draining: no new flows. */
  readonly isDisabled: boolean;
  /** It answers to the entrance that asked, so that may leave the client's address as it is. */
  readonly returnsToEntrance: boolean;
}

interface Row {
  readonly record: BackendRecord;
  /** Set when the record's owner is lost: until then (ms of the epoch) it counts as a last resort. */
  readonly lostUntil: number | undefined;
}

interface NetworkRows {
  /** Answers of `virtualServices` and `publishedPorts` since the last change. */
  virtual: Map<ServiceKey, readonly string[]> | undefined;
  published: Map<ServiceKey, readonly string[]> | undefined;
  /** By endpoint ID. BOUNDED by the endpoints of the cluster on this network. */
  readonly rows: Map<string, Row>;
  /** Endpoint IDs of the rows whose owners are lost: mostly none. BOUNDED as the rows. */
  readonly lost: Set<string>;
  /** Endpoints to which the way is known, by endpoint ID. BOUNDED as the rows. */
  readonly peers: Map<string, { readonly address: string; readonly lostUntil: number | undefined }>;
  /** Service key → until when it is still refused in words, having lost its last record. BOUNDED by `retiredMs`. */
  readonly retired: Map<string, number>;
}

/** A virtual IP without any task is refused for so long, in which clients may still have it from DNS (TTL 600 s). */
const retiredMs = 600_000;

/** Key of a service in a network: its virtual IP, or `<protocol>-<published port>`. */
export type ServiceKey = string;
export const portKey = (protocol: PortProtocol, port: number): ServiceKey => `${protocol}-${port}`;

export class ServiceTable {
  /** BOUNDED by the networks that exist on this host. */
  readonly #networks = new Map<string, NetworkRows>();

  set(networkId: string, endpointId: string, record: BackendRecord, now: number): void {
    this.#put(networkId, endpointId, { record, lostUntil: undefined }, now);
  }

  /** The record's owner is lost. */
  lose(networkId: string, endpointId: string, until: number, now: number): void {
    const row = this.#networks.get(networkId)?.rows.get(endpointId);
    if (row !== undefined) this.#put(networkId, endpointId, { ...row, lostUntil: until }, now);
  }

  /** The owners of all records and peers are lost. @returns the networks of which any are known. */
  loseAll(until: number): string[] {
    for (const network of this.#networks.values()) {
      for (const [endpointId, row] of invalidated(network).rows)
        setRow(network, endpointId, { ...row, lostUntil: row.lostUntil ?? until });
      for (const [endpointId, peer] of network.peers)
        network.peers.set(endpointId, { ...peer, lostUntil: peer.lostUntil ?? until });
    }
    return [...this.#networks.keys()];
  }

  /** The way to an endpoint is known. */
  setPeer(networkId: string, endpointId: string, address: string): void {
    this.#network(networkId).peers.set(endpointId, { address, lostUntil: undefined });
  }

  /** Its host is lost; the way stays for a while. */
  losePeer(networkId: string, endpointId: string, until: number): void {
    const peer = this.#networks.get(networkId)?.peers.get(endpointId);
    if (peer !== undefined) this.#network(networkId).peers.set(endpointId, { ...peer, lostUntil: until });
  }

  deletePeer(networkId: string, endpointId: string): void {
    if (this.#networks.get(networkId)?.peers.has(endpointId)) this.#network(networkId).peers.delete(endpointId);
  }

  /** What an earlier daemon's rules say, until the records come; of what is known already they say nothing new. */
  adopt(
    networkId: string,
    key: ServiceKey,
    addresses: readonly string[],
    { until, returning }: { until: number; returning: ReadonlySet<string> },
  ): void {
    const network = this.#network(networkId);
    const told = new Set([...network.rows.values()].filter(isTold).map(({ record }) => record.address));
    for (const address of addresses) {
      if (told.has(address)) continue;
      const [protocol, port] = key.split('-') as [PortProtocol, string | undefined];
      const virtualIp = port === undefined ? key : '';
      const ports = port === undefined ? [] : [{ protocol, publishedPort: Number(port) }];
      const returnsToEntrance = returning.has(address);
      const record = { virtualIp, serviceName: '', address, ports, isDisabled: false, returnsToEntrance };
      setRow(network, `adopted ${key} ${address}`, { record, lostUntil: until });
    }
  }

  /** @param address the task's; also what an earlier daemon said of it counts no more. */
  delete(networkId: string, endpointId: string, address: string | undefined, now: number): void {
    const network = this.#networks.get(networkId);
    if (network === undefined) return;
    const row = network.rows.get(endpointId);
    const gone = new Map(lostRows(network).filter(([, { record }]) => record.address === address));
    if (row !== undefined) gone.set(endpointId, row);
    for (const id of gone.keys()) removeRow(invalidated(network), id);
    for (const each of gone.values()) retire(network, each, now);
  }

  /** Forgets a network that this host has left. */
  forget(networkId: string): void {
    this.#networks.delete(networkId);
  }

  /** Forgets lost records whose time is over. @returns the networks that changed. */
  expire(now: number): string[] {
    const changed: string[] = [];
    for (const [networkId, network] of this.#networks) {
      const overdue = lostRows(network).filter(([, { lostUntil }]) => lostUntil !== undefined && lostUntil <= now);
      for (const [endpointId, row] of overdue) {
        removeRow(network, endpointId);
        retire(network, row, now);
      }
      const peersBefore = network.peers.size;
      for (const [endpointId, { lostUntil }] of network.peers) {
        if (lostUntil !== undefined && lostUntil <= now) network.peers.delete(endpointId);
      }
      const refused = [...network.retired].filter(([, until]) => until <= now);
      for (const [key] of refused) network.retired.delete(key);
      if (overdue.length + refused.length > 0 || network.peers.size < peersBefore) {
        invalidated(network);
        changed.push(networkId);
      }
      if (network.rows.size + network.retired.size + network.peers.size === 0) this.#networks.delete(networkId);
    }
    return changed;
  }

  /** @returns virtual IP → addresses of the tasks that may get new flows, in order; none = to be refused. */
  virtualServices(networkId: string): ReadonlyMap<ServiceKey, readonly string[]> {
    const network = this.#networks.get(networkId);
    if (network === undefined) return new Map();
    network.virtual ??= virtualServicesOf(network);
    return network.virtual;
  }

  /** @returns published port → addresses of the tasks that may get new flows, in order; gone with the last record. */
  publishedPorts(networkId: string): ReadonlyMap<ServiceKey, readonly string[]> {
    const network = this.#networks.get(networkId);
    if (network === undefined) return new Map();
    network.published ??= servicesOf(network, ({ ports }) =>
      ports.map(({ protocol, publishedPort }) => portKey(protocol, publishedPort)),
    );
    return network.published;
  }

  /** @returns published port → name of the service that publishes it. */
  publishers(networkId: string): Map<ServiceKey, string> {
    const names = new Map<ServiceKey, string>();
    for (const { record } of this.#networks.get(networkId)?.rows.values() ?? []) {
      // A task's row of IPv6 is beside its row of IPv4, and may be there longer after a restart of the daemon.
      if (isIPv6(record.address)) continue;
      for (const { protocol, publishedPort } of record.ports) {
        const key = portKey(protocol, publishedPort);
        names.set(key, record.serviceName || (names.get(key) ?? ''));
      }
    }
    return names;
  }

  /** @returns the addresses of the tasks of which everybody says that they answer to the entrance that asked, in order. */
  returning(networkId: string): string[] {
    const records = [...(this.#networks.get(networkId)?.rows.values() ?? [])].map(({ record }) => record);
    const others = new Set(records.filter((record) => !record.returnsToEntrance).map(({ address }) => address));
    return [...this.addresses(networkId)].filter((address) => !others.has(address)).sort();
  }

  /** @returns the addresses of all tasks that any record names, those included that get nothing new. */
  addresses(networkId: string): Set<string> {
    const rows = this.#networks.get(networkId)?.rows.values() ?? [];
    return new Set([...rows].map(({ record }) => record.address));
  }

  /** Adds or replaces a row. */
  #put(networkId: string, endpointId: string, row: Row, now: number): void {
    const network = this.#network(networkId);
    const before = network.rows.get(endpointId);
    setRow(network, endpointId, row);
    const superseded = supersede(network, row.record.address);
    network.retired.delete(row.record.virtualIp);
    for (const each of superseded) retire(network, each, now);
    if (before !== undefined && before.record.virtualIp !== row.record.virtualIp) retire(network, before, now);
  }

  /** The network's rows, to be changed. */
  #network(networkId: string): NetworkRows {
    const answers = { virtual: undefined, published: undefined };
    const empty = { rows: new Map(), lost: new Set<string>(), peers: new Map(), retired: new Map(), ...answers };
    const network = this.#networks.get(networkId) ?? empty;
    this.#networks.set(networkId, network);
    return invalidated(network);
  }
}

/** Forgets the answers. */
function invalidated(network: NetworkRows): NetworkRows {
  network.virtual = undefined;
  network.published = undefined;
  return network;
}

function virtualServicesOf(network: NetworkRows): Map<ServiceKey, readonly string[]> {
  const services = servicesOf(network, ({ virtualIp }) => (virtualIp === '' ? [] : [virtualIp]));
  const inUse = new Set([...network.rows.values()].map(({ record }) => record.address));
  for (const key of network.retired.keys()) if (!services.has(key) && !inUse.has(key)) services.set(key, []);
  return services;
}

function servicesOf(
  network: NetworkRows,
  keysOf: (record: BackendRecord) => ServiceKey[],
): Map<ServiceKey, readonly string[]> {
  const reachable = new Set([...network.peers.values()].map(({ address }) => address));
  const present = new Map<ServiceKey, Set<string>>();
  const lastResort = new Map<ServiceKey, Set<string>>();
  for (const { record, lostUntil } of network.rows.values()) {
    for (const key of keysOf(record)) {
      const known = present.get(key) ?? new Set();
      present.set(key, known);
      if (record.isDisabled) continue;
      if (lostUntil === undefined) {
        if (reachable.has(record.address)) known.add(record.address);
      } else lastResort.set(key, (lastResort.get(key) ?? new Set()).add(record.address));
    }
  }
  const choose = ([key, known]: [string, Set<string>]): [string, string[]] => [
    key,
    [...(known.size > 0 ? known : (lastResort.get(key) ?? []))].sort(),
  ];
  return new Map([...present].map(choose));
}

/** What a lost owner said of an address counts no more once somebody else says something of it. @returns such rows. */
function supersede(network: NetworkRows, address: string): Row[] {
  const lost = lostRows(network).filter(([, { record }]) => record.address === address);
  if (lost.length === 0) return [];
  const isTaken = [...network.rows.values()].some((row) => row.record.address === address && isTold(row));
  if (!isTaken) return [];
  for (const [endpointId] of lost) removeRow(network, endpointId);
  return lost.map(([, row]) => row);
}

function setRow({ rows, lost }: NetworkRows, endpointId: string, row: Row): void {
  rows.set(endpointId, row);
  if (isTold(row)) lost.delete(endpointId);
  else lost.add(endpointId);
}

function removeRow({ rows, lost }: NetworkRows, endpointId: string): void {
  rows.delete(endpointId);
  lost.delete(endpointId);
}

/** Those whose owners are lost, without a look at all the others. */
function lostRows({ rows, lost }: NetworkRows): [string, Row][] {
  return [...lost].flatMap((id): [string, Row][] => {
    const row = rows.get(id);
    return row === undefined ? [] : [[id, row]];
  });
}

/** Whether its owner is there and says it. */
const isTold = ({ lostUntil }: Row): boolean => lostUntil === undefined;

/** Remembers the virtual IP of a row that has gone, if it was the last that named it. */
function retire(network: NetworkRows, { record: { virtualIp } }: Row, now: number): void {
  if (virtualIp === '') return;
  for (const { record } of network.rows.values()) if (record.virtualIp === virtualIp) return;
  network.retired.set(virtualIp, now + retiredMs);
}
