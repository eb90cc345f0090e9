/**
 * Connection tracking (linux/netfilter/nfnetlink_conntrack.h): the flows that a namespace's kernel follows, and with
 * them what its network address translation has decided for each.
 */
import { type Family, familyOf } from '../ip.ts';
import type { NetworkNamespace } from '../namespace.ts';
import type { NetlinkConnection } from '../route/connection.ts';
import { ignoring } from '../route/links.ts';
import { familyName } from '../route/names.ts';
import { attributes, be16, be32, bytes, type Codec, ip, nested, u8 } from '../wire/attributes.ts';
import { messageType, nfgenmsg, nfnetlinkPayload, openNetfilter } from './nfnetlink.ts';

/** enum cntl_msg_types */
const IPCTNL_MSG_CT_GET = 1;
const IPCTNL_MSG_CT_DELETE = 2;

/** CTA_TUPLE_IP, CTA_TUPLE_PROTO and what is in them */
const tupleAttributes = attributes({
  addresses: [
    1,
    nested(attributes({ source4: [1, ip], destination4: [2, ip], source6: [3, ip], destination6: [4, ip] })),
  ],
  protocol: [2, nested(attributes({ number: [1, u8], sourcePort: [2, be16], destinationPort: [3, be16] }))],
});
/** Kept as the kernel wrote it, to name the entry by it. */
const rawTuple: Codec<Uint8Array> = { ...bytes, nested: true };
/** CTA_* */
const entryAttributes = attributes({
  original: [1, rawTuple],
  reply: [2, rawTuple],
  timeout: [7, be32],
  id: [12, be32],
});

/** One direction of a flow. Ports are undefined for protocols without (ICMP). */
export interface ConntrackFlow {
  readonly source: string;
  readonly destination: string;
  readonly sourcePort?: number | undefined;
  readonly destinationPort?: number | undefined;
}

/**
 * A tracked flow: `original` as its first packet was sent, `reply` as its answers come. They mirror each other unless
 * addresses are translated: then the reply's source is where the flow was led to.
 */
export interface ConntrackEntry {
  /** IPPROTO_*: 6 TCP, 17 UDP, 1 ICMP. */
  readonly protocol: number;
  readonly original: ConntrackFlow;
  readonly reply: ConntrackFlow;
  /** Seconds until the entry goes if nothing comes. */
  readonly timeout: number;
  /** Names the entry for `delete`. */
  readonly key: { readonly original: Uint8Array; readonly id: number | undefined };
}

/** The tracked flows of one namespace. */
export class Conntrack implements Disposable {
  readonly #connection: NetlinkConnection;

  private constructor(connection: NetlinkConnection) {
    this.#connection = connection;
  }

  /** Opens a connection in `namespace`, by default the calling thread's own. */
  static open(namespace?: NetworkNamespace): Conntrack {
    return new Conntrack(openNetfilter(namespace));
  }

  /** All flows. Equivalent to `conntrack -L`. */
  list(filter: { family?: Family } = {}): ConntrackEntry[] {
    const type = messageType('conntrack', IPCTNL_MSG_CT_GET);
    const payload = nfnetlinkPayload(filter.family);
    const answers = this.#connection.dump({ type, payload, operation: 'IPCTNL_MSG_CT_GET' });
    return answers.flatMap((answer) => decodeConntrack(answer.payload) ?? []);
  }

  /** Forgets a flow: its next packet is taken for the first of a new one. No error when it has gone. */
  delete(entry: ConntrackEntry): void {
    const type = messageType('conntrack', IPCTNL_MSG_CT_DELETE);
    const payload = nfnetlinkPayload(familyOf(entry.original.source), entryAttributes.encode(entry.key));
    ignoring(['ENOENT'], () => this.#connection.request({ type, payload, operation: 'IPCTNL_MSG_CT_DELETE' }));
  }

  /** Forgets the flows that `matches`. @returns how many. Equivalent to `conntrack -D`. */
  deleteMatching(matches: (entry: ConntrackEntry) => boolean, filter: { family?: Family } = {}): number {
    const found = this.list(filter).filter(matches);
    for (const entry of found) this.delete(entry);
    return found.length;
  }

  /** Closes the connection. Safe to repeat. */
  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]();
  }
}

/** @returns the entry of a message; undefined for families other than IPv4 and IPv6. */
export function decodeConntrack(payload: Uint8Array): ConntrackEntry | undefined {
  const { family } = nfgenmsg.decode(payload);
  if (typeof familyName(family) !== 'string') return undefined;
  const { original, reply, timeout = 0, id } = entryAttributes.decode(payload.subarray(nfgenmsg.size));
  if (original === undefined || reply === undefined) return undefined;
  const [first, answer] = [decodeTuple(original), decodeTuple(reply)];
  return {
    protocol: first.protocol,
    original: first.flow,
    reply: answer.flow,
    timeout,
    key: { original, id },
  };
}

function decodeTuple(tuple: Uint8Array): { protocol: number; flow: ConntrackFlow } {
  const { addresses = {}, protocol = {} } = tupleAttributes.decode(tuple);
  const flow = {
    source: addresses.source4 ?? addresses.source6 ?? '',
    destination: addresses.destination4 ?? addresses.destination6 ?? '',
    sourcePort: protocol.sourcePort,
    destinationPort: protocol.destinationPort,
  };
  return { protocol: protocol.number ?? 0, flow };
}
