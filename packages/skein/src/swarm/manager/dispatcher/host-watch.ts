import { type Clock, delay, type Logger } from '../../../common/index.ts';
import type { HostWitness } from '../types.ts';
import { hostPollMs } from './constants.ts';
import type { RegisteredNode } from './sessions.ts';

export interface HostWatchOptions {
  readonly witness: HostWitness;
  /** The nodes that have a session, without the manager's own. */
  readonly nodes: () => readonly RegisteredNode[];
  /** Silence of a host after which it is gone. */
  readonly silenceMs: () => number;
  /** The host of this node is gone. */
  readonly gone: (nodeId: string) => void;
  readonly clock: Clock;
  readonly logger: Logger;
}

/**
 * Tells hosts that are gone from daemons that are silent. A daemon may stop, restart or be killed while its containers
 * run on, so that its heartbeats have their grace; a host whose kernel answers nobody runs nothing. Gone is a host that
 * the gossip holds for dead and that answers this manager by no way at all for a while.
 */
export class HostWatch {
  readonly #options: HostWatchOptions;
  readonly #stop = new AbortController();
  /** Since when nodes have been silent, by their sessions. BOUNDED by the nodes: only those of the last look are kept. */
  #silentSince = new Map<RegisteredNode, number>();

  constructor(options: HostWatchOptions) {
    this.#options = options;
    void this.#run();
  }

  close(): void {
    this.#stop.abort();
  }

  async #run(): Promise<void> {
    const { clock, logger } = this.#options;
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await delay(clock, hostPollMs, signal).catch(() => {});
      if (signal.aborted) return;
      try {
        await this.#look();
      } catch (error) {
        logger.error({ err: error }, 'hosts could not be watched');
      }
    }
  }

  async #look(): Promise<void> {
    const suspects = this.#suspects();
    const since = this.#silentSince;
    this.#silentSince = new Map();
    await Promise.all(suspects.map((node) => this.#ask(node, since.get(node))));
  }

  /** Who loses sight of more than half of the others at once is rather cut off itself. Then heartbeats decide. */
  #suspects(): readonly RegisteredNode[] {
    const lost = new Set(this.#options.witness.lost());
    if (lost.size === 0) return [];
    const nodes = this.#options.nodes();
    const suspects = nodes.filter(({ address }) => lost.has(address));
    return suspects.length * 2 > nodes.length ? [] : suspects;
  }

  async #ask(node: RegisteredNode, since: number | undefined): Promise<void> {
    const { clock, witness, silenceMs, gone } = this.#options;
    const asked = clock.now();
    const answers = await Promise.all([node.ping(), witness.answers(node.address)]);
    if (answers.includes(true) || node.ended.aborted || this.#stop.signal.aborted) return;
    const silentSince = since ?? asked;
    if (clock.now() - silentSince >= silenceMs()) gone(node.nodeId);
    else this.#silentSince.set(node, silentSince);
  }
}
