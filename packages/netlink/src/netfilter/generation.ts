import { hasCode } from '../errors.ts';
import type { NetworkNamespace } from '../namespace.ts';
import type { NftFamily } from '../nftables/schema.ts';
import type { NetlinkConnection } from '../route/connection.ts';
import { attributes, be32, string } from '../wire/attributes.ts';
import { messageType, nfgenmsg, nfnetlinkPayload, openNetfilter } from './nfnetlink.ts';

/** enum nf_tables_msg_types, linux/netfilter/nf_tables.h */
const NFT_MSG_GETTABLE = 1;
const NFT_MSG_GETGEN = 16;
/** NFTA_GEN_* */
const generationAttributes = attributes({ id: [1, be32] });
/** NFTA_TABLE_* */
const tableAttributes = attributes({ name: [1, string] });
/** NFPROTO_*, linux/netfilter.h */
const protocols: Readonly<Record<NftFamily, number>> = { inet: 1, ip: 2, arp: 3, netdev: 5, bridge: 7, ip6: 10 };

/**
 * The generation of a namespace's nftables ruleset: a number that grows with every transaction, of whomever. Reading it
 * costs some 20 µs, so that it may be asked often whether somebody has changed the rules.
 */
export class RulesetGeneration implements Disposable {
  readonly #connection: NetlinkConnection;

  private constructor(connection: NetlinkConnection) {
    this.#connection = connection;
  }

  /** Opens a connection in `namespace`, by default the calling thread's own. It keeps the namespace alive. */
  static open(namespace?: NetworkNamespace): RulesetGeneration {
    return new RulesetGeneration(openNetfilter(namespace));
  }

  read(): number {
    const type = messageType('nftables', NFT_MSG_GETGEN);
    const answers = this.#connection.request({
      type,
      payload: nfnetlinkPayload(undefined),
      operation: 'NFT_MSG_GETGEN',
    });
    const payload = answers[0]?.payload.subarray(nfgenmsg.size) ?? new Uint8Array(0);
    return generationAttributes.decode(payload).id ?? 0;
  }

  /** @returns whether there is a table of this name; costs as little, where libnftables reads a whole ruleset for it. */
  hasTable({ family, name }: { family: NftFamily; name: string }): boolean {
    const type = messageType('nftables', NFT_MSG_GETTABLE);
    const header = nfgenmsg.encode({ family: protocols[family] });
    const payload = Buffer.concat([header, tableAttributes.encode({ name })]);
    try {
      return this.#connection.request({ type, payload, operation: `NFT_MSG_GETTABLE ${family} ${name}` }).length > 0;
    } catch (error) {
      if (hasCode(error, 'ENOENT')) return false;
      throw error;
    }
  }

  /** Closes the connection. Safe to repeat. */
  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]();
  }
}
