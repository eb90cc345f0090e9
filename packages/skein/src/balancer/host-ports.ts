/** The published ports of this host: those of the mesh lead to its entrance, those of mode `host` to one container. */
import type { NetworkNamespace } from '@skein/netlink';
import { errorText, type Logger } from '../common/index.ts';
import { forgetFlows } from './flows.ts';
import { anyAddress } from './port-place.ts';
import { PortTable } from './port-table.ts';
import { PortHeldError, type Reservations } from './reservations.ts';
import { portKey, type ServiceKey } from './service-table.ts';
import { type Publication, parsePortKey } from './tables.ts';
import type { HostPort, PortProtocol, PortTarget } from './types.ts';

/** Mesh and tasks are one towards plain containers; who of them has a port is told apart here. */
const owner = 'swarm';

interface ContainerPorts {
  readonly name: string;
  readonly address: string;
  readonly ipv6Address: string | undefined;
  readonly ports: readonly HostPort[];
}

/** Where the mesh's ports lead in IPv6, and which of them; the others are a relay's (ADR 0010). */
export interface Ipv6Mesh {
  readonly address: string;
  readonly ports: ReadonlySet<ServiceKey>;
}

export class HostPorts implements Disposable {
  readonly #host: NetworkNamespace;
  readonly #logger: Logger;
  readonly #table: PortTable;
  readonly #ipv6Table: PortTable;
  readonly #reservations: Reservations;
  /** What is reserved. BOUNDED by the cluster's published ports. */
  readonly #held = new Set<ServiceKey>();
  /** By container ID. BOUNDED by the containers of this host. */
  readonly #containers = new Map<string, ContainerPorts>();
  /** The mesh's ports, and who else has one of them. BOUNDED by the cluster's published ports. */
  #mesh: { readonly address: string; readonly ports: ReadonlyMap<ServiceKey, string> } | undefined;
  readonly #blocked = new Map<ServiceKey, string>();
  #ipv6Mesh: Ipv6Mesh | undefined;
  /** Container ID → target ports at which its servers take IPv6. BOUNDED by the containers of this host. */
  readonly #takingIpv6 = new Map<string, ReadonlySet<ServiceKey>>();
  readonly #unwatch: () => void;
  /** What an earlier daemon published and nobody has asked for yet. */
  readonly #adopted: Map<ServiceKey, Publication>;
  #queue: Promise<unknown> = Promise.resolve();

  constructor(host: NetworkNamespace, reservations: Reservations, logger: Logger) {
    this.#host = host;
    this.#logger = logger;
    this.#table = new PortTable(host, 'ip', logger);
    this.#ipv6Table = new PortTable(host, 'ip6', logger);
    this.#reservations = reservations;
    this.#adopted = new Map(this.#table.inherited.map((publication) => [keyOf(publication), publication]));
    this.#unwatch = reservations.onIpv6(() => this.#synchronizeSoon());
  }

  /** @param ports the mesh's, with the names of their services; they lead to this address. Resolves when they do. */
  setMesh(address: string | undefined, ports: ReadonlyMap<ServiceKey, string>, ipv6?: Ipv6Mesh): Promise<void> {
    this.#mesh = address === undefined ? undefined : { address, ports };
    this.#ipv6Mesh = ipv6;
    return this.#inOrder(() => this.#synchronize());
  }

  /** @throws PortHeldError when a port is taken; then none of them is open. */
  open(
    { containerId, name, address, ipv6Address }: PortTarget,
    ports: readonly HostPort[],
  ): Promise<readonly HostPort[]> {
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
      this.#containers.set(containerId, { name, address, ipv6Address, ports: opened });
      await this.#synchronize();
      return opened;
    });
  }

  close(containerId: string): Promise<void> {
    const known = this.#containers.get(containerId);
    this.#takingIpv6.delete(containerId);
    if (known === undefined || !this.#containers.delete(containerId)) return Promise.resolve();
    return this.#inOrder(async () => {
      await this.#synchronize();
      const { address, ipv6Address } = known;
      forgetFlows(this.#host, new Set(ipv6Address === undefined ? [address] : [address, ipv6Address]), this.#logger);
    });
  }

  /** What the container's servers take by IPv6 is led there, the rest is a relay's. @param ports target ports. */
  setTakingIpv6(containerId: string, ports: ReadonlySet<ServiceKey>): void {
    const before = this.#takingIpv6.get(containerId) ?? new Set();
    if (ports.symmetricDifference(before).size === 0) return;
    this.#takingIpv6.set(containerId, ports);
    if (this.#containers.has(containerId)) this.#synchronizeSoon();
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
    if (this.#blocked.size > 0) this.#synchronizeSoon();
    const isRepaired = this.#table.repair();
    return this.#ipv6Table.repair() || isRepaired;
  }

  /** Resolves when what is under way has ended. */
  async settled(): Promise<void> {
    await this.#queue;
  }

  /** Lets go of everything; the rules stay. */
  [Symbol.dispose](): void {
    this.#unwatch();
    this.#table[Symbol.dispose]();
    this.#ipv6Table[Symbol.dispose]();
  }

  #synchronizeSoon(): void {
    void this.#inOrder(() => this.#synchronize()).catch((error) => this.#report(error));
  }

  async #synchronize(): Promise<void> {
    const wanted = new Map<ServiceKey, Publication>();
    for (const key of this.#mesh?.ports.keys() ?? []) wanted.set(key, toEntrance(key, this.#mesh?.address ?? ''));
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
    this.#table.apply([...wanted.values()]);
    this.#ipv6Table.apply(this.#ipv6Publications());
  }

  /** Of what is held, and is ours at addresses of IPv6 as well. */
  #ipv6Publications(): Publication[] {
    const { address: entrance, ports: led } = this.#ipv6Mesh ?? { address: '', ports: new Set<ServiceKey>() };
    const ofMesh = [...led].filter((key) => this.#mesh?.ports.has(key)).map((key) => toEntrance(key, entrance));
    const ofContainers = [...this.#containers].flatMap(([containerId, { ipv6Address: address, ports }]) => {
      const taking = this.#takingIpv6.get(containerId);
      if (address === undefined || taking === undefined) return [];
      const taken = ports.filter(({ protocol, targetPort }) => taking.has(portKey(protocol, targetPort)));
      return taken.map((port) => ({ ...port, address }));
    });
    return [...ofMesh, ...ofContainers].filter(({ protocol, publishedPort: port }) => {
      const isHeld = this.#held.has(portKey(protocol, port)) && !this.#blocked.has(portKey(protocol, port));
      return isHeld && this.#reservations.holdsIpv6({ protocol, address: anyAddress, port });
    });
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

function toEntrance(key: ServiceKey, address: string): Publication {
  const { protocol, port } = parsePortKey(key);
  return { protocol, publishedPort: port, address, targetPort: port };
}

const keyOf = ({ protocol, publishedPort }: Publication): ServiceKey => portKey(protocol, publishedPort);
