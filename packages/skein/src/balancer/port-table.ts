/** The host's nft table of published ports, of one family. */
import { hasCode, type NetworkNamespace, type NftObject, writeSysctl } from '@skein/netlink';
import type { Logger } from '../common/index.ts';
import { ManagedTable } from '../nftables/index.ts';
import { type DispatchTable, dispatchShape } from './dispatch.ts';
import { forgetMoved, forgetUntranslated } from './flows.ts';
import {
  hostPortsTable,
  hostTable,
  ipv6HostPortsTable,
  ipv6HostTable,
  type Publication,
  parsePortKey,
  serviceOfChain,
} from './tables.ts';

/** The bridge that leads to the entrance and to the containers (overlay room). */
const bridge = 'docker_gwbridge';
/** Lets packets from 127.0.0.1 leave by the bridge, with the bridge's address. */
const routeLocalnet = `net/ipv4/conf/${bridge}/route_localnet`;

export class PortTable implements Disposable {
  readonly #host: NetworkNamespace;
  readonly #family: 'ip' | 'ip6';
  readonly #logger: Logger;
  readonly #table: ManagedTable<DispatchTable>;
  #isThere: boolean;
  /** What an earlier daemon published. */
  readonly inherited: readonly Publication[];
  /** UDP ports → where they lead. BOUNDED by the published ports. */
  #datagramPorts: ReadonlyMap<number, Publication> = new Map();

  constructor(host: NetworkNamespace, family: 'ip' | 'ip6', logger: Logger) {
    this.#host = host;
    this.#family = family;
    this.#logger = logger;
    this.#table = ManagedTable.open(host, dispatchShape(family === 'ip' ? hostPortsTable : ipv6HostPortsTable));
    const present = this.#table.read();
    this.#isThere = present.length > 0;
    this.inherited = publicationsOf(present);
  }

  /** Leads these ports, and no others. Datagram flows that would go on as before are decided anew. */
  apply(publications: readonly Publication[]): void {
    const before = this.#datagramPorts;
    const datagrams = publications.filter(({ protocol }) => protocol === 'udp');
    this.#datagramPorts = new Map(datagrams.map((publication) => [publication.publishedPort, publication]));
    this.#applyTable(publications);
    const added = new Set(this.#datagramPorts.keys()).difference(new Set(before.keys()));
    forgetUntranslated(this.#host, added, this.#logger);
    const moved = [...before].filter(([port, publication]) => !isSame(publication, this.#datagramPorts.get(port)));
    forgetMoved(this.#host, new Map(moved.map(([port, { address }]) => [port, new Set([address])])), this.#logger);
  }

  /** @returns whether somebody had changed the table. */
  repair(): boolean {
    return this.#table.repair();
  }

  /** Lets go; the rules stay. */
  [Symbol.dispose](): void {
    this.#table[Symbol.dispose]();
  }

  #applyTable(publications: readonly Publication[]): void {
    if (publications.length === 0) {
      if (this.#isThere) this.#table.remove();
      this.#isThere = false;
      return;
    }
    this.#isThere = true;
    if (this.#family === 'ip6') {
      this.#table.apply(ipv6HostTable(bridge, publications));
      return;
    }
    try {
      writeSysctl(this.#host, routeLocalnet, 1);
    } catch (error) {
      // Without the bridge nothing can be reached anyway; it comes with the next change.
      if (!hasCode(error, 'ENOENT')) throw error;
    }
    this.#table.apply(hostTable(bridge, publications));
  }
}

const isSame = (one: Publication, other: Publication | undefined): boolean =>
  one.address === other?.address && one.targetPort === other.targetPort;

function publicationsOf(objects: readonly NftObject[]): Publication[] {
  return objects.flatMap((object) => {
    const key = 'rule' in object ? serviceOfChain(object.rule.chain) : undefined;
    if (!('rule' in object) || key === undefined) return [];
    const { protocol, port: publishedPort } = parsePortKey(key);
    return object.rule.expr.flatMap(({ dnat }) => {
      const { addr, port } = (dnat ?? {}) as { addr?: unknown; port?: unknown };
      return typeof addr === 'string' && typeof port === 'number'
        ? [{ protocol, publishedPort, address: addr, targetPort: port }]
        : [];
    });
  });
}
