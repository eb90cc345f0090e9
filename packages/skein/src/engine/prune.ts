/** What the prune endpoints share: the filters `label`, `label!` and `until`. */
import type { Filters } from '../container/types.ts';
import { invalid } from './errors.ts';
import { matchesLabels } from './filters.ts';

export const pruneFilters = ['label', 'label!', 'until'];

const unitMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** @returns the time before which things must have been made, in milliseconds: `24h` ago, a date, seconds since the epoch. */
export function untilOf(filters: Filters): number | undefined {
  const [text, ...more] = filters.until ?? [];
  if (text === undefined) return undefined;
  if (more.length > 0) throw invalid('more than one until filter specified');
  if (/^\d+(\.\d+)?$/.test(text)) return Number(text) * 1000;
  const parts = [...text.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h)/g)];
  if (parts.length > 0 && parts.map(([whole]) => whole).join('') === text) {
    return Date.now() - parts.reduce((sum, [, number, unit]) => sum + Number(number) * (unitMs[unit ?? ''] ?? 0), 0);
  }
  const date = Date.parse(text);
  if (Number.isNaN(date)) throw invalid(`failed to parse value as time or duration: "${text}"`);
  return date;
}

/** @param created in milliseconds. */
export function isPrunable(
  filters: Filters,
  labels: Readonly<Record<string, string>>,
  created: number,
  until: number | undefined,
): boolean {
  const excluded = (filters['label!'] ?? []).some((filter) => matchesLabels({ label: [filter] }, labels));
  return !excluded && matchesLabels(filters, labels) && (until === undefined || created < until);
}
