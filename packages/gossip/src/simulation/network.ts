import type { Clock, Random } from '../runtime/index.ts';
import type { Address } from '../wire/index.ts';

const keyOf = ({ host, port }: Address): string => `${host} ${port}`;

/** How bad the network is. */
export interface Conditions {
  /** Share of packets that vanish. */
  loss: number;
  /** Share of packets that arrive twice. */
  duplication: number;
  /** Shortest and longest way, in ms; packets overtake each other within these. */
  minDelay: number;
  maxDelay: number;
}

/** A network of everything in this process: carries callbacks from address to address, or loses them. */
export class SimulatedNetwork<Port> {
  readonly conditions: Conditions = { loss: 0, duplication: 0, minDelay: 1, maxDelay: 5 };
  /** Packets sent and packets lost, duplicates aside. */
  sent = 0;
  lost = 0;
  /** Bytes of packets and streams that were sent, where there are bytes. */
  bytes = 0;
  readonly clock: Clock;
  readonly random: Random;
  readonly #ports = new Map<string, Port>();
  /** Part of the network that an address is in; parts do not reach each other. */
  readonly #part = new Map<string, number>();

  /** What has arrived for a stopped process, by address. */
  readonly #stopped = new Map<string, (() => void)[]>();
  /** Where a kernel refuses connections. */
  readonly #refusing = new Set<string>();

  constructor(clock: Clock, random: Random) {
    this.clock = clock;
    this.random = random;
  }

  plug(address: Address, port: Port): void {
    this.#refusing.delete(keyOf(address));
    this.#ports.set(keyOf(address), port);
  }

  /** Stops the process at an address: its kernel takes connections and keeps what arrives. */
  stop(address: Address): void {
    this.#stopped.set(keyOf(address), []);
  }

  /** The process goes on, with what has arrived meanwhile. */
  continue(address: Address): void {
    const arrived = this.#stopped.get(keyOf(address)) ?? [];
    this.#stopped.delete(keyOf(address));
    for (const arrive of arrived) arrive();
  }

  /** Hands over what has arrived: when the process runs. */
  handOver(to: Address, arrive: () => void): void {
    const waiting = this.#stopped.get(keyOf(to));
    if (waiting) waiting.push(arrive);
    else arrive();
  }

  /** Nobody is at an address any more but a kernel that says so. */
  refuse(address: Address): void {
    this.#refusing.add(keyOf(address));
  }

  unplug(address: Address): void {
    this.#ports.delete(keyOf(address));
  }

  /** Cuts these addresses off from all others. */
  partition(addresses: readonly Address[], part = 1): void {
    for (const address of addresses) this.#part.set(keyOf(address), part);
  }

  heal(): void {
    this.#part.clear();
  }

  port(from: Address, to: Address): Port | undefined {
    if (this.#part.size > 0) {
      const mine = this.#part.get(keyOf(from)) ?? 0;
      if (mine !== (this.#part.get(keyOf(to)) ?? 0)) return undefined;
    }
    return this.#ports.get(keyOf(to));
  }

  delay(): number {
    const { minDelay, maxDelay } = this.conditions;
    return minDelay + this.random.next() * (maxDelay - minDelay);
  }

  /** Sends a packet: it arrives never, once or twice, and in any order. */
  packet(from: Address, to: Address, deliver: (port: Port) => void): void {
    const { loss, duplication } = this.conditions;
    this.sent++;
    if (this.random.next() < loss) {
      this.lost++;
      return;
    }
    const arrive = (): void => {
      const port = this.port(from, to);
      if (port) this.handOver(to, () => deliver(port));
    };
    this.clock.setTimeout(arrive, this.delay());
    if (duplication > 0 && this.random.next() < duplication) this.clock.setTimeout(arrive, this.delay());
  }

  /** Sends a request and its answer reliably; rejects after `timeout` ms if the other side cannot be reached. */
  exchange<T>(from: Address, to: Address, timeout: number, answer: (port: Port) => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const unreachable = (): void => reject(new Error(`${to.host} cannot be reached`));
      this.clock.setTimeout(() => {
        const port = this.port(from, to);
        if (!port) {
          this.clock.setTimeout(unreachable, timeout);
          return;
        }
        if (this.#stopped.has(keyOf(to))) this.clock.setTimeout(unreachable, timeout);
        this.handOver(to, () => {
          try {
            const result = answer(port);
            this.clock.setTimeout(() => resolve(result), this.delay());
          } catch (error) {
            reject(error as Error);
          }
        });
      }, this.delay());
    });
  }

  /** One try to connect, which may get lost. Resolves when the host's kernel answers, its process may be stopped or gone. */
  connect(from: Address, to: Address): Promise<void> {
    return new Promise((resolve) => {
      const isLost = [0, 0].some(() => this.random.next() < this.conditions.loss);
      if (isLost) return;
      this.clock.setTimeout(() => {
        const isThere = this.port(from, to) !== undefined || this.#refusing.has(keyOf(to));
        if (isThere) this.clock.setTimeout(resolve, this.delay());
      }, this.delay());
    });
  }
}
