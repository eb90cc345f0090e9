import { jsonText } from '../client/json.ts';

/** @returns the API's `filters` parameter, undefined where there are none: `{"name":{"a":true}}`. */
export function filterQuery(
  filters: readonly string[],
  more: Readonly<Record<string, readonly string[]>> = {},
): string | undefined {
  const sets: Record<string, Record<string, boolean>> = {};
  const add = (name: string, value: string) => {
    sets[name] = { ...sets[name], [value]: true };
  };
  for (const filter of filters.filter(Boolean)) {
    const equals = filter.indexOf('=');
    add(filter.slice(0, equals).trim().toLowerCase(), filter.slice(equals + 1).trim());
  }
  for (const [name, values] of Object.entries(more)) for (const value of values) add(name, value);
  return Object.keys(sets).length > 0 ? jsonText(sets) : undefined;
}
