/** What gossip says of tasks and peers, in the service table. */
import type { NetworkDB, TableChange } from '@skein/gossip';
import { decodeRecord, endpointTable } from '../discovery/records.ts';
import { backendOf, ipv6BackendOf, peerAddressesOf, peerTable } from './records.ts';
import type { BackendRecord, ServiceTable } from './service-table.ts';

export interface ServiceFeedOptions {
  readonly services: ServiceTable;
  /** How long what a lost node said still counts; milliseconds. */
  readonly lostGraceMs: number;
  /** A task of the network has the address. */
  noteTask(networkId: string, address: string): void;
  /** Something of the network has changed in the table. */
  changed(networkId: string): void;
}

export class ServiceFeed implements Disposable {
  readonly #options: ServiceFeedOptions;
  #gossip: { readonly db: NetworkDB; readonly watches: DisposableStack } | undefined;

  constructor(options: ServiceFeedOptions) {
    this.#options = options;
  }

  /** Follows this gossip from now on, and no other. */
  follow(db: NetworkDB): void {
    if (this.#gossip?.db === db) return;
    this.lose();
    const watches = new DisposableStack();
    this.#gossip = { db, watches };
    watches.defer(db.watch(peerTable, undefined, (change) => this.#takePeer(change)));
    watches.defer(db.watch(endpointTable, undefined, (change) => this.#takeEndpoint(change)));
  }

  /** What the gossip said still counts for a while, as what a lost node said: nobody will say what goes of it. */
  lose(): void {
    if (this.#gossip === undefined) return;
    this[Symbol.dispose]();
    const { services, lostGraceMs, changed } = this.#options;
    for (const networkId of services.loseAll(Date.now() + lostGraceMs)) changed(networkId);
  }

  /** Hears no more. */
  [Symbol.dispose](): void {
    this.#gossip?.watches.dispose();
    this.#gossip = undefined;
  }

  #takeEndpoint({ type, networkId, key, value, reason }: TableChange): void {
    const record = decodeRecord(value);
    const backends = [
      [key, record && backendOf(record)],
      [ipv6Key(key), record && ipv6BackendOf(record)],
    ] as const;
    for (const [id, backend] of backends) {
      if (type === 'delete') this.#remove(networkId, id, backend, reason);
      else this.#put(networkId, id, backend);
    }
    this.#options.changed(networkId);
  }

  #put(networkId: string, key: string, backend: BackendRecord | undefined): void {
    const { services, noteTask } = this.#options;
    if (backend === undefined) {
      services.delete(networkId, key, undefined, Date.now());
      return;
    }
    noteTask(networkId, backend.address);
    services.set(networkId, key, backend, Date.now());
  }

  /** @param last what was said of it last. */
  #remove(networkId: string, key: string, last: BackendRecord | undefined, reason: TableChange['reason']): void {
    const { services, lostGraceMs } = this.#options;
    const now = Date.now();
    if (isLoss(reason)) services.lose(networkId, key, now + lostGraceMs, now);
    else services.delete(networkId, key, last?.address, now);
  }

  #takePeer({ type, networkId, key, value, reason }: TableChange): void {
    const { ipv4, ipv6 } = type === 'delete' ? {} : peerAddressesOf(value);
    this.#putPeer(networkId, key, ipv4, reason);
    this.#putPeer(networkId, ipv6Key(key), ipv6, reason);
    this.#options.changed(networkId);
  }

  #putPeer(networkId: string, key: string, address: string | undefined, reason: TableChange['reason']): void {
    const { services, lostGraceMs } = this.#options;
    if (address !== undefined) services.setPeer(networkId, key, address);
    else if (isLoss(reason)) services.losePeer(networkId, key, Date.now() + lostGraceMs);
    else services.deletePeer(networkId, key);
  }
}

/** A task is one backend for each family, under keys of their own. */
const ipv6Key = (endpointId: string): string => `${endpointId} ipv6`;

function isLoss(reason: TableChange['reason']): boolean {
  return reason === 'unreachable' || reason === 'left';
}
