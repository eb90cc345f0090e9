/** One network's part of the fast path: its gate, its maps' entries, its programs on its links. */
import { attachTcx, type NetworkNamespace, RouteSocket } from '@skein/netlink';
import { ensureGate } from './gate.ts';
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
import type { NetworkPlan, PlannedEndpoint } from './types.ts';
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
  /** Index of the gate's end in the host's namespace. */
  #gate = 0;
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
    const residents = residentsOf(sandbox, plan.endpoints);
    const gate = ensureGate(this.#host, sandbox, plan.networkId);
    this.#gate = gate.outside;
    this.#own.sandbox.set(indexKey(0), sandboxValue(gate.inside, plan.mtu));
    this.#residents.reconcile(residents);
    this.#ports.reconcile(residents);
    this.#peers.reconcile(this.#reachedOf(plan.peers));
    attachTcx({ namespace: this.#host, index: gate.outside, direction }, this.#shared.leave);
    attachTcx({ namespace: sandbox, index: gate.inside, direction }, this.#own.enter);
    this.#attach(sandbox, residents);
    // Last, since from here on frames come in.
    this.#endpoints.reconcile(this.#behindGate(residents));
    this.#isWhole = true;
  }

  /** What has these addresses on this host is now these endpoints. */
  changeEndpoints(sandbox: NetworkNamespace, addresses: Iterable<string>, endpoints: readonly PlannedEndpoint[]): void {
    const residents = residentsOf(sandbox, endpoints);
    this.#residents.change(addresses, residents);
    this.#ports.change(addresses, residents);
    this.#attach(sandbox, residents);
    this.#endpoints.change(addresses, this.#behindGate(residents));
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

  #attach(sandbox: NetworkNamespace, residents: readonly Resident[]): void {
    for (const { port } of residents) attachTcx({ namespace: sandbox, index: port, direction }, this.#own.send);
  }

  #behindGate(residents: readonly Resident[]): (Resident & { readonly gate: number })[] {
    return residents.map((resident) => ({ ...resident, gate: this.#gate }));
  }
}

/** @returns the endpoints whose ports are there. */
function residentsOf(sandbox: NetworkNamespace, endpoints: readonly PlannedEndpoint[]): Resident[] {
  if (endpoints.length === 0) return [];
  using route = RouteSocket.open(sandbox);
  return endpoints.flatMap(({ address, mac, vni, portName }) => {
    const port = route.links.get(portName)?.index;
    return port === undefined ? [] : [{ address, mac, vni, port }];
  });
}
