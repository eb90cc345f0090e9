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

const direction = 'ingress';

export class NetworkPath implements Disposable {
  readonly #host: NetworkNamespace;
  readonly #shared: HostPrograms;
  readonly #own: NetworkPrograms;
  readonly #peers: OwnedEntries;
  readonly #endpoints: OwnedEntries;
  readonly #ports: OwnedEntries;
  readonly #residents: OwnedEntries;

  constructor(host: NetworkNamespace, shared: HostPrograms) {
    this.#host = host;
    this.#shared = shared;
    this.#own = shared.forNetwork();
    this.#peers = new OwnedEntries(shared.peers);
    this.#endpoints = new OwnedEntries(shared.endpoints);
    this.#ports = new OwnedEntries(this.#own.ports);
    this.#residents = new OwnedEntries(this.#own.residents);
  }

  /** Makes entries and programs as they should be. `peers`: those that are reached over the underlay's link. */
  reconcile(sandbox: NetworkNamespace, plan: NetworkPlan, peers: readonly RemoteEndpoint[]): void {
    const residents = residentsOf(sandbox, plan);
    const gate = ensureGate(this.#host, sandbox, plan.networkId);
    this.#own.sandbox.set(indexKey(0), sandboxValue(gate.inside, plan.mtu));
    this.#residents.reconcile(residents.map((resident) => [ipKey(resident.address), residentValue(resident)]));
    this.#ports.reconcile(residents.map((resident) => [indexKey(resident.port), residentValue(resident)]));
    this.#peers.reconcile(peers.map((peer) => [addressKey(peer.vni, peer.address), peerValue(peer)]));
    this.#attach(sandbox, gate, residents);
    // Last, since from here on frames come in.
    this.#endpoints.reconcile(
      residents.map(({ vni, address, mac }) => [addressKey(vni, address), endpointValue(gate.outside, mac)]),
    );
  }

  /** From now on the network's packets go the kernel's way. */
  clear(): void {
    for (const entries of [this.#endpoints, this.#peers, this.#ports, this.#residents]) entries.reconcile([]);
  }

  /** Lets go of maps and programs. What is attached stays as it is, for the next daemon. */
  [Symbol.dispose](): void {
    this.#own[Symbol.dispose]();
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
