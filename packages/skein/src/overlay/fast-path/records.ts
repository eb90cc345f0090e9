/** The entries of the programs' maps, as fast-path.bpf.c declares them. */
import { type BpfEntry, type BpfMap, Prefix, parseAddress, parseMac } from '@skein/netlink';

/** An endpoint of this host. */
export interface Resident {
  /** Plain IPv4 address. */
  readonly address: string;
  readonly mac: string;
  readonly vni: number;
  /** Index of its port in the sandbox. */
  readonly port: number;
}

/** An endpoint on another host. */
export interface RemoteEndpoint {
  /** Plain IPv4 address. */
  readonly address: string;
  readonly mac: string;
  readonly vni: number;
  /** Plain address of its host's VTEP. */
  readonly vtep: string;
  readonly takesLargeSegments: boolean;
}

/** Programs and kernel have one byte order: that of the machine. Addresses are in network order. */
class Bytes {
  readonly #parts: Uint8Array[] = [];

  u32(value: number): this {
    this.#parts.push(new Uint8Array(new Uint32Array([value]).buffer));
    return this;
  }

  address(address: string): this {
    this.#parts.push(parseAddress(address));
    return this;
  }

  /** With the u16 behind it. */
  mac(mac: string, last = 0): this {
    this.#parts.push(parseMac(mac), new Uint8Array(new Uint16Array([last]).buffer));
    return this;
  }

  networkOrder16(value: number): this {
    this.#parts.push(Uint8Array.of(value >> 8, value & 0xff, 0, 0));
    return this;
  }

  done(): Buffer {
    return Buffer.concat(this.#parts);
  }
}

export const indexKey = (index: number): Buffer => new Bytes().u32(index).done();
export const ipKey = (address: string): Buffer => new Bytes().address(address).done();
/** struct address */
export const addressKey = (vni: number, address: string): Buffer => new Bytes().u32(vni).address(address).done();
/** struct peer */
export const peerValue = ({ vtep, mac, takesLargeSegments }: RemoteEndpoint): Buffer =>
  new Bytes()
    .address(vtep)
    .mac(mac, takesLargeSegments ? 1 : 0)
    .done();
/** struct endpoint */
export const endpointValue = (gate: number, mac: string): Buffer => new Bytes().u32(gate).mac(mac).done();
/** struct resident */
export const residentValue = ({ vni, address, port, mac }: Resident): Buffer =>
  new Bytes().u32(vni).address(address).u32(port).mac(mac).done();
/** struct host @param neighbours addresses of IPv4 that are on the device's link. */
export const hostValue = (vtep: string, device: number, udpPort: number, neighbours: Prefix): Buffer =>
  new Bytes()
    .address(vtep)
    .u32(device)
    .networkOrder16(udpPort)
    .address(neighbours.network)
    .address(maskOf(neighbours))
    .done();
const maskOf = ({ length }: Prefix): string => Prefix.of('255.255.255.255', length).network;
/** struct sandbox */
export const sandboxValue = (gate: number, mtu: number): Buffer => new Bytes().u32(gate).u32(mtu).done();

/** What one owner has in a map that it may share with others: one entry for each address, whose key nobody else writes. */
export class OwnedEntries<Item extends { readonly address: string }> {
  readonly #map: BpfMap;
  readonly #encode: (item: Item) => BpfEntry;
  /** By address: what the item says, undefined while that is not certain, and its key. BOUNDED by the items. */
  readonly #written = new Map<string, { readonly text: string | undefined; readonly key: Uint8Array }>();

  constructor(map: BpfMap, encode: (item: Item) => BpfEntry) {
    this.#map = map;
    this.#encode = encode;
  }

  /** Makes the owner's entries be these, whatever others did to the map. */
  reconcile(items: readonly Item[]): void {
    this.#replace([...this.#written.keys()], items, true);
  }

  /** What has these addresses is now these items; what is right is left alone. */
  change(addresses: Iterable<string>, items: readonly Item[]): void {
    this.#replace(addresses, items, false);
  }

  /** First what should not be there goes, then what is missing is written, in one call. */
  #replace(addresses: Iterable<string>, items: readonly Item[], isAnew: boolean): void {
    const wanted = new Map(items.map((item) => [item.address, { item, text: Object.values(item).join(' ') }]));
    for (const address of addresses) {
      const known = this.#written.get(address);
      if (known === undefined || (known.text !== undefined && known.text === wanted.get(address)?.text)) continue;
      this.#map.delete(known.key);
      this.#written.delete(address);
    }
    const missing = [...wanted].filter(([address]) => isAnew || !this.#written.has(address));
    const entries = missing.map(([address, { item, text }]) => ({ address, text, entry: this.#encode(item) }));
    // A map that is full takes the first of them only.
    for (const { address, entry } of entries) this.#written.set(address, { text: undefined, key: entry[0] });
    this.#map.setAll(entries.map(({ entry }) => entry));
    for (const { address, text, entry } of entries) this.#written.set(address, { text, key: entry[0] });
  }
}
