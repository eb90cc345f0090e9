import type { NftExpression, NftObject } from '@skein/netlink';

/**
 * @returns a text that is equal for equal tables, whether written here or listed by the kernel. Comments, handles and the
 * order of chains and elements do not count.
 */
export function fingerprint(objects: readonly NftObject[]): string {
  const chains = new Map<string, unknown[]>();
  const lines: string[] = [];
  const elements = new Map<string, NftExpression[]>();
  for (const object of objects) {
    if ('chain' in object) {
      const { name, type, hook, prio, policy } = object.chain;
      chains.set(name, [[type, hook, prio, policy], ...(chains.get(name) ?? [])]);
    } else if ('rule' in object) {
      const { chain, expr } = object.rule;
      chains.set(chain, [...(chains.get(chain) ?? []), expr]);
    } else if ('map' in object) {
      const { name, type, map, elem = [] } = object.map;
      lines.push(JSON.stringify(['map', name, type, map]));
      elements.set(name, [...(elements.get(name) ?? []), ...elem]);
    } else if ('element' in object) {
      const { name, elem } = object.element;
      elements.set(name, [...(elements.get(name) ?? []), ...elem]);
    } else if (!('table' in object)) lines.push(JSON.stringify(object));
  }
  for (const [name, statements] of chains) lines.push(JSON.stringify(['chain', name, statements]));
  for (const [name, elem] of elements) {
    for (const element of elem) lines.push(JSON.stringify(['element', name, element]));
  }
  return lines.sort().join('\n');
}
