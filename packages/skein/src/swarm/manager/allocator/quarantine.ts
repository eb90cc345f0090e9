import { timestampMs } from '@bufbuild/protobuf/wkt';
import type { Clock } from '../../../common/index.ts';
import type { Network, NetworkAttachment, Node, Service, Task } from '../../gen/objects_pb.js';
import type { ReadTransaction, Store, StoreEvent, TableName, Tables } from '../../store/index.ts';
import { createdMs, isAlive } from '../tasks.ts';
import { parseVxlanIds, vxlanIdsOption } from './vxlan.ts';

/**
 * So long a freed address, subnet or VXLAN ID rests: longer than what others may still remember of it lasts, which is
 * two of gossip's bulk syncs (60 s) and a UDP flow in conntrack (120 s; linux nf_conntrack_udp_timeout_stream).
 */
export const quarantineMs = 5 * 60_000;

/** Where subnets and VXLAN IDs are taken from; addresses are taken from the spaces of their network. */
export const subnetSpace = 'subnet';
const ipv6SubnetSpace = 'IPv6 subnet';
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

/**
 * What was given last and what was freed lately. Spaces are walked through from the last one given on, as Docker does;
 * what was freed within the quarantine is passed over. It watches the store, and so misses nothing that is freed.
 *
 * After a restart of the manager the walk goes on behind what the newest object has, and what is still known of ended
 * tasks rests for the remainder of its time; objects that were deleted before are forgotten.
 */
export class Quarantine implements Disposable {
  readonly #clock: Clock;
  readonly #stopWatching: () => void;
  /** By space: the last one given. BOUNDED by the networks. */
  readonly #last = new Map<string, string>();
  /** By space: when each was freed, the oldest first. BOUNDED by what is freed within the quarantine. */
  readonly #freed = new Map<string, Map<string, number>>();

  constructor(store: Store, clock: Clock) {
    this.#clock = clock;
    store.view((tx) => this.#resume(tx));
    this.#stopWatching = store.watch((events) => {
      for (const event of events) this.#notice(event);
    });
  }

  [Symbol.dispose](): void {
    this.#stopWatching();
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
    const freed = this.#freed.get(space) ?? new Map<string, number>();
    const limit = this.#clock.now() - quarantineMs;
    for (const [value, at] of freed) {
      if (at > limit) break;
      freed.delete(value);
    }
    return freed;
  }

  #free({ space, value }: Lot, at: number): void {
    const freed = this.#freed.get(space) ?? new Map<string, number>();
    this.#freed.set(space, freed);
    // Behind all others, so that the order is that of the times.
    freed.delete(value);
    freed.set(value, at);
  }

  #notice({ action, table, object, previous }: StoreEvent): void {
    if (!previous) return;
    const kept = new Set(
      action === 'delete' ? [] : lotsOf(table, object).map(({ space, value }) => `${space} ${value}`),
    );
    const now = this.#clock.now();
    for (const lot of lotsOf(table, previous)) if (!kept.has(`${lot.space} ${lot.value}`)) this.#free(lot, now);
    if (action !== 'delete' || table !== 'network') return;
    for (const space of [object.id, ipv6SpaceOf(object.id)]) {
      this.#freed.delete(space);
      this.#last.delete(space);
    }
  }

  #resume(tx: ReadTransaction): void {
    const byAge = <T extends 'network' | 'service' | 'task'>(table: T) =>
      tx.list(table).sort((a, b) => createdMs(a) - createdMs(b));
    for (const network of byAge('network')) for (const { space, value } of chosenLots(network)) this.give(space, value);
    const holders = [
      ...byAge('service').map((service) => ({ at: createdMs(service), lots: lotsOf('service', service) })),
      ...byAge('task').map((task) => ({ at: createdMs(task), lots: attachmentLots(task.networks) })),
    ].sort((a, b) => a.at - b.at);
    for (const { lots } of holders) for (const { space, value } of lots) this.give(space, value);
    const ended = tx
      .list('task')
      .filter((task) => !isAlive(task))
      .map((task) => ({ at: task.status?.timestamp ? timestampMs(task.status.timestamp) : 0, task }))
      .sort((a, b) => a.at - b.at);
    for (const { at, task } of ended)
      if (at > this.#clock.now() - quarantineMs) for (const lot of attachmentLots(task.networks)) this.#free(lot, at);
  }
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
    ...(spec?.ipam?.configs ?? []).map(({ subnet }) => subnet),
    ...(spec?.driverConfig?.options[vxlanIdsOption] ?? '').split(','),
  ]);
  return networkLots(network).filter(({ value }) => !asked.has(value));
}
