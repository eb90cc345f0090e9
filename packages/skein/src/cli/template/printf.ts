import { formatValue, isList, isObject, sortedKeys, typeName, type Value } from './value.ts';

const directive = /%([-+# 0]*)(\*|\d+)?(?:\.(\*|\d+)?)?([a-zA-Z%])/g;

/** Go's fmt.Sprintf for the verbs that templates use, with fmt's words for wrong and missing arguments. */
export function sprintf(format: string, args: readonly Value[]): string {
  let used = 0;
  const take = () => args[used++];
  const text = format.replace(directive, (all, flags: string, width: string, precision: string, verb: string) => {
    if (verb === '%') return '%';
    const columns = width === '*' ? Number(take()) : Number(width ?? 0);
    const digits = precision === '*' ? Number(take()) : all.includes('.') ? Number(precision ?? 0) : undefined;
    if (used >= args.length) return `%!${verb}(MISSING)`;
    return pad(one(verb, take(), flags, digits), columns, flags);
  });
  if (used >= args.length) return text;
  const extra = args.slice(used).map((arg) => `${typeName(arg)}=${formatValue(arg)}`);
  return `${text}%!(EXTRA ${extra.join(', ')})`;
}

function pad(text: string, columns: number, flags: string): string {
  if (flags.includes('-')) return text.padEnd(columns);
  if (!flags.includes('0') || !/^[+-]?[\d.]/.test(text)) return text.padStart(columns);
  const sign = /^[+-]/.exec(text)?.[0] ?? '';
  return sign + text.slice(sign.length).padStart(columns - sign.length, '0');
}

function one(verb: string, value: Value, flags: string, digits: number | undefined): string {
  const bad = () =>
    `%!${verb}(${value === null || value === undefined ? '<nil>' : `${typeName(value)}=${formatValue(value)}`})`;
  const number = typeof value === 'number' || typeof value === 'bigint' ? Number(value) : undefined;
  const whole = typeof value === 'bigint' || (number !== undefined && Number.isInteger(number));
  const signed = (text: string) => (flags.includes('+') && !text.startsWith('-') ? `+${text}` : text);
  switch (verb) {
    case 'v':
      return flags.includes('#') ? goSyntax(value) : formatValue(value);
    case 's':
      if (number !== undefined || typeof value === 'boolean' || value === null || value === undefined) return bad();
      return formatValue(value).slice(0, digits);
    case 'q':
      return typeof value === 'string' ? JSON.stringify(value) : bad();
    case 'd':
      return whole ? signed(String(value)) : bad();
    case 't':
      return typeof value === 'boolean' ? String(value) : bad();
    case 'f':
    case 'F':
      return number !== undefined ? signed(number.toFixed(digits ?? 6)) : bad();
    case 'e':
      return number !== undefined ? number.toExponential(digits ?? 6).replace(/e([+-])(\d)$/, 'e$10$2') : bad();
    case 'g':
      return number !== undefined
        ? digits === undefined
          ? formatValue(number)
          : String(Number(number.toPrecision(digits)))
        : bad();
    case 'x':
    case 'X':
      return hexadecimal(verb, value, whole) ?? bad();
    case 'o':
    case 'b':
      return whole ? BigInt(String(value)).toString(verb === 'o' ? 8 : 2) : bad();
    case 'c':
      return whole ? String.fromCodePoint(number ?? 0) : bad();
    case 'T':
      return typeName(value);
    default:
      return bad();
  }
}

function hexadecimal(verb: string, value: Value, whole: boolean): string | undefined {
  const text = whole
    ? BigInt(String(value)).toString(16)
    : typeof value === 'string'
      ? Buffer.from(value).toString('hex')
      : undefined;
  return verb === 'X' ? text?.toUpperCase() : text;
}

/** fmt's `%#v`. */
function goSyntax(value: Value): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (isList(value)) return `[]interface {}{${value.map(goSyntax).join(', ')}}`;
  if (isObject(value)) {
    const pairs = sortedKeys(value).map((key) => `${JSON.stringify(key)}:${goSyntax(value[key])}`);
    return `map[string]interface {}{${pairs.join(', ')}}`;
  }
  return value === null || value === undefined ? 'interface {}(nil)' : formatValue(value);
}
