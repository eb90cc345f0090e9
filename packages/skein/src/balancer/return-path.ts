/**
 * The way of a container's answers over the ingress network: marked ones (entrance-mark.ts) look in a routing table of
 * their own, whose one gateway stands for all entrances. It lives in the container's namespace, and goes with it.
 */
import { type NetworkNamespace, Prefix, RouteSocket, type Rule, readSysctl, writeSysctl } from '@skein/netlink';
import { ManagedTable } from '../nftables/index.ts';
import { macOfAddress } from '../overlay/index.ts';
import { type DispatchTable, dispatchShape } from './dispatch.ts';
import { answerTable, entranceMarks } from './entrance-mark.ts';
import { namespaceTable } from './tables.ts';
import type { ReturnPathSpec } from './types.ts';

/** Of our own choice: 'SK' in ASCII, and in front of the main table's rule. */
const routingTable = 0x534b;
const rulePriority = 100;
/**
 * The gateways that no node is: they are never asked for, as their MAC is written down. Of the link-local addresses, RFC
 * 3927 and RFC 4291.
 */
const ipv4Way = { family: 'ipv4', everywhere: '0.0.0.0/0', anyEntrance: '169.254.0.1' } as const;
const ipv6Way = { family: 'ipv6', everywhere: '::/0', anyEntrance: 'fe80::534b' } as const;

export class ReturnPath implements Disposable {
  readonly #table: ManagedTable<DispatchTable>;

  private constructor(table: ManagedTable<DispatchTable>) {
    this.#table = table;
  }

  /** Makes what is not there yet. @throws when this kernel cannot: before Linux 5.16 frames are not changed on their way out. */
  static open(namespace: NetworkNamespace, spec: ReturnPathSpec): ReturnPath {
    ensureRoute(namespace, spec, ipv4Way);
    if (spec.ipv6 !== undefined) ensureRoute(namespace, spec, ipv6Way);
    // Questions are tested for whether an answer would leave by the same way; and what a socket sends first is routed so, too.
    writeSetting(namespace, `net/ipv4/conf/${spec.interfaceName}/src_valid_mark`);
    writeSetting(namespace, 'net/ipv4/tcp_fwmark_accept');
    const table = ManagedTable.open(namespace, dispatchShape({ family: 'netdev', name: namespaceTable.name }));
    try {
      table.apply(answerTable(namespaceTable.name, spec));
      return new ReturnPath(table);
    } catch (error) {
      table[Symbol.dispose]();
      throw error;
    }
  }

  /** @returns whether somebody had changed the table. */
  repair(): boolean {
    return this.#table.repair();
  }

  /** Stops looking after it. */
  [Symbol.dispose](): void {
    this.#table[Symbol.dispose]();
  }
}

function ensureRoute(
  namespace: NetworkNamespace,
  { interfaceName, subnet }: ReturnPathSpec,
  { family, everywhere, anyEntrance }: typeof ipv4Way | typeof ipv6Way,
): void {
  using route = RouteSocket.open(namespace);
  const link = route.links.get(interfaceName);
  if (link === undefined) throw new Error(`no interface ${interfaceName} on the ingress network`);
  route.neighbours.replace({ index: link.index, ip: anyEntrance, mac: macOfAddress(Prefix.parse(subnet).network) });
  route.routes.replace({
    destination: everywhere,
    gateway: anyEntrance,
    index: link.index,
    onLink: true,
    table: routingTable,
  });
  const rule: Rule = { family, priority: rulePriority, table: routingTable, ...entranceMarks(subnet) };
  const isThere = route.rules
    .list({ family })
    .some(({ table, mark, mask }) => table === routingTable && mark === rule.mark && mask === rule.mask);
  if (!isThere) route.rules.add(rule);
}

function writeSetting(namespace: NetworkNamespace, name: string): void {
  if (readSysctl(namespace, name) !== '1') writeSysctl(namespace, name, 1);
}
