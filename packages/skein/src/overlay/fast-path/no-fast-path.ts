/** Where the fast path is off: takes away what an earlier daemon made, so that all packets go the kernel's way. */
import { detachTcx, type NetworkNamespace, RouteSocket } from '@skein/netlink';
import { errorText, type Logger } from '../../common/index.ts';
import { gateName } from '../names.ts';
import { programNames } from './programs.ts';
import type { FastPath, NetworkPlan } from './types.ts';
import { defaultLargestSegment, underlayLink } from './underlay-link.ts';

const direction = 'ingress';

export class NoFastPath implements FastPath {
  readonly takesLargeSegments = false;
  readonly #host: NetworkNamespace;
  /** IDs of networks that have been seen to. BOUNDED by the networks of this host's containers. */
  readonly #cleared = new Set<string>();
  readonly #logger: Logger;
  readonly #detach: typeof detachTcx;
  #hasComplained = false;

  constructor(host: NetworkNamespace, logger: Logger, detach = detachTcx) {
    this.#host = host;
    this.#logger = logger;
    this.#detach = detach;
  }

  reconcile(sandbox: NetworkNamespace, plan: NetworkPlan): void {
    if (this.#cleared.has(plan.networkId)) return;
    this.#try(() => {
      this.#clear(sandbox, plan);
      this.#cleared.add(plan.networkId);
    });
  }

  largestSegment(): number {
    return defaultLargestSegment;
  }

  change(): boolean {
    return true;
  }

  #clear(sandbox: NetworkNamespace, { vtep }: NetworkPlan): void {
    using route = RouteSocket.open(sandbox);
    const links = route.links.list().filter(({ kind }) => kind === 'veth');
    // First the programs, which would lead packets to a gate that is not there.
    for (const { index } of links) this.#detach({ namespace: sandbox, index, direction }, programNames.send);
    this.#leave(vtep);
    for (const { name, index } of links) if (name === gateName) route.links.delete(index);
  }

  forget(networkId: string): void {
    this.#cleared.delete(networkId);
  }

  release(vtep: string): void {
    this.#try(() => this.#leave(vtep));
  }

  #leave(vtep: string): void {
    const index = underlayLink(this.#host, vtep);
    if (index !== undefined) this.#detach({ namespace: this.#host, index, direction }, programNames.receive);
  }

  /** Where a daemon may not ask for programs, an earlier one will not have made any: that is said once. */
  #try(takeAway: () => void): void {
    try {
      takeAway();
    } catch (error) {
      if (this.#hasComplained) return;
      this.#hasComplained = true;
      this.#logger.warn({ error: errorText(error) }, 'cannot see whether an earlier daemon left a fast path');
    }
  }

  [Symbol.dispose](): void {}
}
