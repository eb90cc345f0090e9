import type { Clock } from '../../../common/index.ts';
import type { Network, NetworkAttachment, Node, Service, Task } from '../../gen/objects_pb.js';
import type { Note, ReadTransaction, Store, StoreEvent, TableName, Tables } from '../../store/index.ts';
import { createdMs, isAlive } from '../tasks.ts';
import { formatSubnet, parseSubnet } from './subnet.ts';
import { parseVxlanIds, vxlanIdsOption } from './vxlan.ts';

/**
 * So long a freed address, subnet or VXLAN ID rests: longer than what others may still remember of it lasts, which is
 * two of gossip's bulk syncs (60 s) and a UDP flow in conntrack (120 s; linux nf_conntrack_udp_timeout_stream).
 */
export const quarantineMs = 5 * 60_000;

/** Where subnets and VXLAN IDs are taken from; addresses are taken from the spaces of their network. */
export const subnetSpace = 'subnet';
export const ipv6SubnetSpace = 'IPv6 subnet';
export const vxlanSpace = 'vxlan';
const ipv6SpaceOf = (networkId: string): string => `${networkId} IPv6`;

/** @returns the space of an address: each network has one for either family. */
export function addressSpace(networkId: string, address: string): string {
  return address.includes(':') ? ipv6SpaceOf(networkId) : networkId;
}

/** Something that is given out, in text: an address without its prefix length, a subnet, a VXLAN ID. */
interface Lot {
  readonly space: string;
  readonly value: string;
}

/** The key of the store's note that says since when something rests. */
const notePrefix = 'rests';
const noteKey = ({ space, value }: Lot): string => [notePrefix, space, value].join('\t');

/**
 * What was given last and what was freed lately. Spaces are walked through from the last one given on, as Docker does;
 * what was freed within the quarantine is passed over. It watches the store, and so misses nothing that is freed.
 *
 * What rests is noted in the store, in the commit that frees it: it rests over a restart, too. There the walk goes on
 * behind what the newest object has.
 */
export class Quarantine implements Disposable {
  readonly #clock: Clock;
  readonly #stops = new DisposableStack();
  /** By space: the last one given. BOUNDED by the networks. */
  readonly #last = new Map<string, string>();
  /** By space: when each was freed, the oldest first. BOUNDED by what is freed within the quarantine. */
  readonly #freed = new Map<string, Map<string, number>>();
  /** Notes that have outlived the quarantine. BOUNDED by what rested at once: the next commit that frees takes them away. */
  #outlived: string[] = [];

  constructor(store: Store, clock: Clock) {
    this.#clock = clock;
    store.view((tx) => this.#resume(tx));
    this.#recall(store.notes());
    this.#stops.defer(store.annotate((events) => this.#note(events)));
    this.#stops.defer(store.watch((events) => this.#notice(events)));
  }

  [Symbol.dispose](): void {
    this.#stops.dispose();
  }

  /** @returns what was given last of a space: the next search begins behind it. */
  last(space: string): string | undefined {
    return this.#last.get(space);
  }

  give(space: string, value: string): void {
    this.#last.set(space, value);
  }

  /** @returns what is not to be given again yet, with its times, the one that was freed first first. */
  resting(space: string): ReadonlyMap<string, number> {
    const freed = this.#freed.get(space);
    if (!freed) return new Map();
    this.#wake(space, freed);
    return freed;
  }

  #free({ space, value }: Lot, at: number): void {
    const freed = this.#freed.get(space) ?? new Map<string, number>();
    this.#freed.set(space, freed);
    // Behind all others, so that the order is that of the times.
    freed.delete(value);
    freed.set(value, at);
  }

