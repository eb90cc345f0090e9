/**
 * JSON as the engine writes it. Whole numbers beyond 2^53 (nanoseconds, counters) are bigints, so that nothing is
 * rounded on its way through the CLI.
 */
export type Json = null | boolean | number | bigint | string | Json[] | { [key: string]: Json };
export type JsonObject = { [key: string]: Json };

interface ReviverContext {
  readonly source?: string;
}

/** Parses JSON text, keeping every integer exact. */
export function parseJson(text: string): Json {
  const exact = (_key: string, value: unknown, context?: ReviverContext): unknown => {
    if (typeof value !== 'number' || Number.isSafeInteger(value) || !context?.source) return value;
    return /^-?\d+$/.test(context.source) ? BigInt(context.source) : value;
  };
  return JSON.parse(text, exact as (key: string, value: unknown) => unknown) as Json;
}

/** @returns JSON text in one line, as Go's encoder writes it (`<`, `>` and `&` escaped where `html` says so). */
export function jsonText(value: Json | undefined, html = false): string {
  const text = JSON.stringify(value ?? null, (_key, item: unknown) =>
    typeof item === 'bigint' ? rawJson(item.toString()) : item,
  );
  return html ? escapeHtml(text) : text;
}

/** Go's json.HTMLEscape. */
function escapeHtml(text: string): string {
  return text.replace(/[<>&\u2028\u2029]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

function rawJson(text: string): unknown {
  const { rawJSON } = JSON as unknown as { rawJSON(text: string): unknown };
  return rawJSON(text);
}

/** Go's json.Indent: the text as the engine wrote it, every number and escape untouched, broken into lines. */
export function indentJson(text: string, prefix = '', indent = '    '): string {
  let out = '';
  let depth = 0;
  const newline = () => `\n${prefix}${indent.repeat(depth)}`;
  for (const [token] of text.matchAll(/"(?:[^"\\]|\\.)*"|[{[]\s*[}\]]|[{}[\],:]|[^\s{}[\],:"]+/g)) {
    if (token === '{' || token === '[') {
      depth++;
      out += token + newline();
    } else if (token === '}' || token === ']') {
      depth--;
      out += newline() + token;
    } else if (token === ',') out += token + newline();
    else if (token === ':') out += ': ';
    else out += /^[{[]/.test(token) ? token.replace(/\s/g, '') : token;
  }
  return out;
}

/** @returns the value as an object, empty if it is none. */
export function asObject(value: Json | undefined): JsonObject {
  return value !== null && typeof value === 'object' && !Array.isArray(value) ? value : {};
}

/** @returns the value as a list, empty if it is none. */
export function asList(value: Json | undefined): Json[] {
  return Array.isArray(value) ? value : [];
}

/** @returns the value as text, empty if there is none. */
export function asText(value: Json | undefined): string {
  return value === null || value === undefined ? '' : typeof value === 'object' ? jsonText(value) : String(value);
}

/** @returns the value as a number, 0 if it is none. */
export function asNumber(value: Json | undefined): number {
  return typeof value === 'number' || typeof value === 'bigint' ? Number(value) : 0;
}

/** @returns what lies at a path of keys, undefined where a step is missing. */
export function at(value: Json | undefined, ...path: readonly string[]): Json | undefined {
  let here = value;
  for (const key of path) {
    if (here === null || typeof here !== 'object' || Array.isArray(here)) return undefined;
    here = here[key];
  }
  return here;
}

/** @returns an object of texts (labels, options). */
export function asTexts(value: Json | undefined): Record<string, string> {
  return Object.fromEntries(Object.entries(asObject(value)).map(([key, item]) => [key, asText(item)]));
}
