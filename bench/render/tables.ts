/** The results and the goals as tables, for a terminal or for markdown. */

import { type Contestant, contestants } from '../contestants.ts';
import { goals, isReached } from '../goals.ts';
import { medianOf, type Results, ratioOf, variantOf } from '../results.ts';
import { sections } from '../sections/index.ts';
import type { Measure, Section } from '../types.ts';

export type Format = 'text' | 'markdown';

const notMeasured = '–';

/** The sections that were run: every measure with the medians of all contestants and the ratios of Skein's. */
export function resultTable(results: Results, format: Format): string {
  const shown = (Object.keys(contestants) as Contestant[]).filter((contestant) =>
    Object.values(results).some(({ values }) => Object.values(values).some((row) => row[contestant] !== undefined)),
  );
  const header = [
    '',
    'unit',
    ...shown.map((contestant) => titleOf(contestant, results)),
    'Skein ÷ host',
    'Skein ÷ dockerd',
  ];
  const withVariant = shown.includes('skein-variant') ? ['with flags ÷ host', 'with flags ÷ dockerd'] : [];
  const rows = sections.flatMap((section) => sectionRows(results, section, shown));
  return layOut(format, [...header, ...withVariant], rows);
}

const titleOf = (contestant: Contestant, results: Results): string =>
  contestant === 'skein-variant' ? `Skein ${variantOf(results)}` : contestants[contestant];

function sectionRows(results: Results, section: Section, shown: readonly Contestant[]): string[][] {
  const ours = (['skein', 'skein-variant'] as const).filter((own) => own === 'skein' || shown.includes(own));
  const others = ['bare', 'dockerd'] as const;
  return Object.entries(section.measures).flatMap(([id, measure]) => {
    const values = shown.map((contestant) => medianOf(results, id, contestant));
    if (values.every((value) => value === undefined)) return [];
    const ratios = ours.flatMap((own) => others.map((other) => ratio(results, id, own, other)));
    return [[measure.title, unitOf(measure), ...values.map(number), ...ratios]];
  });
}

/** An arrow says which way is better. */
const unitOf = ({ unit, better }: Measure): string => `${unit} ${better === 'higher' ? '↑' : '↓'}`.trim();

function ratio(results: Results, id: string, own: Contestant, other: Contestant): string {
  const found = ratioOf(results, { measure: id, contestant: own }, { measure: id, contestant: other });
  return Number.isFinite(found) ? found.toFixed(2) : notMeasured;
}

/** The goals with what was reached; in a terminal those alone that were measured. */
export function goalTable(results: Results, format: Format): string {
  const shown = goals.filter((goal) => format === 'markdown' || isReached(goal, results) !== undefined);
  const rows = shown.map((goal) => {
    const reached = isReached(goal, results);
    const value = goal.value(results);
    const verdict =
      reached === undefined ? 'not measured' : reached ? 'reached' : `missed: ${shortfall(value, goal.goal)}`;
    const unit = goal.unit === '' ? '' : ` ${goal.unit}`;
    return [
      goal.what,
      `${goal.relation} ${goal.goal}${unit}`,
      reached === undefined ? notMeasured : `${number(value)}${unit}`,
      verdict,
      reached === undefined || goal.byCpu === undefined ? '' : number(goal.byCpu(results)),
      goal.reference,
    ];
  });
  return layOut(format, ['goal', 'wanted', 'measured', '', 'by CPU cost', 'reference'], rows);
}

function shortfall(value: number, wanted: number): string {
  return wanted === 0 ? `by ${number(value)}` : `by ${Math.round(Math.abs(value / wanted - 1) * 100)} %`;
}

/** Three digits that count; whole numbers above. */
export function number(value: number | undefined): string {
  if (value === undefined) return notMeasured;
  const magnitude = Math.abs(value);
  if (magnitude >= 1000) return Math.round(value).toLocaleString('en');
  return value.toFixed(magnitude >= 100 ? 0 : magnitude >= 10 ? 1 : magnitude >= 0.1 || magnitude === 0 ? 2 : 3);
}

function layOut(format: Format, header: readonly string[], rows: readonly (readonly string[])[]): string {
  if (format === 'markdown') {
    const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
    const rule = header.map((_, index) => (index === 0 ? '---' : '---:'));
    return [line(header), line(rule), ...rows.map(line)].join('\n');
  }
  const widths = header.map((cell, index) => Math.max(cell.length, ...rows.map((row) => row[index]?.length ?? 0)));
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, index) => (index === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[index] ?? 0)))
      .join('  ')
      .trimEnd();
  return [line(header), ...rows.map(line)].join('\n');
}