  #wake(space: string, freed: Map<string, number>): void {
    const limit = this.#clock.now() - quarantineMs;
    for (const [value, at] of freed) {
      if (at > limit) break;
      freed.delete(value);
      this.#outlived.push(noteKey({ space, value }));
    }
    if (freed.size === 0) this.#freed.delete(space);
  }

  /** @returns what the store is to note of a commit: what it frees; and the notes that have had their time. */
  #note(events: readonly StoreEvent[]): Note[] {
    const freed = events.flatMap(freedLots);
    if (freed.length === 0) return [];
    for (const [space, lots] of this.#freed) this.#wake(space, lots);
    const value = String(this.#clock.now());
    const over = this.#outlived.splice(0).map((key) => ({ key, value: undefined }));
    return [...over, ...freed.map((lot) => ({ key: noteKey(lot), value }))];
  }

  #notice(events: readonly StoreEvent[]): void {
    const now = this.#clock.now();
    for (const lot of events.flatMap(freedLots)) this.#free(lot, now);
    for (const { action, table, object } of events) {
      if (action !== 'delete' || table !== 'network') continue;
      for (const space of [object.id, ipv6SpaceOf(object.id)]) this.#last.delete(space);
    }
  }

  #recall(notes: ReadonlyMap<string, string>): void {
    const now = this.#clock.now();
    const lots = [...notes].flatMap(([key, value]) => {
      const [prefix, space = '', lot = ''] = key.split('\t');
      // A clock that was set back must not make the rest longer.
      const at = Math.min(Number(value), now);
      return prefix === notePrefix ? [{ space, value: lot, at }] : [];
    });
    for (const { at, ...lot } of lots.sort((a, b) => a.at - b.at)) this.#free(lot, at);
  }

  #resume(tx: ReadTransaction): void {
    const byAge = <T extends 'network' | 'service' | 'task'>(table: T) =>
      tx.list(table).sort((a, b) => createdMs(a) - createdMs(b));
    for (const network of byAge('network')) for (const { space, value } of chosenLots(network)) this.give(space, value);
    const holders = [
      ...byAge('service').map((service) => ({ at: createdMs(service), lots: lotsOf('service', service) })),
      ...byAge('task').map((task) => ({ at: createdMs(task), lots: attachmentLots(task.networks) })),
    ].sort((a, b) => a.at - b.at);
    const spaces = new Set(tx.list('network').flatMap(({ id }) => [id, ipv6SpaceOf(id)]));
    for (const { space, value } of holders.flatMap(({ lots }) => lots)) if (spaces.has(space)) this.give(space, value);
  }
}

/** @returns what an object had before a commit and has not any more. */
function freedLots({ action, table, object, previous }: StoreEvent): Lot[] {
  if (!previous) return [];
  const kept = new Set(action === 'delete' ? [] : lotsOf(table, object).map(noteKey));
  return lotsOf(table, previous).filter((lot) => !kept.has(noteKey(lot)));
}

/** @returns what an object has while it is as it is. */
function lotsOf<T extends TableName>(table: T, object: Tables[T]): Lot[] {
  switch (table) {
    case 'network':
      return networkLots(object as Network);
    case 'service':
      return ((object as Service).endpoint?.virtualIps ?? []).map(({ networkId, addr }) => addressLot(networkId, addr));
    case 'task':
      return isAlive(object as Task) ? attachmentLots((object as Task).networks) : [];
    case 'node':
      return attachmentLots((object as Node).attachments);
    default:
      return [];
  }
}

function addressLot(networkId: string, address: string): Lot {
  return { space: addressSpace(networkId, address), value: address.split('/')[0] ?? '' };
}

function attachmentLots(attachments: readonly NetworkAttachment[]): Lot[] {
  return attachments.flatMap(({ network, addresses }) =>
    network ? addresses.map((address) => addressLot(network.id, address)) : [],
  );
}

function networkLots({ ipam, driverState }: Network): Lot[] {
  const vxlanIds = parseVxlanIds(driverState?.options[vxlanIdsOption]).map(String);
  return [
    ...(ipam?.configs ?? []).map(({ subnet }) => ({
      space: subnet.includes(':') ? ipv6SubnetSpace : subnetSpace,
      value: subnet,
    })),
    ...vxlanIds.map((value) => ({ space: vxlanSpace, value })),
  ];
}

/** @returns what the manager chose itself of a network's subnets and VXLAN IDs. */
function chosenLots(network: Network): Lot[] {
  const { spec } = network;
  const asked = new Set([
    ...(spec?.ipam?.configs ?? []).flatMap(({ subnet }) => parseSubnet(subnet) ?? []).map(formatSubnet),
    ...(spec?.driverConfig?.options[vxlanIdsOption] ?? '').split(','),
  ]);
  return networkLots(network).filter(({ value }) => !asked.has(value));
}
