/**
 * The objects of libnftables' JSON, as far as they are typed here: what one puts into a transaction and reads back.
 * The whole schema, with every expression and statement, is libnftables-json(5); expressions are passed as they are.
 */

export type NftFamily = 'ip' | 'ip6' | 'inet' | 'arp' | 'bridge' | 'netdev';

export type NftJson = null | boolean | number | string | readonly NftJson[] | { readonly [key: string]: NftJson };

/** A statement or match of a rule: `{ match: { op: '==', left: …, right: … } }`, `{ drop: null }`, … */
export type NftStatement = { readonly [name: string]: NftJson };
/** A value: a number, an address, a prefix, a concatenation, a lookup, … */
export type NftExpression = NftJson;

interface InFamily {
  readonly family: NftFamily;
}
interface InTable extends InFamily {
  readonly table: string;
}
interface Handled {
  /** The kernel's number for the object; in what is read back and, to delete a rule, in what is written. */
  readonly handle?: number;
}

export interface NftTable extends InFamily, Handled {
  readonly name: string;
}

export interface NftChain extends InTable, Handled {
  readonly name: string;
  /** The next four make it a base chain, which the kernel's hook calls. */
  readonly type?: 'filter' | 'nat' | 'route';
  readonly hook?: 'prerouting' | 'input' | 'forward' | 'output' | 'postrouting' | 'ingress' | 'egress';
  readonly prio?: number;
  readonly policy?: 'accept' | 'drop';
  readonly dev?: string;
}

export interface NftRule extends InTable, Handled {
  readonly chain: string;
  readonly expr: readonly NftStatement[];
  readonly comment?: string;
  /** Position: the rule is inserted before, or added after, the rule of this handle. */
  readonly index?: number;
}

export interface NftSet extends InTable, Handled {
  readonly name: string;
  readonly type: string | readonly string[];
  readonly flags?: readonly ('constant' | 'interval' | 'timeout' | 'dynamic')[];
  readonly elem?: readonly NftExpression[];
  /** Seconds after which elements go. */
  readonly timeout?: number;
  readonly size?: number;
  readonly comment?: string;
}

export interface NftMap extends NftSet {
  /** Type of the values: 'ipv4_addr', 'verdict', or several for a concatenation. */
  readonly map: string | readonly string[];
}

/** Elements of a set, or pairs of a map: `[key, value]`. */
export interface NftElement extends InTable {
  readonly name: string;
  readonly elem: readonly NftExpression[];
}

/** An object, named by its kind. */
export type NftObject =
  | { readonly table: NftTable }
  | { readonly chain: NftChain }
  | { readonly rule: NftRule }
  | { readonly set: NftSet }
  | { readonly map: NftMap }
  | { readonly element: NftElement };

/** What names an object to delete or flush it. */
export type NftSelector =
  | { readonly table: Pick<NftTable, 'family' | 'name'> }
  | { readonly chain: Pick<NftChain, 'family' | 'table' | 'name'> }
  | { readonly rule: Pick<NftRule, 'family' | 'table' | 'chain' | 'handle'> }
  | { readonly set: Pick<NftSet, 'family' | 'table' | 'name'> }
  | { readonly map: Pick<NftMap, 'family' | 'table' | 'name'> }
  | { readonly element: NftElement };

/** One step of a transaction. */
export type NftCommand =
  /** `add` accepts what is already there and equal; `create` fails when it is there. */
  | { readonly add: NftObject }
  | { readonly create: NftObject }
  /** Before the rule of `index`, or first. */
  | { readonly insert: { readonly rule: NftRule } }
  | { readonly replace: { readonly rule: NftRule } }
  | { readonly delete: NftSelector }
  /** Empties a table's rules, a chain, a set or a map. */
  | { readonly flush: NftSelector | { readonly ruleset: null } };
