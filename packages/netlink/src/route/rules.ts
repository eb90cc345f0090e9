import { type Family, Prefix } from '../ip.ts';
import { attributes, ip, string, u8, u32 } from '../wire/attributes.ts';
import { NLM_F_CREATE, NLM_F_EXCL } from '../wire/message.ts';
import { struct } from '../wire/struct.ts';
import type { NetlinkConnection } from './connection.ts';
import { ignoring } from './links.ts';
import { familyName, familyNumber, Names, type Protocol, protocols } from './names.ts';

export const RTM_NEWRULE = 32;
export const RTM_DELRULE = 33;
const RTM_GETRULE = 34;
/** RT_TABLE_COMPAT stands in the header for a table number that needs the attribute. */
const RT_TABLE_COMPAT = 252;
const BYTE = 256;
const FIB_RULE_INVERT = 2;

/** struct fib_rule_hdr, linux/fib_rules.h */
const fibRuleHeader = struct({
  family: 'u8',
  destinationLength: 'u8',
  sourceLength: 'u8',
  tos: 'u8',
  table: 'u8',
  reserved1: 'u8',
  reserved2: 'u8',
  action: 'u8',
  flags: 'u32',
});
/** FRA_* */
const ruleAttributes = attributes({
  destination: [1, ip],
  source: [2, ip],
  incomingLink: [3, string],
  priority: [6, u32],
  mark: [10, u32],
  suppressPrefixLength: [14, u32],
  table: [15, u32],
  mask: [16, u32],
  outgoingLink: [17, string],
  protocol: [21, u8],
});
/** FR_ACT_* */
const actions = new Names({ lookup: 1, goto: 2, nop: 3, blackhole: 6, unreachable: 7, prohibit: 8 });
export type RuleAction = 'lookup' | 'goto' | 'nop' | 'blackhole' | 'unreachable' | 'prohibit' | number;

/** A routing policy rule: which packets look in which table. */
export interface Rule {
  readonly family: Family;
  /** The lowest is tried first. */
  readonly priority: number;
  /** Default 'lookup'. */
  readonly action?: RuleAction | undefined;
  readonly table?: number | undefined;
  /** Prefixes in CIDR notation; undefined matches all. */
  readonly source?: string | undefined;
  readonly destination?: string | undefined;
  readonly incomingLink?: string | undefined;
  readonly outgoingLink?: string | undefined;
  readonly mark?: number | undefined;
  readonly mask?: number | undefined;
  /** Match what does not match. */
  readonly invert?: boolean | undefined;
  /** Ignore routes with a prefix of this length or shorter. */
  readonly suppressPrefixLength?: number | undefined;
  readonly protocol?: Protocol | undefined;
}

/** The routing policy of one namespace. */
export class Rules {
  readonly #connection: NetlinkConnection;

  constructor(connection: NetlinkConnection) {
    this.#connection = connection;
  }

  /** All rules in the order of their priority. Equivalent to `ip rule show`. */
  list(filter: { family?: Family } = {}): Rule[] {
    const families: Family[] = filter.family ? [filter.family] : ['ipv4', 'ipv6'];
    return families.flatMap((family) => {
      const payload = fibRuleHeader.encode({ family: familyNumber(family) });
      const answers = this.#connection.dump({ type: RTM_GETRULE, payload, operation: `RTM_GETRULE ${family}` });
      return answers.map((message) => decodeRule(message.payload));
    });
  }

  /** Adds a rule; EEXIST when there is an equal one. Equivalent to `ip rule add`. */
  add(rule: Rule): void {
    const operation = `RTM_NEWRULE ${rule.priority}`;
    const flags = NLM_F_CREATE | NLM_F_EXCL;
    this.#connection.request({ type: RTM_NEWRULE, flags, payload: encodeRule(rule), operation });
  }

  /** Removes the rule; no error when there is none. Equivalent to `ip rule delete`. */
  delete(rule: Rule): void {
    const operation = `RTM_DELRULE ${rule.priority}`;
    ignoring(['ENOENT'], () => this.#connection.request({ type: RTM_DELRULE, payload: encodeRule(rule), operation }));
  }
}

export function encodeRule(rule: Rule): Uint8Array {
  const source = rule.source === undefined ? undefined : Prefix.parse(rule.source);
  const destination = rule.destination === undefined ? undefined : Prefix.parse(rule.destination);
  const { table = 0, priority, incomingLink, outgoingLink, mark, mask, suppressPrefixLength, protocol } = rule;
  const header = fibRuleHeader.encode({
    family: familyNumber(rule.family),
    destinationLength: destination?.length ?? 0,
    sourceLength: source?.length ?? 0,
    table: table < BYTE ? table : RT_TABLE_COMPAT,
    action: actions.number(rule.action ?? 'lookup'),
    flags: rule.invert ? FIB_RULE_INVERT : 0,
  });
  const values = ruleAttributes.encode({
    destination: destination?.network,
    source: source?.network,
    incomingLink,
    outgoingLink,
    priority,
    mark,
    mask,
    suppressPrefixLength,
    table: rule.table,
    protocol: protocol === undefined ? undefined : protocols.number(protocol),
  });
  return Buffer.concat([header, values]);
}

/** FRA_SUPPRESS_PREFIXLEN's "do not". */
const NO_SUPPRESSION = 0xffffffff;

export function decodeRule(payload: Uint8Array): Rule {
  const header = fibRuleHeader.decode(payload);
  const values = ruleAttributes.decode(payload.subarray(fibRuleHeader.size));
  const prefix = (address: string | undefined, length: number) => (address ? `${address}/${length}` : undefined);
  const { suppressPrefixLength: suppress, protocol } = values;
  return {
    family: familyName(header.family),
    priority: values.priority ?? 0,
    action: actions.name(header.action),
    table: values.table ?? header.table,
    source: prefix(values.source, header.sourceLength),
    destination: prefix(values.destination, header.destinationLength),
    incomingLink: values.incomingLink,
    outgoingLink: values.outgoingLink,
    mark: values.mark,
    mask: values.mask,
    invert: (header.flags & FIB_RULE_INVERT) !== 0,
    suppressPrefixLength: suppress === NO_SUPPRESSION ? undefined : suppress,
    protocol: protocol === undefined ? undefined : protocols.name(protocol),
  };
}
