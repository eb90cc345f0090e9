/** The hosts on which the sections measure: made when a section first asks for them, kept for the next one. */
import { setTimeout as sleep } from 'node:timers/promises';
import { BareHosts } from './bare.ts';
import { type EngineMemory, engineMemory } from './processes.ts';
import { Swarm, type SwarmOptions } from './swarm.ts';

/** Hosts of the small swarms. */
const smallSwarm = 2;
/** What an engine does at its start is over after this. */
const settleMs = 3000;

export type SmallSwarm = 'skein' | 'dockerd' | 'skein-variant';

export class Stage implements AsyncDisposable {
  readonly #say: (text: string) => void;
  readonly #variant: string;
  readonly #swarms = new Map<SmallSwarm, Swarm>();
  readonly #idle = new Map<SmallSwarm, EngineMemory>();
  /** Hosts that a section made for itself. */
  readonly #kept = new Set<AsyncDisposable>();
  #bare: BareHosts | undefined;

  /** @param variant flags of the further contestant; '' for none. */
  constructor(variant: string, say: (text: string) => void) {
    this.#variant = variant;
    this.#say = say;
  }

  /** The engines that are compared, in the order of the table. */
  get engines(): readonly SmallSwarm[] {
    return ['skein', 'dockerd'];
  }

  /** The contestants of the traffic: with the variant of Skein, where one was asked for. */
  get trafficEngines(): readonly SmallSwarm[] {
    return this.#variant === '' ? this.engines : ['skein', 'skein-variant', 'dockerd'];
  }

  /** The swarm of two hosts of a contestant. */
  async swarm(contestant: SmallSwarm): Promise<Swarm> {
    const known = this.#swarms.get(contestant);
    if (known !== undefined) return known;
    this.#say(`starting two hosts: ${contestant}`);
    const swarm = await Swarm.start(this.#options(contestant));
    this.#swarms.set(contestant, swarm);
    await sleep(settleMs);
    this.#idle.set(contestant, engineMemory(swarm.namespace('node2')));
    return swarm;
  }

  /** Memory of a worker's engine as it was before its first task. */
  async idleMemory(contestant: SmallSwarm): Promise<EngineMemory> {
    await this.swarm(contestant);
    return this.#idle.get(contestant) ?? { resident: Number.NaN, proportional: Number.NaN };
  }

  /** The hosts without an engine. */
  async bare(): Promise<BareHosts> {
    this.#bare ??= await BareHosts.start();
    return this.#bare;
  }

  /** Takes a section's own hosts into care: an interrupted run ends them too. The section disposes of them itself. */
  keep<T extends AsyncDisposable>(hosts: T): T {
    this.#kept.add(hosts);
    return hosts;
  }

  /** Ends what has been started; ending twice is no error. */
  async clear(): Promise<void> {
    const all = [...this.#swarms.values(), ...this.#kept, ...(this.#bare ? [this.#bare] : [])];
    this.#swarms.clear();
    this.#kept.clear();
    this.#bare = undefined;
    for (const each of all) await each[Symbol.asyncDispose]();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.clear();
  }

  #options(contestant: SmallSwarm): SwarmOptions {
    const flags = contestant === 'skein-variant' ? this.#variant : '';
    const engine = contestant === 'dockerd' ? 'dockerd' : 'skeind';
    return { contestant, engine, nodes: smallSwarm, flags };
  }
}
