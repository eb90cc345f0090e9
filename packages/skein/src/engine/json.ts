/**
 * JSON as Go's encoding/json writes and reads it: 64-bit integers keep their digits, and what is not JSON is refused
 * in Go's words, which the users of Docker know.
 */
import { SkeinError } from '../common/index.ts';

export type JsonObject = { [key: string]: unknown };

/** `JSON.rawJSON` of the "JSON.parse source text access" proposal (in V8, not yet in TypeScript's library). */
const rawJson = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON;

/** @returns the JSON text of `value`; a bigint becomes a number with all its digits. */
export function stringify(value: unknown): string {
  return JSON.stringify(value, (_key, member: unknown) =>
    typeof member === 'bigint' ? rawJson(member.toString()) : member,
  );
}

/**
 * @returns the value of a JSON text; integers that a double cannot hold become bigints.
 * @throws SkeinError InvalidArgument with the text of Go's json.SyntaxError.
 */
export function parse(text: string): unknown {
  try {
    return JSON.parse(text, keepDigits);
  } catch (error) {
    throw new SkeinError('InvalidArgument', new SyntaxCheck(text).complaint(), { cause: error });
  }
}

function keepDigits(this: unknown, _key: string, value: unknown, context?: { source?: string }): unknown {
  const unsafe = typeof value === 'number' && Number.isInteger(value) && !Number.isSafeInteger(value);
  return unsafe && context?.source !== undefined && /^-?\d+$/.test(context.source) ? BigInt(context.source) : value;
}

/** @returns whether the value is a JSON object (not null, not an array). */
export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** @returns the member `name`; as in Go, a name that differs in case only is taken when the exact one is missing. null reads as missing. */
export function member(object: JsonObject, name: string): unknown {
  if (Object.hasOwn(object, name)) return object[name] ?? undefined;
  const folded = name.toLowerCase();
  const key = Object.keys(object).find((candidate) => candidate.toLowerCase() === folded);
  return key === undefined ? undefined : (object[key] ?? undefined);
}

/** @returns Go's word for the JSON type of a value, as its UnmarshalTypeError prints it. */
export function jsonType(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'array';
  if (typeof value === 'boolean') return 'bool';
  if (typeof value === 'bigint') return `number ${value}`;
  if (typeof value === 'number') return Number.isInteger(value) ? 'number' : `number ${value}`;
  return typeof value;
}

/** @returns the error for a value of a wrong type (Go: json.UnmarshalTypeError). `path` is `Root.Field.Field`. */
export function typeError(value: unknown, path: string, goType: string): SkeinError {
  return new SkeinError(
    'InvalidArgument',
    `json: cannot unmarshal ${jsonType(value)} into Go ${path.includes('.') ? `struct field ${path}` : 'value'} of type ${goType}`,
  );
}

/** As deep as Go nests (encoding/json: maxNestingDepth). */
const maxDepth = 10_000;

/** Walks a text that is not JSON until the character where Go's scanner gives up. */
class SyntaxCheck {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  complaint(): string {
    if (this.#text.trim() === '') return 'invalid JSON: got EOF while reading request body';
    try {
      this.#value(0);
      return 'unexpected content after JSON';
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  #space(): string | undefined {
    while (' \t\r\n'.includes(this.#text[this.#at] ?? 'x')) this.#at++;
    return this.#text[this.#at];
  }

  #refuse(where: string): never {
    const character = this.#text[this.#at];
    if (character === undefined) throw new Error('unexpected EOF');
    throw new Error(`invalid character ${quoteCharacter(character)} ${where}`);
  }

  #value(depth: number): void {
    if (depth > maxDepth) throw new Error('exceeded max depth');
    const character = this.#space();
    if (character === '{') this.#list('}', 'after object key:value pair', () => this.#pair(depth));
    else if (character === '[') this.#list(']', 'after array element', () => this.#value(depth + 1));
    else if (character === '"') this.#string();
    else if (character !== undefined && /[-\d]/.test(character)) this.#number();
    else if (character === 't') this.#literal('true');
    else if (character === 'f') this.#literal('false');
    else if (character === 'n') this.#literal('null');
    else this.#refuse('looking for beginning of value');
  }

  #list(end: string, after: string, element: () => void): void {
    this.#at++;
    if (this.#space() === end) {
      this.#at++;
      return;
    }
    for (;;) {
      element();
      const character = this.#space();
      this.#at++;
      if (character === end) return;
      if (character !== ',') {
        this.#at--;
        this.#refuse(after);
      }
    }
  }

  #pair(depth: number): void {
    if (this.#space() !== '"') this.#refuse('looking for beginning of object key string');
    this.#string();
    if (this.#space() !== ':') this.#refuse('after object key');
    this.#at++;
    this.#value(depth + 1);
  }

  #literal(word: string): void {
    for (const expected of word) {
      if (this.#text[this.#at] !== expected) this.#refuse(`in literal ${word} (expecting '${expected}')`);
      this.#at++;
    }
  }

  #string(): void {
    for (this.#at++; ; this.#at++) {
      const character = this.#text[this.#at];
      if (character === '"') break;
      if (character === undefined || character < ' ') this.#refuse('in string literal');
      if (character === '\\') this.#escape();
    }
    this.#at++;
  }

  #escape(): void {
    this.#at++;
    const character = this.#text[this.#at];
    if (character === undefined || !'"\\/bfnrtu'.includes(character)) this.#refuse('in string escape code');
    for (let digits = 0; character === 'u' && digits < 4; digits++) {
      this.#at++;
      if (!/[\da-fA-F]/.test(this.#text[this.#at] ?? '')) this.#refuse('in \\u hexadecimal character escape');
    }
  }

  #digits(where: string): void {
    if (!/\d/.test(this.#text[this.#at] ?? '')) this.#refuse(where);
    while (/\d/.test(this.#text[this.#at] ?? '')) this.#at++;
  }

  #number(): void {
    if (this.#text[this.#at] === '-') this.#at++;
    if (this.#text[this.#at] === '0') this.#at++;
    else this.#digits('in numeric literal');
    if (this.#text[this.#at] === '.') {
      this.#at++;
      this.#digits('after decimal point in numeric literal');
    }
    if (/[eE]/.test(this.#text[this.#at] ?? '')) {
      this.#at++;
      if (/[-+]/.test(this.#text[this.#at] ?? '')) this.#at++;
      this.#digits('in exponent of numeric literal');
    }
  }
}

/** Go's quoteChar: the character in single quotes, with Go's escapes. */
function quoteCharacter(character: string): string {
  if (character === "'") return "'\\''";
  if (character === '"') return `'"'`;
  return `'${JSON.stringify(character).slice(1, -1)}'`;
}
