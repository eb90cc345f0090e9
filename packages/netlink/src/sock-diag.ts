/** A namespace's TCP connections as the kernel has them (linux/inet_diag.h), to be seen and to be ended. */
import { formatAddress } from './ip.ts';
import { AF_INET, AF_INET6 } from './kernel/constants.ts';
import type { NetworkNamespace } from './namespace.ts';
import { NetlinkConnection } from './route/connection.ts';
import { ignoring } from './route/links.ts';
import { struct } from './wire/struct.ts';

// linux/netlink.h, linux/sock_diag.h
const NETLINK_SOCK_DIAG = 4;
const SOCK_DIAG_BY_FAMILY = 20;
const SOCK_DESTROY = 21;
const IPPROTO_TCP = 6;
/** net/tcp_states.h: all but TIME_WAIT (6), CLOSE (7), LISTEN (10) and NEW_SYN_RECV (12), which no process holds. */
const connected = [1, 2, 3, 4, 5, 8, 9, 11].reduce((mask, state) => mask | (1 << state), 0);

/** struct inet_diag_req_v2 up to the socket's name */
const request = struct({ family: 'u8', protocol: 'u8', extensions: 'u8', padding: 'u8', states: 'u32' });
/** struct inet_diag_msg up to the socket's name */
const message = struct({ family: 'u8', state: 'u8', timer: 'u8', retransmissions: 'u8' });
/** struct inet_diag_sockid: two ports, two addresses of 16 bytes, link, cookie */
const NAME_SIZE = 48;
const DESTINATION_PORT_OFFSET = 2;
const DESTINATION_OFFSET = 20;
const COOKIE_OFFSET = 40;
const ADDRESS_SIZE = 16;

export interface TcpConnection {
  /** Plain address and port of the other end; of IPv6 also where the address is one of IPv4 (`::ffff:10.0.0.1`). */
  readonly destination: string;
  readonly destinationPort: number;
  /** The number that BPF programs know the socket by. */
  readonly cookie: bigint;
  /** Names the connection for `end`. */
  readonly key: { readonly family: number; readonly name: Uint8Array };
}

export class TcpConnections implements Disposable {
  readonly #connection: NetlinkConnection;

  private constructor(connection: NetlinkConnection) {
    this.#connection = connection;
  }

  /** Opens a connection in `namespace`, by default the calling thread's own. */
  static open(namespace?: NetworkNamespace): TcpConnections {
    return new TcpConnections(NetlinkConnection.open(namespace, NETLINK_SOCK_DIAG));
  }

  /** @throws NetlinkError where the kernel cannot list connections (CONFIG_INET_TCP_DIAG) or end them. */
  static probe(): void {
    using connections = TcpConnections.open();
    connections.#dump(AF_INET, 0);
    connections.end({ key: { family: AF_INET, name: new Uint8Array(NAME_SIZE) } });
  }

  /** All connections, those that are being made included. Equivalent to `ss -t state connected`. */
  list(): TcpConnection[] {
    return [AF_INET, AF_INET6].flatMap((family) => this.#dump(family, connected));
  }

  /**
   * Ends a connection: its owner hears ECONNABORTED, the other side is reset. No error when it has gone.
   * @throws NetlinkError EOPNOTSUPP where the kernel does not (CONFIG_INET_DIAG_DESTROY).
   */
  end({ key: { family, name } }: Pick<TcpConnection, 'key'>): void {
    const payload = requestOf(family, connected, name);
    ignoring(['ENOENT'], () => this.#connection.request({ type: SOCK_DESTROY, payload, operation: 'SOCK_DESTROY' }));
  }

  /** Closes the connection to the kernel. Safe to repeat. */
  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]();
  }

  #dump(family: number, states: number): TcpConnection[] {
    const payload = requestOf(family, states, new Uint8Array(NAME_SIZE));
    const answers = this.#connection.dump({ type: SOCK_DIAG_BY_FAMILY, payload, operation: 'SOCK_DIAG_BY_FAMILY' });
    return answers.map((answer) => decode(answer.payload));
  }
}

const requestOf = (family: number, states: number, name: Uint8Array): Uint8Array =>
  Buffer.concat([request.encode({ family, protocol: IPPROTO_TCP, states }), name]);

function decode(payload: Uint8Array): TcpConnection {
  const { family } = message.decode(payload);
  const name = Buffer.from(payload.subarray(message.size, message.size + NAME_SIZE));
  const size = family === AF_INET ? 4 : ADDRESS_SIZE;
  return {
    destination: formatAddress(name.subarray(DESTINATION_OFFSET, DESTINATION_OFFSET + size)),
    destinationPort: name.readUInt16BE(DESTINATION_PORT_OFFSET),
    // In the machine's byte order, which BPF objects here (ELFDATA2LSB) share.
    cookie: name.readBigUInt64LE(COOKIE_OFFSET),
    key: { family, name },
  };
}
