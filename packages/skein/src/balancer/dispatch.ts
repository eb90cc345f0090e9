/**
 * The shape that all tables of this room have: fixed chains at the kernel's hooks, which look a packet up in a map, and
 * for each service a chain of its own, to which the map leads. So the cost of a packet does not depend on the number of
 * services, and a change of one service touches its chain only. Pure.
 */
import type {
  NftCommand,
  NftElement,
  NftExpression,
  NftFamily,
  NftJson,
  NftObject,
  NftStatement,
} from '@skein/netlink';
import type { TableShape } from '../nftables/index.ts';

/** One service: where the map leads, and what happens there. */
export interface Branch {
  /** The map that leads here, and the key in it. */
  readonly map: string;
  readonly key: NftExpression;
  /** A map in which the key stands as well, for `accept`. */
  readonly acceptedIn?: string | undefined;
  /** Statements of each rule. */
  readonly rules: readonly (readonly NftStatement[])[];
}

export interface DispatchTable {
  readonly family: NftFamily;
  readonly name: string;
  /** Chains at hooks, maps without elements, rules of those chains. */
  readonly base: readonly NftObject[];
  /** By the name of the chain. */
  readonly branches: ReadonlyMap<string, Branch>;
}

/** @returns how the table of this name is made and changed. */
export const dispatchShape = (table: TableName): TableShape<DispatchTable> => ({
  table: { family: table.family, name: table.name },
  objects: tableObjects,
  difference,
});

/** @returns the table as objects, as the kernel lists them but for handles and order. */
export function tableObjects(table: DispatchTable): NftObject[] {
  const added = [...table.branches].flatMap(([chain, branch]) => additions(table, chain, branch));
  return [...table.base, ...added.map(({ add }) => add)];
}

/** @returns the steps that make `after` of `before`, for one transaction; undefined when more than branches differ. */
export function difference(before: DispatchTable, after: DispatchTable): NftCommand[] | undefined {
  if (
    before.family !== after.family ||
    before.name !== after.name ||
    JSON.stringify(before.base) !== JSON.stringify(after.base)
  )
    return undefined;
  const { family, name: table } = after;
  const commands: NftCommand[] = [];
  const removals: NftCommand[] = [];
  for (const [chain, branch] of before.branches) {
    const next = after.branches.get(chain);
    if (
      next !== undefined &&
      JSON.stringify(elements(after, chain, next)) === JSON.stringify(elements(after, chain, branch))
    )
      continue;
    commands.push(...elements(after, chain, branch).map((element) => ({ delete: element })));
    const named = { chain: { family, table, name: chain } };
    removals.push({ flush: named }, { delete: named });
  }
  commands.push(...removals);
  const removed = new Set(
    removals.flatMap((step) => ('delete' in step && 'chain' in step.delete ? step.delete.chain.name : [])),
  );
  for (const [chain, branch] of after.branches) {
    const known = removed.has(chain) ? undefined : before.branches.get(chain);
    if (known === undefined) commands.push(...additions(after, chain, branch));
    else if (JSON.stringify(known.rules) !== JSON.stringify(branch.rules)) {
      commands.push({ flush: { chain: { family, table, name: chain } } }, ...rules(after, chain, branch));
    }
  }
  return commands;
}

/** @returns chain name → addresses that its rules lead to, as the kernel lists them. */
export function destinations(objects: readonly NftObject[]): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const object of objects) {
    if (!('rule' in object)) continue;
    const addresses = object.rule.expr.flatMap((statement) => translatedTo(statement));
    if (addresses.length > 0) found.set(object.rule.chain, [...(found.get(object.rule.chain) ?? []), ...addresses]);
  }
  return found;
}

function translatedTo(statement: NftStatement): string[] {
  const { addr } = (statement.dnat ?? {}) as { addr?: NftJson };
  if (typeof addr === 'string') return [addr];
  const { map } = (addr ?? {}) as { map?: { data?: { set?: readonly (readonly NftJson[])[] } } };
  return (map?.data?.set ?? []).flatMap(([, value]) => (typeof value === 'string' ? [value] : []));
}

/** What tells a table from others. */
export type TableName = Pick<DispatchTable, 'family' | 'name'>;

function additions(of: TableName, chain: string, branch: Branch): { add: NftObject }[] {
  const { family, name: table } = of;
  return [
    { add: { chain: { family, table, name: chain } } },
    ...rules(of, chain, branch),
    ...elements(of, chain, branch).map((element) => ({ add: element })),
  ];
}

/** What stands of the branch in maps. */
function elements(
  { family, name: table }: TableName,
  chain: string,
  { map, key, acceptedIn }: Branch,
): { element: NftElement }[] {
  const leading = { element: { family, table, name: map, elem: [[key, { goto: { target: chain } }]] } };
  if (acceptedIn === undefined) return [leading];
  return [leading, { element: { family, table, name: acceptedIn, elem: [[key, { accept: null }]] } }];
}

function rules({ family, name: table }: TableName, chain: string, branch: Branch): { add: NftObject }[] {
  return branch.rules.map((expr) => ({ add: { rule: { family, table, chain, expr } } }));
}
