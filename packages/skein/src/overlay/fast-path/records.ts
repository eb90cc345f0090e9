/** The entries of the programs' maps, as fast-path.bpf.c declares them. */
import { type BpfMap, parseAddress, parseMac } from '@skein/netlink';

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

  /** With two bytes of padding. */
  mac(mac: string): this {
    this.#parts.push(parseMac(mac), new Uint8Array(2));
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
export const peerValue = ({ vtep, mac }: RemoteEndpoint): Buffer => new Bytes().address(vtep).mac(mac).done();
/** struct endpoint */
export const endpointValue = (gate: number, mac: string): Buffer => new Bytes().u32(gate).mac(mac).done();
/** struct resident */
export const residentValue = ({ vni, address, port, mac }: Resident): Buffer =>
  new Bytes().u32(vni).address(address).u32(port).mac(mac).done();
/** struct host */
export const hostValue = (vtep: string, device: number, udpPort: number): Buffer =>
  new Bytes().address(vtep).u32(device).networkOrder16(udpPort).done();
/** struct sandbox */
export const sandboxValue = (gate: number, mtu: number): Buffer => new Bytes().u32(gate).u32(mtu).done();

/** What one owner has in a map that it may share with others; nobody else writes its keys. */
export class OwnedEntries {
  readonly #map: BpfMap;
  /** Keys in hexadecimal. BOUNDED by the map. */
  readonly #written = new Set<string>();

  constructor(map: BpfMap) {
    this.#map = map;
  }

  /**
   * Makes the owner's entries be these: first what should not be there goes, then all are written, in one call, so that
   * what others did to the map is put right.
   */
  reconcile(desired: readonly (readonly [key: Buffer, value: Buffer])[]): void {
    const wanted = new Set(desired.map(([key]) => key.toString('hex')));
    for (const key of this.#written.difference(wanted)) {
      this.#map.delete(Buffer.from(key, 'hex'));
      this.#written.delete(key);
    }
    for (const key of wanted) this.#written.add(key);
    this.#map.setAll(desired);
  }
}
