import type { Writable } from 'node:stream';
import { CommandError } from '../command/errors.ts';
import {
  allFunctions,
  headerFunctions,
  structPolicy,
  Template,
  TemplateError,
  type Value,
  type ValueObject,
} from '../template/index.ts';
import { alignTabs } from './tab-writer.ts';

/** One placeholder of a list: its header and what a row shows. */
export interface Column<Row> {
  readonly header: string;
  /** A function (such as `.Label "key"`) is a method, left out of JSON. */
  readonly value: (row: Row) => Value;
  /** False for placeholders that `json` does not show. */
  readonly inJson?: boolean;
}

/** How a kind of object is listed. */
export interface Listing<Row> {
  /** The name that Go's errors give the row's type. */
  readonly goType: string;
  readonly columns: Readonly<Record<string, Column<Row>>>;
  /** Placeholders of the default table. */
  readonly table: readonly string[];
  /** Cells of the default table that are more than their placeholder. */
  readonly cells?: Readonly<Record<string, string>>;
  /** What `--quiet` shows. */
  readonly quiet: string;
  /** How a template that does not run is reported: docker's words differ by kind. */
  readonly executionPrefix?: string;
}

export interface ListOptions {
  readonly format: string;
  readonly quiet?: boolean;
}

/** Prints rows as a table, as JSON lines or by a Go template. */
export function printList<Row>(out: Writable, listing: Listing<Row>, rows: readonly Row[], options: ListOptions): void {
  out.write(renderList(listing, rows, options));
}

/** @returns what {@link printList} prints. */
export function renderList<Row>(listing: Listing<Row>, rows: readonly Row[], options: ListOptions): string {
  const { isTable, source } = chosenFormat(listing, options);
  const template = readTemplate(source);
  const lines = rows.map((row) => runTemplate(template, rowOf(listing, row), listing));
  if (!isTable) return lines.map((line) => `${line}\n`).join('');
  const titles = new Template(source, { ...allFunctions, ...headerFunctions });
  const header = runTemplate(titles, headersOf(listing), listing);
  return alignTabs([header, ...lines].map((line) => `${line}\n`).join(''));
}

function chosenFormat<Row>(
  listing: Listing<Row>,
  { format, quiet }: ListOptions,
): { isTable: boolean; source: string } {
  const isTable = format === '' || format === 'table' || format.startsWith('table ');
  if (quiet && isTable) return { isTable: false, source: `{{.${listing.quiet}}}` };
  if (format === '' || format === 'table') {
    return { isTable, source: listing.table.map((name) => listing.cells?.[name] ?? `{{.${name}}}`).join('\t') };
  }
  if (format === 'json') return { isTable, source: '{{json .}}' };
  const source = (isTable ? format.slice('table '.length) : format).trim();
  return { isTable, source: source.replaceAll('\\t', '\t').replaceAll('\\n', '\n') };
}

function rowOf<Row>(listing: Listing<Row>, row: Row): ValueObject {
  const names = Object.keys(listing.columns).sort();
  const visible = names.map((name): [string, Value] => [name, listing.columns[name]?.value(row)]);
  const hidden = new Set(names.filter((name) => listing.columns[name]?.inJson === false));
  const json = Object.fromEntries(visible.filter(([name, value]) => !hidden.has(name) && typeof value !== 'function'));
  return Object.defineProperty(Object.fromEntries(visible), 'toJSON', { value: () => json });
}

function headersOf<Row>(listing: Listing<Row>): ValueObject {
  const entries = Object.entries(listing.columns);
  const headers = Object.fromEntries(entries.map(([name, column]): [string, Value] => [name, column.header]));
  // A label's column is named by what follows the last dot of its key.
  return 'Label' in headers ? { ...headers, Label: (key: Value) => lastWord(String(key)) } : headers;
}

function lastWord(key: string): string {
  return (key.split('.').at(-1) ?? '').replaceAll(/[-_]/g, ' ');
}

/** @throws CommandError in docker's words if the text is no template. */
export function readTemplate(source: string, prefix = 'failed to parse template', exitCode = 1): Template {
  try {
    return new Template(source);
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    throw new CommandError(`${prefix}: ${error.message}`, exitCode, { cause: error });
  }
}

function runTemplate<Row>(template: Template, data: ValueObject, listing: Listing<Row>): string {
  try {
    return template.run(data, structPolicy(listing.goType));
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    throw new CommandError(`${listing.executionPrefix ?? 'template parsing error'}: ${error.message}`, 1, {
      cause: error,
    });
  }
}
