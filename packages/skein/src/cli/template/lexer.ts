import { TemplateError } from './errors.ts';

/** What an action is made of (text/template/parse: itemType). */
export type TokenKind =
  | 'text'
  | 'open'
  | 'close'
  | 'identifier'
  | 'field'
  | 'variable'
  | 'dot'
  | 'string'
  | 'rawString'
  | 'number'
  | 'char'
  | 'pipe'
  | 'declare'
  | 'assign'
  | 'comma'
  | 'leftParen'
  | 'rightParen'
  | 'space'
  | 'end';

/** A piece of the template, `at` counted in characters from its start. */
export interface Token {
  readonly kind: TokenKind;
  readonly text: string;
  readonly at: number;
}

const leftTrim = /^\{\{-[ \t\r\n]/;
const rightTrim = /^[ \t\r\n]-\}\}/;
const delimiterLength = 2;
const trimLength = 2;

/** The tokens of an action's inside, tried in this order. */
const patterns: readonly (readonly [TokenKind, RegExp])[] = [
  ['space', /[ \t\r\n]+/y],
  ['declare', /:=/y],
  ['assign', /=/y],
  ['pipe', /\|/y],
  ['comma', /,/y],
  ['leftParen', /\(/y],
  ['rightParen', /\)/y],
  ['string', /"(?:[^"\\\n]|\\.)*"/y],
  ['rawString', /`[^`]*`/y],
  ['char', /'(?:[^'\\\n]|\\.)*'/y],
  ['number', /[+-]?(?:0[xX][\da-fA-F_]+|0[bB][01_]+|0[oO][0-7_]+|(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)/y],
  ['variable', /\$[\p{L}\p{N}_]*/uy],
  ['field', /\.[\p{L}\p{N}_]+/uy],
  ['dot', /\./y],
  ['identifier', /[\p{L}_][\p{L}\p{N}_]*/uy],
];
/** What may follow a word (text/template/parse: atTerminator). */
const terminator = /^(?:$|[ \t\r\n.,|:)(]|-?\}\})/;

/** Cuts a template into tokens. @throws TemplateError in Go's words. */
export function tokenize(source: string, name: string): Token[] {
  return new Lexer(source, name).run();
}

/** @returns the number of the line that a position is on, from 1. */
export function lineOf(source: string, at: number): number {
  return source.slice(0, at).split('\n').length;
}

class Lexer {
  readonly #source: string;
  readonly #name: string;
  readonly #tokens: Token[] = [];
  #at = 0;
  #depth = 0;

  constructor(source: string, name: string) {
    this.#source = source;
    this.#name = name;
  }

  run(): Token[] {
    let trimNext = false;
    for (;;) {
      const open = this.#source.indexOf('{{', this.#at);
      let text = this.#source.slice(this.#at, open < 0 ? undefined : open);
      if (trimNext) text = text.replace(/^[ \t\r\n]+/, '');
      if (open >= 0 && leftTrim.test(this.#source.slice(open))) text = text.replace(/[ \t\r\n]+$/, '');
      if (text) this.#tokens.push({ kind: 'text', text, at: this.#at });
      if (open < 0) break;
      this.#at = open;
      trimNext = this.#action();
    }
    this.#tokens.push({ kind: 'end', text: '', at: this.#source.length });
    return this.#tokens;
  }

  /** Reads from `{{` past `}}`. @returns whether the text after it loses its leading space. */
  #action(): boolean {
    const start = this.#at;
    this.#at += delimiterLength;
    if (leftTrim.test(this.#source.slice(start))) this.#at += trimLength;
    if (this.#source.startsWith('/*', this.#at)) return this.#comment();
    this.#tokens.push({ kind: 'open', text: '{{', at: start });
    this.#depth = 0;
    for (;;) {
      const rest = this.#source.slice(this.#at);
      const trims = rightTrim.test(rest);
      if (trims || rest.startsWith('}}')) {
        if (this.#depth > 0) throw this.#error('unclosed left paren');
        this.#tokens.push({ kind: 'close', text: '}}', at: this.#at });
        this.#at += trims ? trimLength + delimiterLength : delimiterLength;
        return trims;
      }
      if (rest === '') throw this.#error('unclosed action');
      this.#token(rest);
    }
  }

  #comment(): boolean {
    const end = this.#source.indexOf('*/', this.#at);
    if (end < 0) throw this.#error('unclosed comment');
    this.#at = end + delimiterLength;
    const rest = this.#source.slice(this.#at);
    const trims = rightTrim.test(rest);
    if (!trims && !rest.startsWith('}}')) throw this.#error('comment ends before closing delimiter');
    this.#at += trims ? trimLength + delimiterLength : delimiterLength;
    return trims;
  }

  #token(rest: string): void {
    for (const [kind, pattern] of patterns) {
      pattern.lastIndex = this.#at;
      const text = pattern.exec(this.#source)?.[0];
      if (text === undefined) continue;
      if (kind === 'leftParen') this.#depth++;
      if (kind === 'rightParen' && --this.#depth < 0) throw this.#error('unexpected right paren');
      this.#tokens.push({ kind, text, at: this.#at });
      this.#at += text.length;
      this.#checkEnd(kind, text);
      return;
    }
    throw this.#unknown(rest);
  }

  #checkEnd(kind: TokenKind, text: string): void {
    const rest = this.#source.slice(this.#at);
    if (kind === 'number' && /^[\p{L}\p{N}_]/u.test(rest)) {
      throw this.#error(`bad number syntax: ${JSON.stringify(text + rest.charAt(0))}`);
    }
    if (['field', 'variable', 'identifier'].includes(kind) && !terminator.test(rest)) {
      throw this.#error(`bad character ${codePoint(rest)}`);
    }
  }

  #unknown(rest: string): TemplateError {
    if (rest.startsWith('"')) return this.#error('unterminated quoted string');
    if (rest.startsWith('`')) return this.#error('unterminated raw quoted string');
    if (rest.startsWith("'")) return this.#error('unterminated character constant');
    if (rest.startsWith(':')) return this.#error('expected :=');
    return this.#error(`unrecognized character in action: ${codePoint(rest)}`);
  }

  #error(what: string): TemplateError {
    return new TemplateError(`template: ${this.#name}:${lineOf(this.#source, this.#at)}: ${what}`);
  }
}

/** Go's %#U: `U+007B '{'`. */
function codePoint(text: string): string {
  const point = text.codePointAt(0) ?? 0;
  return `U+${point.toString(16).toUpperCase().padStart(4, '0')} '${String.fromCodePoint(point)}'`;
}
