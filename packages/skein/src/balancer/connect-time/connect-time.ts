/** Virtual IPs at connect time, where the kernel can. */
import { type NetworkNamespace, TcpConnections } from '@skein/netlink';
import { errorText, type Logger } from '../../common/index.ts';
import type { ServiceKey } from '../service-table.ts';
import { ConnectPrograms, detachPrograms } from './programs.ts';
import { addressValue, ledConnection } from './records.ts';
import { Space } from './space.ts';

/** `auto`: where the kernel can. */
export type ConnectTimeMode = 'auto' | 'off';

export interface ConnectTimeOptions {
  readonly mode: ConnectTimeMode;
  /** Directory of the version 2 cgroup whose processes are served; undefined where the host has none. */
  readonly cgroup: string | undefined;
}

/** Whatever it cannot do, containers' nft tables do. */
export interface ConnectTime extends Disposable {
  /**
   * What processes in the namespace connect to these virtual IPs is led to their tasks, by turns that begin at `place`.
   * A failure is logged, and the namespace left to nft. @returns whether they are led so.
   */
  apply(namespace: NetworkNamespace, services: ReadonlyMap<ServiceKey, readonly string[]>, place: number): boolean;
  /** The namespace goes. No error when it is not known. */
  forget(namespace: NetworkNamespace): void;
  /** Ends connections that were led to tasks which have gone, in these namespaces. @returns how many. */
  end(gone: ReadonlyMap<NetworkNamespace, ReadonlySet<string>>): number;
}

/** @returns what leads at connect time. Where that is not wanted or not possible, nothing is left of an earlier daemon's. */
export function openConnectTime({ mode, cgroup }: ConnectTimeOptions, logger: Logger): ConnectTime {
  if (cgroup === undefined) return new NoConnectTime();
  try {
    if (mode === 'auto') return KernelConnectTime.open(cgroup, logger);
    detachPrograms(cgroup);
  } catch (error) {
    const what = mode === 'auto' ? 'virtual IPs are left to nft: the kernel cannot lead at connect time' : undefined;
    logger.warn({ error: errorText(error) }, what ?? 'cannot see whether an earlier daemon led at connect time');
  }
  return new NoConnectTime();
}

class KernelConnectTime implements ConnectTime {
  readonly #programs: ConnectPrograms;
  readonly #logger: Logger;
  /** BOUNDED by the containers of this host. */
  readonly #spaces = new Map<NetworkNamespace, Space>();

  private constructor(programs: ConnectPrograms, logger: Logger) {
    this.#programs = programs;
    this.#logger = logger;
  }

  /** @throws Error when the kernel cannot; then nothing is left of an earlier daemon's programs. */
  static open(cgroup: string, logger: Logger): KernelConnectTime {
    try {
      TcpConnections.probe();
      return new KernelConnectTime(ConnectPrograms.load(cgroup), logger);
    } catch (error) {
      detachPrograms(cgroup);
      throw error;
    }
  }

  apply(namespace: NetworkNamespace, services: ReadonlyMap<ServiceKey, readonly string[]>, place: number): boolean {
    try {
      this.#programs.ensureAttached();
      const space = this.#spaces.get(namespace) ?? new Space(namespace.cookie(), this.#programs);
      this.#spaces.set(namespace, space);
      space.reconcile(services, place);
      return true;
    } catch (error) {
      this.#logger.error({ error: errorText(error) }, 'a container is not led at connect time');
      this.forget(namespace);
      return false;
    }
  }

  forget(namespace: NetworkNamespace): void {
    const space = this.#spaces.get(namespace);
    this.#spaces.delete(namespace);
    try {
      space?.clear();
    } catch (error) {
      this.#logger.error({ error: errorText(error) }, 'cannot take a container out of the maps of connect time');
    }
  }

  end(gone: ReadonlyMap<NetworkNamespace, ReadonlySet<string>>): number {
    if ([...gone.values()].every((addresses) => addresses.size === 0)) return 0;
    try {
      const led = this.#programs.connections.entries().map(([key, value]) => ledConnection(key, value));
      let count = 0;
      for (const [namespace, addresses] of gone) {
        const cookie = this.#spaces.get(namespace)?.cookie;
        if (cookie === undefined) continue;
        const tasks = new Set([...addresses].map((address) => addressValue(address).toString('hex')));
        const ending = led.filter(({ space, task }) => space === cookie && tasks.has(task));
        if (ending.length > 0) count += endConnections(namespace, new Map(ending.map((one) => [one.cookie, one.task])));
      }
      return count;
    } catch (error) {
      this.#logger.error({ error: errorText(error) }, 'cannot end connections to tasks that have gone');
      return 0;
    }
  }

  /** The programs stay: connections are led on while the daemon is away. */
  [Symbol.dispose](): void {
    this.#programs[Symbol.dispose]();
  }
}

/** @param ending cookie → where the socket was led; it may have been connected to something else since. */
function endConnections(namespace: NetworkNamespace, ending: ReadonlyMap<bigint, string>): number {
  using connections = TcpConnections.open(namespace);
  const found = connections
    .list()
    .filter(({ cookie, destination }) => ending.get(cookie) === addressValue(destination).toString('hex'));
  for (const connection of found) connections.end(connection);
  return found.length;
}

class NoConnectTime implements ConnectTime {
  apply(): boolean {
    return false;
  }
  forget(): void {}
  end(): number {
    return 0;
  }
  [Symbol.dispose](): void {}
}
