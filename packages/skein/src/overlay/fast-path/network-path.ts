/** One network's part of the fast path: its gate, its maps' entries, its programs on its links. */
import { attachTcx, type NetworkNamespace, RouteSocket } from '@skein/netlink';
import { ensureGate, type Gate } from './gate.ts';
import type { HostPrograms, NetworkPrograms } from './programs.ts';
import {
  addressKey,
  endpointValue,
  indexKey,
  ipKey,
  OwnedEntries,
  peerValue,
  type RemoteEndpoint,
  type Resident,
  residentValue,
  sandboxValue,
} from './records.ts';
import type { NetworkPlan } from './types.ts';
import { reachedOver } from './underlay-link.ts';

const direction = 'ingress';

export class NetworkPath implements Disposable {
  readonly #host: NetworkNamespace;
  readonly #shared: HostPrograms;
  readonly #own: NetworkPrograms;
  readonly #peers: OwnedEntries<RemoteEndpoint>;
  readonly #endpoints: OwnedEntries<Resident & { readonly gate: number }>;
  readonly #ports: OwnedEntries<Resident>;
  readonly #residents: OwnedEntries<Resident>;
  /** The underlay's. */
  #link: number | undefined;
  #mtu = 0;
  /** VTEP → whether it is reached over that link. BOUNDED by the network's hosts since the last whole reconciliation. */
  readonly #reached = new Map<string, boolean>();
  #isWhole = false;

  constructor(host: NetworkNamespace, shared: HostPrograms) {
    this.#host = host;
    this.#shared = shared;
    this.#own = shared.forNetwork();
    this.#peers = new OwnedEntries(shared.peers, (peer) => [addressKey(peer.vni, peer.address), peerValue(peer)]);
    this.#endpoints = new OwnedEntries(shared.endpoints, ({ vni, address, gate, mac }) => [
      addressKey(vni, address),
      endpointValue(gate, mac),
    ]);
    this.#ports = new OwnedEntries(this.#own.ports, (resident) => [indexKey(resident.port), residentValue(resident)]);
    this.#residents = new OwnedEntries(this.#own.residents, (resident) => [
      ipKey(resident.address),
      residentValue(resident),
    ]);
  }

  /** Entries and programs are as the last plan said, as far as is known. */
  get isWhole(): boolean {
    return this.#isWhole;
  }

  /** Makes entries and programs as they should be, whatever they are now. @param link the underlay's, if there is one. */
  reconcile(sandbox: NetworkNamespace, plan: NetworkPlan, link: number | undefined): void {
    this.#isWhole = false;
    this.#link = link;
    this.#mtu = plan.mtu;
    this.#reached.clear();
    const residents = residentsOf(sandbox, plan);
    const gate = ensureGate(this.#host, sandbox, plan.networkId);
    this.#own.sandbox.set(indexKey(0), sandboxValue(gate.inside, plan.mtu));
    this.#residents.reconcile(residents);
    this.#ports.reconcile(residents);
    this.#peers.reconcile(this.#reachedOf(plan.peers));
    this.#attach(sandbox, gate, residents);
    // Last, since from here on frames come in.
    this.#endpoints.reconcile(residents.map((resident) => ({ ...resident, gate: gate.outside })));
    this.#isWhole = true;
  }

  /** What has these addresses is now these peers. */
  changePeers(addresses: Iterable<string>, peers: readonly RemoteEndpoint[]): void {
    this.#peers.change(addresses, this.#reachedOf(peers));
  }

  /** From now on the network's packets go the kernel's way. */
  clear(): void {
    this.#isWhole = false;
    for (const entries of [this.#endpoints, this.#peers, this.#ports, this.#residents]) entries.reconcile([]);
  }

  /** Lets go of maps and programs. What is attached stays as it is, for the next daemon. */
  [Symbol.dispose](): void {
    this.#own[Symbol.dispose]();
  }

  #reachedOf(peers: readonly RemoteEndpoint[]): RemoteEndpoint[] {
    if (this.#link === undefined) return [];
    const unknown = new Set(peers.map(({ vtep }) => vtep)).difference(this.#reached);
    const reached = reachedOver(this.#host, this.#link, this.#mtu, unknown);
    for (const vtep of unknown) this.#reached.set(vtep, reached.has(vtep));
    return peers.filter(({ vtep }) => this.#reached.get(vtep));
  }

  #attach(sandbox: NetworkNamespace, gate: Gate, residents: readonly Resident[]): void {
    attachTcx({ namespace: this.#host, index: gate.outside, direction }, this.#shared.leave);
    attachTcx({ namespace: sandbox, index: gate.inside, direction }, this.#own.enter);
    for (const { port } of residents) attachTcx({ namespace: sandbox, index: port, direction }, this.#own.send);
  }
}

/** @returns the endpoints whose ports are there. */
function residentsOf(sandbox: NetworkNamespace, { endpoints }: NetworkPlan): Resident[] {
  using route = RouteSocket.open(sandbox);
  const indices = new Map(route.links.list().map(({ name, index }) => [name, index]));
  return endpoints.flatMap(({ address, mac, vni, portName }) => {
    const port = indices.get(portName);
    return port === undefined ? [] : [{ address, mac, vni, port }];
  });
}
