/** The fast path of a host, where its kernel can. */
import { attachTcx, detachTcx, type NetworkNamespace, Prefix } from '@skein/netlink';
import { errorText, type Logger } from '../../common/index.ts';
import { NetworkPath } from './network-path.ts';
import { NoFastPath } from './no-fast-path.ts';
import { HostPrograms, programNames } from './programs.ts';
import { hostValue, indexKey } from './records.ts';
import type { FastPath, NetworkPlan } from './types.ts';
import { largestSegment, neighboursOf, underlayLink } from './underlay-link.ts';

/** `auto`: where the kernel can. */
export type FastPathMode = 'auto' | 'off';

const direction = 'ingress';
/** Link 0 is none: nothing is encapsulated. */
const noTunnel = hostValue('0.0.0.0', 0, 0, Prefix.parse('0.0.0.0'));

/** @returns the host's fast path. Where it is not wanted or not possible, one that takes away what an earlier daemon made. */
export function openFastPath(
  host: NetworkNamespace,
  mode: FastPathMode,
  logger: Logger,
  load: typeof HostPrograms.load = HostPrograms.load,
): FastPath {
  if (mode === 'off') return new NoFastPath(host, logger);
  try {
    return new KernelFastPath(host, load(host), logger);
  } catch (error) {
    logger.info({ error: errorText(error) }, 'the fast path is off: the kernel cannot run its programs');
    return new NoFastPath(host, logger);
  }
}

class KernelFastPath implements FastPath {
  readonly takesLargeSegments = true;
  readonly #host: NetworkNamespace;
  readonly #programs: HostPrograms;
  readonly #logger: Logger;
  /** By network ID. BOUNDED by the networks of this host's containers. */
  readonly #networks = new Map<string, NetworkPath>();
  /** Index of the link with the program for what comes in. */
  #underlay: number | undefined;

  constructor(host: NetworkNamespace, programs: HostPrograms, logger: Logger) {
    this.#host = host;
    this.#programs = programs;
    this.#logger = logger;
  }

  reconcile(sandbox: NetworkNamespace, plan: NetworkPlan): void {
    try {
      const link = this.#followUnderlay(plan);
      const path = this.#networks.get(plan.networkId) ?? new NetworkPath(this.#host, this.#programs);
      this.#networks.set(plan.networkId, path);
      path.reconcile(sandbox, plan, link);
      if (link !== undefined) attachTcx({ namespace: this.#host, index: link, direction }, this.#programs.receive);
    } catch (error) {
      this.#giveUp(plan.networkId, error);
    }
  }

  largestSegment(vtep: string): number {
    return largestSegment(this.#host, vtep);
  }

  change(
    sandbox: NetworkNamespace,
    networkId: string,
    addresses: ReadonlySet<string>,
    { endpoints, peers }: Pick<NetworkPlan, 'endpoints' | 'peers'>,
  ): boolean {
    const path = this.#networks.get(networkId);
    if (!path?.isWhole) return false;
    try {
      path.changePeers(addresses, peers);
      path.changeEndpoints(sandbox, addresses, endpoints);
    } catch (error) {
      this.#giveUp(networkId, error);
    }
    return true;
  }

  forget(networkId: string): void {
    using path = this.#networks.get(networkId);
    if (path === undefined) return;
    this.#networks.delete(networkId);
    path.clear();
    if (this.#networks.size === 0) this.#leaveUnderlay();
  }

  release(vtep: string): void {
    if (this.#networks.size > 0) return;
    this.#underlay = underlayLink(this.#host, vtep);
    this.#leaveUnderlay();
  }

  /** Lets go of maps and programs. What is attached stays as it is, for the next daemon. */
  [Symbol.dispose](): void {
    for (const path of this.#networks.values()) path[Symbol.dispose]();
    this.#networks.clear();
    this.#programs[Symbol.dispose]();
  }

  /** Tells the programs which link has the VTEP, and leaves the one that had it before. */
  #followUnderlay({ vtep, dataPathPort }: NetworkPlan): number | undefined {
    const link = underlayLink(this.#host, vtep);
    if (this.#underlay !== link) this.#leaveUnderlay();
    this.#underlay = link;
    const value =
      link === undefined ? noTunnel : hostValue(vtep, link, dataPathPort, neighboursOf(this.#host, link, vtep));
    this.#programs.host.set(indexKey(0), value);
    return link;
  }

  #leaveUnderlay(): void {
    if (this.#underlay === undefined) return;
    detachTcx({ namespace: this.#host, index: this.#underlay, direction }, programNames.receive);
    this.#underlay = undefined;
  }

  /** Without entries the programs let all packets pass. */
  #giveUp(networkId: string, cause: unknown): void {
    this.#logger.error({ networkId, error: errorText(cause) }, 'the fast path does not take a network');
    try {
      this.#networks.get(networkId)?.clear();
    } catch (error) {
      this.#logger.error({ networkId, error: errorText(error) }, 'cannot empty the maps of the fast path');
    }
  }
}
