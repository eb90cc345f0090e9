import { isDeepStrictEqual } from 'node:util';
import {
  type NetworkNamespace,
  Nftables,
  NftablesError,
  type NftCommand,
  type NftFamily,
  type NftObject,
  RulesetGeneration,
} from '@skein/netlink';
import { fingerprint } from './fingerprint.ts';

/** How a table is made of what its owner says of it. */
export interface TableShape<Content> {
  readonly table: { readonly family: NftFamily; readonly name: string };
  /** The table's objects, written as the kernel lists them. */
  objects(content: Content): readonly NftObject[];
  /** The steps from one content to another; undefined: it takes a new table. Without it each change is a new table. */
  difference?(before: Content, after: Content): NftCommand[] | undefined;
}

/** The generation of the ruleset in which a table was as it should be; none: somebody else changed something since. */
interface Seen {
  generation: number | undefined;
}

/** By a namespace's inode: what was seen of the tables there. BOUNDED by the tables of this host's containers. */
const seenIn = new Map<bigint, Set<Seen>>();

/**
 * One nft table of ours in one namespace, kept as it should be. No context of libnftables stays open for it: one holds
 * more than half a megabyte, and there is a table in each container's namespace.
 */
export class ManagedTable<Content> implements Disposable {
  readonly #namespace: NetworkNamespace;
  readonly #shape: TableShape<Content>;
  readonly #rules: RulesetGeneration;
  #wanted: Content | undefined;
  /** What the kernel has, as far as we know; not what is wanted before the first `apply` and after one that failed. */
  #applied: Content | undefined;
  /** Of the time when it was so. */
  readonly #seen: Seen = { generation: undefined };

  private constructor(namespace: NetworkNamespace, shape: TableShape<Content>, rules: RulesetGeneration) {
    this.#namespace = namespace;
    this.#shape = shape;
    this.#rules = rules;
    seenIn.set(namespace.inode, (seenIn.get(namespace.inode) ?? new Set()).add(this.#seen));
  }

  /** Changes nothing yet. The namespace must be open until the table is disposed. */
  static open<Content>(namespace: NetworkNamespace, shape: TableShape<Content>): ManagedTable<Content> {
    return new ManagedTable(namespace, shape, RulesetGeneration.open(namespace));
  }

  /** @returns what the kernel has, of whomever. */
  read(): NftObject[] {
    return this.#rules.hasTable(this.#shape.table) ? this.#nft((nft) => nft.list(this.#shape.table)) : [];
  }

  /** Makes the table so, in one transaction. What is so already is left alone. What fails is tried again by `repair`. */
  apply(content: Content): void {
    this.#wanted = content;
    const commands = this.#applied && this.#difference(this.#applied, content);
    if (commands === undefined) {
      this.#replaceUnlessEqual(content);
      return;
    }
    if (commands.length === 0) {
      this.#applied = content;
      return;
    }
    const before = this.#rules.read();
    try {
      this.#nft((nft) => nft.change(commands));
    } catch (error) {
      // Somebody took away what the steps build on.
      if (!(error instanceof NftablesError)) throw error;
      this.#replace(content);
      return;
    }
    this.#applied = content;
    const isKnown = this.#seen.generation === before;
    if (!this.#passOn(before) || !isKnown) this.#seen.generation = undefined;
  }

  /** Puts right what somebody else has changed. @returns whether there was something. */
  repair(): boolean {
    const wanted = this.#wanted;
    const isAsWanted = this.#applied === wanted && this.#rules.read() === this.#seen.generation;
    return wanted !== undefined && !isAsWanted && this.#replaceUnlessEqual(wanted);
  }

  /** Removes the table. No error when there is none. */
  remove(): void {
    this.#wanted = undefined;
    this.#applied = undefined;
    const before = this.#rules.read();
    this.#nft((nft) => nft.deleteTable(this.#shape.table));
    this.#passOn(before);
  }

  /** Stops looking after the table, which stays. */
  [Symbol.dispose](): void {
    this.#rules[Symbol.dispose]();
    const { inode } = this.#namespace;
    const neighbours = seenIn.get(inode);
    neighbours?.delete(this.#seen);
    if (neighbours?.size === 0) seenIn.delete(inode);
  }

  /** @returns the steps from what the kernel has; undefined: it takes a new table, or a look at the one that is there. */
  #difference(applied: Content, content: Content): NftCommand[] | undefined {
    if (this.#shape.difference !== undefined) return this.#shape.difference(applied, content);
    return isDeepStrictEqual(applied, content) && this.#rules.read() === this.#seen.generation ? [] : undefined;
  }

  /** @returns whether it was different. */
  #replaceUnlessEqual(content: Content): boolean {
    // The generation first: what changes while the table is read shows the next time.
    const generation = this.#rules.read();
    if (fingerprint(this.read()) !== fingerprint(this.#shape.objects(content))) {
      this.#replace(content);
      return true;
    }
    this.#applied = content;
    this.#seen.generation = generation;
    return false;
  }

  #replace(content: Content): void {
    const before = this.#rules.read();
    this.#nft((nft) => nft.replaceTable(this.#shape.table, this.#shape.objects(content)));
    this.#applied = content;
    this.#seen.generation = this.#passOn(before) ? before + 1 : undefined;
  }

  /**
   * After a transaction of ours: the other tables here that were as they should be still are.
   * @returns whether it was the only transaction since.
   */
  #passOn(before: number): boolean {
    if (this.#rules.read() !== before + 1) return false;
    for (const seen of seenIn.get(this.#namespace.inode) ?? []) {
      if (seen.generation === before) seen.generation = before + 1;
    }
    return true;
  }

  #nft<Result>(action: (nft: Nftables) => Result): Result {
    using nft = Nftables.open(this.#namespace);
    return action(nft);
  }
}
