/** The published ports of this host: those of the mesh lead to its entrance, those of mode `host` to one container. */
import { hasCode, type NetworkNamespace, type NftObject, writeSysctl } from '@skein/netlink';
import { errorText, type Logger } from '../common/index.ts';
import { ManagedTable } from '../nftables/index.ts';
import { type DispatchTable, dispatchShape } from './dispatch.ts';
import { forgetFlows, forgetMoved, forgetUntranslated } from './flows.ts';
import { anyAddress } from './port-place.ts';
import { PortHeldError, type Reservations } from './reservations.ts';
import { portKey, type ServiceKey } from './service-table.ts';
import { hostPortsTable, hostTable, type Publication, parsePortKey, serviceOfChain } from './tables.ts';
import type { HostPort, PortProtocol, PortTarget } from './types.ts';

/** The bridge that leads to the entrance and to the containers (overlay room). */
const bridge = 'docker_gwbridge';
/** Lets packets from 127.0.0.1 leave by the bridge, with the bridge's address. */
const routeLocalnet = `net/ipv4/conf/${bridge}/route_localnet`;

/** Mesh and tasks are one towards plain containers; who of them has a port is told apart here. */
const owner = 'swarm';

interface ContainerPorts {
  readonly name: string;
  readonly address: string;
  readonly ports: readonly HostPort[];
}

export class HostPorts implements Disposable {
  readonly #host: NetworkNamespace;
  readonly #logger: Logger;
  readonly #table: ManagedTable<DispatchTable>;
  readonly #reservations: Reservations;
  /** What is reserved. BOUNDED by the cluster's published ports. */
  readonly #held = new Set<ServiceKey>();
  /** By container ID. BOUNDED by the containers of this host. */
  readonly #containers = new Map<string, ContainerPorts>();
  /** The mesh's ports, and who else has one of them. BOUNDED by the cluster's published ports. */
  #mesh: { readonly address: string; readonly ports: ReadonlyMap<ServiceKey, string> } | undefined;
  readonly #blocked = new Map<ServiceKey, string>();
  /** What an earlier daemon published and nobody has asked for yet. */
  readonly #adopted: Map<ServiceKey, Publication>;
  #hasTable: boolean;
  /** UDP ports → where they lead. BOUNDED as what is reserved. */
  #datagramPorts: ReadonlyMap<number, Publication> = new Map();
  #queue: Promise<unknown> = Promise.resolve();

  constructor(host: NetworkNamespace, reservations: Reservations, logger: Logger) {
    this.#host = host;
    this.#logger = logger;
    this.#table = ManagedTable.open(host, dispatchShape(hostPortsTable));
    this.#reservations = reservations;
    const present = this.#table.read();
    this.#hasTable = present.length > 0;
    this.#adopted = new Map(publicationsOf(present).map((publication) => [keyOf(publication), publication]));
  }

  /** @param ports the mesh's, with the names of their services; they lead to this address. Resolves when they do. */
  setMesh(address: string | undefined, ports: ReadonlyMap<ServiceKey, string>): Promise<void> {
    this.#mesh = address === undefined ? undefined : { address, ports };
    return this.#inOrder(() => this.#synchronize());
  }

  /** @throws PortHeldError when a port is taken; then none of them is open. */
  open({ containerId, name, address }: PortTarget, ports: readonly HostPort[]): Promise<readonly HostPort[]> {
    return this.#inOrder(async () => {
      const before = this.#containers.get(containerId);
      const opened: HostPort[] = [];
      try {
        for (const [index, port] of ports.entries()) {
          const wanted = port.publishedPort || before?.ports[index]?.publishedPort || this.#adoptedPort(address, port);
          const user = wanted === 0 ? undefined : this.#userOf(containerId, portKey(port.protocol, wanted));
          if (user !== undefined) throw new PortHeldError({ protocol: port.protocol, port: wanted }, user);
          opened.push({ ...port, publishedPort: await this.#reserve(port.protocol, wanted, name) });
        }
      } catch (error) {
        await this.#synchronize();
        throw error;
      }
      this.#containers.set(containerId, { name, address, ports: opened });
      await this.#synchronize();
      return opened;
    });
  }

  close(containerId: string): Promise<void> {
    const known = this.#containers.get(containerId);
    if (!this.#containers.delete(containerId)) return Promise.resolve();
    return this.#inOrder(async () => {
      await this.#synchronize();
      forgetFlows(this.#host, new Set(known ? [known.address] : []), this.#logger);
    });
  }

  ports(containerId: string): readonly HostPort[] {
    return this.#containers.get(containerId)?.ports ?? [];
  }

