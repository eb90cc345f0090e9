import { type Json, jsonText } from '../client/json.ts';
import { sprintf } from './printf.ts';
import {
  compareValues,
  formatValue,
  isList,
  isObject,
  isTrue,
  type TemplateFunction,
  typeName,
  type Value,
} from './value.ts';

export type FunctionTable = Readonly<Record<string, TemplateFunction>>;

/** text/template's own functions; `and` and `or` are evaluated lazily by the evaluator. */
export const goFunctions: FunctionTable = {
  and: (...args) => args.find((arg) => !isTrue(arg)) ?? args.at(-1),
  or: (...args) => args.find(isTrue) ?? args.at(-1),
  not: (value) => !isTrue(value),
  len: (value) => {
    if (typeof value === 'string') return Buffer.byteLength(value);
    if (isList(value)) return value.length;
    if (isObject(value)) return Object.keys(value).length;
    throw new Error(value === null || value === undefined ? 'len of nil pointer' : `len of type ${typeName(value)}`);
  },
  index: (value, ...path) => path.reduce(indexOne, value),
  slice: (value, from = 0, to = undefined) => {
    if (typeof value !== 'string' && !isList(value)) throw new Error(`can't slice item of type ${typeName(value)}`);
    const end = to === undefined ? value.length : Number(to);
    if (Number(from) > end || end > value.length) throw new Error(`index out of range: ${formatValue(to ?? from)}`);
    return value.slice(Number(from), end);
  },
  eq: (left, ...rights) => {
    if (rights.length === 0) throw new Error('missing argument for comparison');
    return rights.some((right) => compareValues(left, right, false) === 0);
  },
  ne: (left, right) => compareValues(left, right, false) !== 0,
  lt: (left, right) => compareValues(left, right, true) < 0,
  le: (left, right) => compareValues(left, right, true) <= 0,
  gt: (left, right) => compareValues(left, right, true) > 0,
  ge: (left, right) => compareValues(left, right, true) >= 0,
  print: (...args) => sprint(args),
  println: (...args) => `${args.map(formatValue).join(' ')}\n`,
  printf: (format, ...args) => sprintf(textOf(format), args),
  html: (...args) => sprint(args).replace(/["'&<>\0]/g, (char) => htmlEscapes[char] ?? char),
  js: (...args) => sprint(args).replace(/['"\\<>&=\n\r\t]/g, (char) => jsEscapes[char] ?? char),
  urlquery: (...args) => encodeURIComponent(sprint(args)).replaceAll('%20', '+'),
};

/** The functions that docker adds (docker/cli templates: basicFunctions). */
export const dockerFunctions: FunctionTable = {
  json: (value) => jsonText(value as Json, true),
  split: (text, separator) => textOf(text).split(textOf(separator)),
  join: (list, separator) => {
    if (list === null || list === undefined) return '';
    if (!isList(list)) throw new Error(`wrong type for value; expected []string; got ${typeName(list)}`);
    return list.map(textOf).join(textOf(separator));
  },
  title: (text) =>
    textOf(text).replace(/(^|[^\p{L}\p{N}_'])(\p{L})/gu, (_all, before, letter) => before + letter.toUpperCase()),
  lower: (text) => textOf(text).toLowerCase(),
  upper: (text) => textOf(text).toUpperCase(),
  pad: (text, before, after) =>
    textOf(text) === '' ? '' : ' '.repeat(Number(before)) + textOf(text) + ' '.repeat(Number(after)),
  truncate: (text, length) => [...textOf(text)].slice(0, Number(length)).join(''),
};

/** What a header line makes of the functions: the words stay, values that only rows have do not count. */
export const headerFunctions: FunctionTable = {
  json: (value) => value,
  title: (value) => value,
  lower: (value) => value,
  upper: (value) => value,
  truncate: (value) => value,
  join: (value) => value,
  split: (value) => value,
};

export const allFunctions: FunctionTable = { ...goFunctions, ...dockerFunctions };

const htmlEscapes: Readonly<Record<string, string>> = {
  '"': '&#34;',
  "'": '&#39;',
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '\0': '\uFFFD',
};
const jsEscapes: Readonly<Record<string, string>> = {
  "'": "\\'",
  '"': '\\"',
  '\\': '\\\\',
  '<': '\\u003C',
  '>': '\\u003E',
  '&': '\\u0026',
  '=': '\\u003D',
  '\n': '\\u000A',
  '\r': '\\u000D',
  '\t': '\\u0009',
};

/** A function's argument that must be text. */
function textOf(value: Value): string {
  if (typeof value === 'string') return value;
  if (value === null || value === undefined) throw new Error('invalid value; expected string');
  throw new Error(`wrong type for value; expected string; got ${typeName(value)}`);
}

/** fmt.Sprint: a space only between two neighbours of which neither is text. */
function sprint(args: readonly Value[]): string {
  return args.reduce<string>((text, arg, position) => {
    const apart = position > 0 && typeof arg !== 'string' && typeof args[position - 1] !== 'string';
    return text + (apart ? ' ' : '') + formatValue(arg);
  }, '');
}

function indexOne(value: Value, key: Value): Value {
  if (value === null || value === undefined) throw new Error('index of untyped nil');
  if (isList(value)) {
    if (typeof key !== 'number') throw new Error(`cannot index slice/array with type ${typeName(key)}`);
    if (key < 0 || key >= value.length) throw new Error(`index out of range: ${key}`);
    return value[key];
  }
  if (typeof value === 'string') return Buffer.from(value)[Number(key)];
  if (!isObject(value)) throw new Error(`can't index item of type ${typeName(value)}`);
  if (typeof key !== 'string') throw new Error(`value has type ${typeName(key)}; should be string`);
  return Object.hasOwn(value, key) ? value[key] : undefined;
}
