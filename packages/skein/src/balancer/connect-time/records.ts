/** The entries of the programs' maps, as connect-time.bpf.c declares them. Programs and kernel have the machine's byte order. */
import { parseAddress } from '@skein/netlink';

/** RFC 4291 section 2.5.5.2 */
const ipv4Mapped = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff);
const ADDRESS_SIZE = 16;
const COOKIE_SIZE = 8;

/** struct address */
export function addressValue(address: string): Buffer {
  const bytes = parseAddress(address);
  return bytes.length === ADDRESS_SIZE ? Buffer.from(bytes) : Buffer.concat([ipv4Mapped, bytes]);
}

/** struct service_key. @param space cookie of the network namespace. */
export const serviceKey = (space: bigint, virtualIp: string): Buffer =>
  Buffer.concat([words64(space), addressValue(virtualIp)]);

/** struct service */
export const serviceValue = (tasks: number, turn: number): Buffer => Buffer.from(new Uint32Array([tasks, turn]).buffer);

/** struct task_key */
export const taskKey = (space: bigint, virtualIp: string, index: number): Buffer =>
  Buffer.concat([serviceKey(space, virtualIp), words64(BigInt(index))]);

/** A connection that was led, by its socket's cookie. */
export interface LedConnection {
  readonly cookie: bigint;
  /** Cookie of the network namespace. */
  readonly space: bigint;
  /** struct address, in hexadecimal. */
  readonly task: string;
}

/** Of a key and a struct connection. */
export function ledConnection(key: Uint8Array, value: Uint8Array): LedConnection {
  const [cookie = 0n, space = 0n] = new BigUint64Array(Uint8Array.of(...key, ...value.subarray(0, COOKIE_SIZE)).buffer);
  return { cookie, space, task: Buffer.from(value.subarray(COOKIE_SIZE + ADDRESS_SIZE)).toString('hex') };
}

const words64 = (value: bigint): Buffer => Buffer.from(new BigUint64Array([value]).buffer);
