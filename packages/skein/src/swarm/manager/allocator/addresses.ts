import type { Network, NetworkAttachment } from '../../gen/objects_pb.js';
import type { ReadTransaction } from '../../store/index.ts';
import { isAlive } from '../tasks.ts';
import { networkName } from './networks.ts';
import { addressSpace, type Quarantine } from './quarantine.ts';
import {
  type Address,
  contains,
  earlier,
  type Family,
  familyOf,
  formatAddress,
  formatSubnet,
  lastAddress,
  later,
  parseAddress,
  parseSubnet,
  type Subnet,
} from './subnet.ts';

/** Who holds an address, in the words of the message about a full network. */
const holders = ['gateway', 'reserved address', 'virtual IP', 'task', "node's load balancer"] as const;
type Holder = (typeof holders)[number];

/** What may be asked of a place on a network. */
export interface PlaceWish {
  /** Certain addresses, of at most both families; they may rest, and for a virtual IP be among the network's reserved ones. */
  readonly wanted?: readonly string[];
  /** So many IPv4 addresses are to stay free. */
  readonly spare?: number;
}

/**
 * Which addresses are in use, read from the objects that hold them: networks (gateways), services (virtual IPs), tasks
 * that have not ended, nodes (load balancers). It lives as long as one transaction. Nothing is ever freed by hand:
 * an address is free when no object has it.
 */
export class AddressBook {
  /** By network: what objects hold, as they say it. */
  readonly #told = new Map<string, { readonly text: string; readonly holder: Holder }[]>();
  /** By network, of those that were asked for: reading an address takes longer than passing it by. */
  readonly #held = new Map<string, Map<Address, Holder>>();
  /** What this book gave, in order. */
  readonly #given: { readonly networkId: string; readonly address: Address }[] = [];
  readonly #quarantine: Quarantine;

  constructor(tx: ReadTransaction, quarantine: Quarantine) {
    this.#quarantine = quarantine;
    for (const network of tx.list('network')) this.#holdGateways(network);
    for (const service of tx.list('service'))
      for (const { networkId, addr } of service.endpoint?.virtualIps ?? []) this.#hold(networkId, addr, 'virtual IP');
    for (const task of tx.list('task')) if (isAlive(task)) this.#holdAll(task.networks, 'task');
    for (const node of tx.list('node')) this.#holdAll(node.attachments, "node's load balancer");
  }

