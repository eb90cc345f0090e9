import { TemplateError } from './errors.ts';
import { goTime } from './time.ts';

/** A function that a template may call; it may refuse with an Error whose message Go's report quotes. */
export type TemplateFunction = (...args: Value[]) => Value;

/** A time.Time: prints as Go prints it, but is ISO text in JSON. */
export class GoTime {
  readonly iso: string;

  constructor(iso: string) {
    this.iso = iso;
  }

  toJSON(): string {
    return this.iso;
  }
}

/** What templates work on: JSON, plus methods. undefined is Go's missing value. */
export type Value =
  | undefined
  | null
  | boolean
  | number
  | bigint
  | string
  | readonly Value[]
  | TemplateFunction
  | GoTime
  | { readonly [key: string]: Value };

export type ValueObject = { readonly [key: string]: Value };

export function isObject(value: Value): value is ValueObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof GoTime);
}

export function isList(value: Value): value is readonly Value[] {
  return Array.isArray(value);
}

/** @returns the value's type as Go's messages name it. */
export function typeName(value: Value): string {
  if (value === undefined || value === null) return 'interface {}';
  if (isList(value)) return '[]interface {}';
  if (typeof value === 'object') return 'map[string]interface {}';
  if (typeof value === 'number') return Number.isInteger(value) ? 'int' : 'float64';
  return { string: 'string', boolean: 'bool', bigint: 'int', function: 'func' }[typeof value as string] ?? typeof value;
}

/** Go's truth: false, 0, the empty string, list and map, and what is missing are false. */
export function isTrue(value: Value): boolean {
  if (isList(value)) return value.length > 0;
  if (isObject(value)) return Object.keys(value).length > 0;
  return Boolean(value);
}

/** Go's order of map keys when printed or ranged over. */
export function sortedKeys(value: ValueObject): string[] {
  return Object.keys(value).sort((left, right) => (left < right ? -1 : left > right ? 1 : 0));
}

/** fmt's `%v`: `map[a:1 b:2]`, `[x y]`, `<nil>`. */
export function formatValue(value: Value): string {
  if (value === undefined || value === null) return '<nil>';
  if (value instanceof GoTime) return goTime(value.iso);
  if (isList(value)) return `[${value.map(formatValue).join(' ')}]`;
  if (isObject(value)) {
    return `map[${sortedKeys(value)
      .map((key) => `${key}:${formatValue(value[key])}`)
      .join(' ')}]`;
  }
  if (typeof value === 'function') return formatValue(value());
  if (typeof value === 'number') return formatNumber(value);
  return String(value);
}

/** The exponents between which fmt's `%v` prints a float without an exponent (strconv 'g' with the shortest form). */
const smallestPlainExponent = -4;
const firstLargeExponent = 21;

/** fmt's `%v` of a number: integers as they are, floats as `%g` with the exponent from 21 on. */
export function formatNumber(value: number): string {
  if (Number.isInteger(value) && Number.isSafeInteger(value)) return String(value);
  if (value === 0 || !Number.isFinite(value))
    return value === 0 ? '0' : value > 0 ? '+Inf' : value < 0 ? '-Inf' : 'NaN';
  const [digits = '', power = '0'] = value.toExponential().split('e');
  const exponent = Number(power);
  if (exponent >= smallestPlainExponent && exponent < firstLargeExponent) return plainNumber(value);
  return `${digits}e${exponent < 0 ? '-' : '+'}${String(Math.abs(exponent)).padStart(2, '0')}`;
}

function plainNumber(value: number): string {
  const text = String(value);
  return text.includes('e') ? value.toFixed(20).replace(/0+$/, '') : text;
}

/** What an action prints: fmt.Fprint, a missing value as `<no value>`. */
export function printValue(value: Value): string {
  return value === undefined || value === null ? '<no value>' : formatValue(value);
}

/** Go's order between two basic values. @throws TemplateError in text/template's words if they do not compare. */
export function compareValues(left: Value, right: Value, needsOrder: boolean): number {
  const leftKind = basicKind(left);
  const rightKind = basicKind(right);
  if (leftKind === undefined || rightKind === undefined) {
    if (!needsOrder && (left ?? null) === null && (right ?? null) === null) return 0;
    if (!needsOrder && ((left ?? null) === null || (right ?? null) === null)) return 1;
    throw new TemplateError(needsOrder ? 'invalid type for comparison' : 'non-comparable type', true);
  }
  if (leftKind !== rightKind) throw new TemplateError('incompatible types for comparison', true);
  if (needsOrder && leftKind === 'boolean') throw new TemplateError('invalid type for comparison', true);
  const a = left as string | number | bigint | boolean;
  const b = right as string | number | bigint | boolean;
  if (a < b) return -1;
  return a > b ? 1 : 0;
}

function basicKind(value: Value): 'string' | 'number' | 'boolean' | undefined {
  if (typeof value === 'bigint') return 'number';
  return typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'
    ? (typeof value as 'string' | 'number' | 'boolean')
    : undefined;
}