  /** What an earlier daemon published and nobody has asked for goes. @param isOver of such a port; by default of all. */
  forgetAdopted(isOver: (publication: Publication) => boolean = () => true): Promise<void> {
    const over = [...this.#adopted].filter(([, publication]) => isOver(publication));
    if (over.length === 0) return Promise.resolve();
    for (const [key] of over) this.#adopted.delete(key);
    return this.#inOrder(() => this.#synchronize());
  }

  /** Puts right what others changed, and tries again for ports that others had. */
  repair(): boolean {
    if (this.#blocked.size > 0) void this.#inOrder(() => this.#synchronize()).catch((error) => this.#report(error));
    return this.#table.repair();
  }

  /** Resolves when what is under way has ended. */
  async settled(): Promise<void> {
    await this.#queue;
  }

  /** Lets go of everything; the rules stay. */
  [Symbol.dispose](): void {
    this.#table[Symbol.dispose]();
  }

  async #synchronize(): Promise<void> {
    const wanted = new Map<ServiceKey, Publication>();
    for (const key of this.#mesh?.ports.keys() ?? []) wanted.set(key, this.#toEntrance(key));
    for (const { address, ports } of this.#containers.values()) {
      for (const port of ports) wanted.set(portKey(port.protocol, port.publishedPort), { ...port, address });
    }
    // Once somebody has asked for a port, it goes when they let it go.
    for (const [key, publication] of this.#adopted) {
      if (wanted.has(key)) this.#adopted.delete(key);
      else wanted.set(key, publication);
    }
    for (const key of [...this.#blocked.keys()]) if (!wanted.has(key)) this.#blocked.delete(key);
    for (const key of wanted.keys()) if (!(await this.#hold(key))) wanted.delete(key);
    for (const key of this.#held) if (!wanted.has(key)) this.#release(key);
    this.#apply([...wanted.values()]);
  }

  #toEntrance(key: ServiceKey): Publication {
    const { protocol, port } = parsePortKey(key);
    return { protocol, publishedPort: port, address: this.#mesh?.address ?? '', targetPort: port };
  }

  /** @returns whether the port is ours; if not, its holder is logged once. */
  async #hold(key: ServiceKey): Promise<boolean> {
    const { protocol, port } = parsePortKey(key);
    try {
      await this.#reserve(protocol, port, this.#userOf('', key) ?? 'a task of an earlier daemon');
      if (this.#blocked.delete(key)) this.#logger.info({ port, protocol }, 'a published port has come free');
      return true;
    } catch (error) {
      const text = errorText(error);
      if (this.#blocked.get(key) !== text) this.#logger.error({ port, protocol, error: text }, 'cannot publish a port');
      this.#blocked.set(key, text);
      return false;
    }
  }

  async #reserve(protocol: PortProtocol, wanted: number, holder: string): Promise<number> {
    const port = await this.#reservations.hold({ protocol, address: anyAddress, port: wanted, owner, holder });
    this.#held.add(portKey(protocol, port));
    return port;
  }

  #release(key: ServiceKey): void {
    this.#reservations.release({ ...parsePortKey(key), address: anyAddress });
    this.#held.delete(key);
  }

  #apply(publications: readonly Publication[]): void {
    const before = this.#datagramPorts;
    const datagrams = publications.filter(({ protocol }) => protocol === 'udp');
    this.#datagramPorts = new Map(datagrams.map((publication) => [publication.publishedPort, publication]));
    this.#applyTable(publications);
    const added = new Set(this.#datagramPorts.keys()).difference(new Set(before.keys()));
    forgetUntranslated(this.#host, added, this.#logger);
    const moved = [...before].filter(([port, publication]) => !isSame(publication, this.#datagramPorts.get(port)));
    forgetMoved(this.#host, new Map(moved.map(([port, { address }]) => [port, new Set([address])])), this.#logger);
  }

  #applyTable(publications: readonly Publication[]): void {
    if (publications.length === 0) {
      if (this.#hasTable) this.#table.remove();
      this.#hasTable = false;
      return;
    }
    try {
      writeSysctl(this.#host, routeLocalnet, 1);
    } catch (error) {
      // Without the bridge nothing can be reached anyway; it comes with the next change.
      if (!hasCode(error, 'ENOENT')) throw error;
    }
    this.#hasTable = true;
    this.#table.apply(hostTable(bridge, publications));
  }

  /** @returns who of this swarm uses the port, besides the container. */
  #userOf(containerId: string, key: ServiceKey): string | undefined {
    const service = this.#mesh?.ports.get(key);
    if (service !== undefined)
      return service === '' ? 'a service in the routing mesh' : `service ${service} in the routing mesh`;
    for (const [other, { name, ports }] of this.#containers) {
      const uses = ports.some((port) => portKey(port.protocol, port.publishedPort) === key);
      if (uses && other !== containerId) return name;
    }
    return undefined;
  }

  /** @returns the published port that an earlier daemon chose for this, or 0. */
  #adoptedPort(address: string, { protocol, targetPort }: HostPort): number {
    for (const known of this.#adopted.values()) {
      if (known.address === address && known.protocol === protocol && known.targetPort === targetPort) {
        return known.publishedPort;
      }
    }
    return 0;
  }

  #inOrder<T>(action: () => Promise<T>): Promise<T> {
    const result = this.#queue.then(action, action);
    this.#queue = result.catch(() => undefined);
    return result;
  }

  #report(error: unknown): void {
    this.#logger.error({ error: errorText(error) }, 'cannot publish ports');
  }
}

const isSame = (one: Publication, other: Publication | undefined): boolean =>
  one.address === other?.address && one.targetPort === other.targetPort;
const keyOf = ({ protocol, publishedPort }: Publication): ServiceKey => portKey(protocol, publishedPort);

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