  /**
   * Takes a place on a network: an address, and on a network with IPv6 one of each family, both in subnets that share a
   * VXLAN. They come with their prefix lengths, as in `10.0.1.2/24`, IPv4 first.
   * @returns undefined when there is none, or what is wanted is in use or not the network's; nothing is taken then.
   */
  take(network: Network, holder: Holder, { wanted = [], spare = 0 }: PlaceWish = {}): readonly string[] | undefined {
    if (spare > 0 && this.free(network) <= BigInt(spare)) return undefined;
    const wishes = wanted.map((text) => parseAddress(text.split('/')[0] ?? ''));
    const wish = (family: Family) => wishes.find((address) => address !== undefined && familyOf(address) === family);
    if (wishes.some((address) => address === undefined || !this.#isFree(network, address, holder))) return undefined;
    const ipv4 = addressRanges(network, 'IPv4');
    const ipv6 = addressRanges(network, 'IPv6');
    const [wantedIpv4, wantedIpv6] = [wish('IPv4'), wish('IPv6')];
    const hasRoomBeside = (place: number): boolean => {
      const twin = ipv6[place];
      if (wantedIpv6 !== undefined) return twin !== undefined && contains(twin.subnet, wantedIpv6);
      return twin === undefined || this.#hasRoom(network, twin);
    };
    const offered = ipv4.filter((_, place) => hasRoomBeside(place));
    const first = wantedIpv4 ?? this.#next(network, offered);
    const place = ipv4.findIndex(({ subnet }) => first !== undefined && contains(subnet, first));
    if (first === undefined || !hasRoomBeside(place)) return undefined;
    if (ipv6.length === 0) return [this.#give(network, ipv4[place], first, holder)];
    const second = wantedIpv6 ?? this.#next(network, ipv6.slice(place, place + 1));
    if (second === undefined) return undefined;
    return [this.#give(network, ipv4[place], first, holder), this.#give(network, ipv6[place], second, holder)];
  }

  /** Takes an IPv4 address only. */
  takeIpv4(network: Network, holder: Holder): string | undefined {
    const ranges = addressRanges(network, 'IPv4');
    const address = this.#next(network, ranges);
    const range = ranges.find(({ subnet }) => address !== undefined && contains(subnet, address));
    return address === undefined ? undefined : this.#give(network, range, address, holder);
  }

  /** Gives the addresses that `work` takes, or, when it throws, none of them. */
  allOrNothing<R>(work: () => R): R {
    const before = this.#given.length;
    try {
      return work();
    } catch (error) {
      for (const { networkId, address } of this.#given.splice(before)) this.#heldOn(networkId).delete(address);
      throw error;
    }
  }

  /** @returns how many IPv4 addresses of a network can still be given. */
  free(network: Network): bigint {
    const held = [...this.#heldOn(network.id).keys()];
    return addressRanges(network, 'IPv4').reduce(
      (sum, { first, last }) =>
        sum + (last - first + 1n) - BigInt(held.filter((address) => address >= first && address <= last).length),
      0n,
    );
  }

  /** @returns the numbers behind a full network, in one sentence for the user. */
  describeFull(network: Network): string {
    const ipv4 = addressRanges(network, 'IPv4');
    const besideRoom = addressRanges(network, 'IPv6').filter((_, place) => this.#hasRoom(network, ipv4[place]));
    const isIpv6Full = besideRoom.length > 0 && !besideRoom.some((range) => this.#hasRoom(network, range));
    const ranges = isIpv6Full ? besideRoom : ipv4;
    const usable = ranges.reduce((sum, { first, last }) => sum + last - first + 1n, 0n);
    const inRanges = [...this.#heldOn(network.id)].filter(([address]) =>
      ranges.some(({ first, last }) => address >= first && address <= last),
    );
    const counts = holders.flatMap((holder) => {
      const count = inRanges.filter(([, held]) => held === holder).length;
      return count === 0 ? [] : [`${count} ${count === 1 ? holder : plural(holder)}`];
    });
    // Load balancers have an address of IPv4 only.
    const free = isIpv6Full ? 0n : this.free(network);
    if (free > 0n) counts.push(`${free} kept for a node's load balancer`);
    const subnets = ranges.map(({ subnet }) => formatSubnet(subnet)).join(', ');
    return `no addresses left on network ${networkName(network)} (${subnets}): ${[`${usable} usable`, ...counts].join(', ')}`;
  }

  #hasRoom(network: Network, range: AddressRange | undefined): boolean {
    return range !== undefined && this.#next(network, [range]) !== undefined;
  }

  #isFree(network: Network, address: Address, holder: Holder): boolean {
    const present = this.#heldOn(network.id).get(address);
    if (present !== undefined && !(present === 'reserved address' && holder === 'virtual IP')) return false;
    return addressRanges(network, familyOf(address)).some(({ subnet }) => contains(subnet, address));
  }

  /**
   * @returns the next free address of the ranges, which are of one family, behind the one given last; when all free ones
   * rest, the one that has rested longest.
   */
  #next(network: Network, ranges: readonly AddressRange[]): Address | undefined {
    const [some] = ranges;
    if (!some) return undefined;
    const space = addressSpace(network.id, formatAddress(some.first));
    const given = parseAddress(this.#quarantine.last(space) ?? '');
    const [held, resting] = [this.#heldOn(network.id), this.#quarantine.resting(space)];
    for (const { first, last } of walk(ranges, given))
      for (let address = first; address <= last; address++)
        if (!held.has(address) && !resting.has(formatAddress(address))) return address;
    const rested = [...resting.keys()].flatMap((text) => parseAddress(text) ?? []);
    return rested.find(
      (address) => !held.has(address) && ranges.some(({ first, last }) => address >= first && address <= last),
    );
  }

  #give(network: Network, range: AddressRange | undefined, address: Address, holder: Holder): string {
    this.#heldOn(network.id).set(address, holder);
    this.#given.push({ networkId: network.id, address });
    this.#quarantine.give(addressSpace(network.id, formatAddress(address)), formatAddress(address));
    return `${formatAddress(address)}/${range?.subnet.prefix}`;
  }

  #heldOn(networkId: string): Map<Address, Holder> {
    const known = this.#held.get(networkId);
    if (known) return known;
    const held = new Map<Address, Holder>();
    for (const { text, holder } of this.#told.get(networkId) ?? []) {
      const address = parseAddress(text.split('/')[0] ?? '');
      if (address !== undefined) held.set(address, holder);
    }
    this.#held.set(networkId, held);
    return held;
  }

  #hold(networkId: string, text: string, holder: Holder): void {
    const told = this.#told.get(networkId);
    if (told) told.push({ text, holder });
    else this.#told.set(networkId, [{ text, holder }]);
  }

  #holdAll(attachments: readonly NetworkAttachment[], holder: Holder): void {
    for (const { network, addresses } of attachments)
      if (network) for (const address of addresses) this.#hold(network.id, address, holder);
  }

  #holdGateways(network: Network): void {
    for (const config of network.ipam?.configs ?? []) {
      this.#hold(network.id, config.gateway, 'gateway');
      for (const reserved of Object.values(config.reserved)) this.#hold(network.id, reserved, 'reserved address');
    }
  }
}

function plural(holder: Holder): string {
  if (holder === "node's load balancer") return "nodes' load balancers";
  return holder === 'reserved address' ? 'reserved addresses' : `${holder}s`;
}

/** An inclusive range of addresses that may be given out. */
interface AddressRange {
  readonly subnet: Subnet;
  readonly first: Address;
  readonly last: Address;
}

/** A network's subnets of a family without what is no host's, or the ranges that the user chose in them. */
function addressRanges(network: Network, family: Family): AddressRange[] {
  return (network.ipam?.configs ?? []).flatMap((config) => {
    const subnet = parseSubnet(config.subnet);
    if (!subnet || familyOf(subnet.base) !== family) return [];
    const range = parseSubnet(config.range) ?? subnet;
    const { first, last } = hosts(subnet);
    return [{ subnet, first: later(range.base, first), last: earlier(lastAddress(range), last) }];
  });
}

/** @returns the ranges in the order in which they are searched: from behind the last address given to that address. */
function walk(ranges: readonly AddressRange[], last: Address | undefined): AddressRange[] {
  const place = ranges.findIndex((range) => last !== undefined && last >= range.first && last <= range.last);
  const current = ranges[place];
  if (!current || last === undefined) return [...ranges];
  const rest = [...ranges.slice(place + 1), ...ranges.slice(0, place)];
  return [{ ...current, first: last + 1n }, ...rest, { ...current, last }];
}

/** A subnet's addresses without its own (in IPv6 that of any router, RFC 4291 section 2.6.1) and IPv4's broadcast. */
function hosts(subnet: Subnet): { first: Address; last: Address } {
  const last = lastAddress(subnet);
  return { first: subnet.base + 1n, last: familyOf(subnet.base) === 'IPv4' ? last - 1n : last };
}
