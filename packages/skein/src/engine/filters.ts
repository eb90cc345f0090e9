/** The `filters` query parameter: name → values, in both of Docker's spellings. */
import { errorText } from '../common/index.ts';
import type { Filters } from '../container/types.ts';
import { invalid } from './errors.ts';
import { isObject, parse } from './json.ts';

/**
 * @param encoded `{"name":{"x":true}}` or the older `{"name":["x"]}`.
 * @param accepted the names that the endpoint knows.
 * @throws SkeinError InvalidArgument `invalid filter 'x'` (moby filters: invalidFilter).
 */
export function parseFilters(encoded: string | null, accepted: readonly string[]): Filters {
  if (encoded === null || encoded === '') return {};
  const filters: Record<string, string[]> = {};
  for (const [name, values] of Object.entries(parseObject(encoded))) {
    if (!accepted.includes(name)) throw invalid(`invalid filter '${name}'`);
    filters[name] = valuesOf(name, values);
  }
  return filters;
}

function parseObject(encoded: string): Record<string, unknown> {
  try {
    const value = parse(encoded);
    if (isObject(value)) return value;
  } catch (error) {
    throw invalid(`invalid filter: ${errorText(error)}`, error);
  }
  throw invalid('invalid filter: not a JSON object');
}

function valuesOf(name: string, values: unknown): string[] {
  if (Array.isArray(values)) return values.map(String);
  if (isObject(values)) {
    return Object.entries(values)
      .filter(([, wanted]) => wanted === true)
      .map(([value]) => value);
  }
  throw invalid(`invalid filter '${name}'`);
}

/** @returns whether the filter is absent or one of its values is accepted. */
export function matches(filters: Filters, name: string, accept: (value: string) => boolean): boolean {
  const values = filters[name];
  return values === undefined || values.length === 0 || values.some(accept);
}

/** @returns whether every `label` filter (`key` or `key=value`) holds. */
export function matchesLabels(filters: Filters, labels: Readonly<Record<string, string>>, name = 'label'): boolean {
  return (filters[name] ?? []).every((filter) => {
    const at = filter.indexOf('=');
    return at < 0 ? Object.hasOwn(labels, filter) : labels[filter.slice(0, at)] === filter.slice(at + 1);
  });
}

/** @returns the value of a yes-or-no filter. @throws SkeinError InvalidArgument `invalid filter 'dangling=[x]'`. */
export function booleanFilter(filters: Filters, name: string): boolean | undefined {
  const values = filters[name];
  if (values === undefined || values.length === 0) return undefined;
  if (values.every((value) => value === 'true' || value === '1')) return true;
  if (values.every((value) => value === 'false' || value === '0')) return false;
  throw invalid(`invalid filter '${name}=[${values.join(' ')}]'`);
}

/** Docker's substring-or-pattern match of names (moby filters.Match). */
export function nameMatches(name: string, pattern: string): boolean {
  if (name === pattern || name.includes(pattern)) return true;
  try {
    return new RegExp(pattern).test(name);
  } catch {
    return false;
  }
}
