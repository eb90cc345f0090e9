import { TemplateError } from './errors.ts';
import { lineOf, type Token, tokenize } from './lexer.ts';
import type { Call, Node, Operand, Pipeline } from './nodes.ts';

const keywords = new Set(['if', 'else', 'end', 'range', 'with', 'break', 'continue', 'block', 'define', 'template']);

/**
 * Parses a template (Go text/template without named templates).
 * @param functions the names that may be called.
 * @throws TemplateError in Go's words, such as `template: :1: unexpected "}" in operand`.
 */
export function parseTemplate(source: string, functions: ReadonlySet<string>, name = ''): Node[] {
  return new Parser(source, functions, name).run();
}

type Ending = 'end' | 'else' | 'elseIf' | 'elseWith';

class Parser {
  readonly #source: string;
  readonly #functions: ReadonlySet<string>;
  readonly #name: string;
  readonly #tokens: Token[];
  #at = 0;
  #variables: string[] = ['$'];
  #ranges = 0;

  constructor(source: string, functions: ReadonlySet<string>, name: string) {
    this.#source = source;
    this.#functions = functions;
    this.#name = name;
    this.#tokens = tokenize(source, name);
  }

  run(): Node[] {
    const nodes: Node[] = [];
    while (this.#peek().kind !== 'end') {
      const node = this.#node();
      if (typeof node === 'string') throw this.#error(`unexpected {{${node.startsWith('else') ? 'else' : node}}}`);
      nodes.push(node);
    }
    return nodes;
  }

  #node(): Node | Ending {
    const token = this.#next();
    if (token.kind === 'text') return { kind: 'text', text: token.text };
    this.#skipSpace();
    const word = this.#peek();
    if (word.kind !== 'identifier' || !keywords.has(word.text)) {
      return { kind: 'print', pipeline: this.#pipeline('command', 'close') };
    }
    this.#next();
    return this.#keyword(word.text);
  }

  #keyword(word: string): Node | Ending {
    switch (word) {
      case 'if':
      case 'with':
      case 'range':
        return this.#control(word);
      case 'end':
        this.#close('end');
        return 'end';
      case 'else':
        return this.#else();
      case 'break':
      case 'continue':
        if (this.#ranges === 0) throw this.#error(`{{${word}}} outside {{range}}`);
        this.#close(`{{${word}}}`);
        return { kind: word };
      default:
        throw this.#error(`{{${word}}} is not supported: --format takes one template without named ones`);
    }
  }

  #else(): Ending {
    this.#skipSpace();
    const word = this.#peek();
    if (word.kind === 'identifier' && (word.text === 'if' || word.text === 'with')) {
      this.#next();
      return word.text === 'if' ? 'elseIf' : 'elseWith';
    }
    this.#close('else');
    return 'else';
  }

  #control(kind: 'if' | 'with' | 'range'): Node {
    const scope = this.#variables.length;
    const pipeline = this.#pipeline(kind, 'close');
    if (kind === 'range') this.#ranges++;
    const { nodes: body, ending } = this.#list();
    if (kind === 'range') this.#ranges--;
    let otherwise: Node[] = [];
    if (ending === 'elseIf') otherwise = [this.#chained('if')];
    else if (ending === 'elseWith') otherwise = [this.#chained('with')];
    else if (ending === 'else') {
      const rest = this.#list();
      if (rest.ending !== 'end') throw this.#error(`expected end; found {{else}}`);
      otherwise = rest.nodes;
    }
    this.#variables = this.#variables.slice(0, scope);
    return { kind, pipeline, body, otherwise };
  }

  /** `{{else if …}}`: the inner control takes the outer's `{{end}}` for its own. */
  #chained(kind: 'if' | 'with'): Node {
    return this.#control(kind);
  }

  #list(): { nodes: Node[]; ending: Ending } {
    const nodes: Node[] = [];
    for (;;) {
      if (this.#peek().kind === 'end') throw this.#error('unexpected EOF');
      const node = this.#node();
      if (typeof node === 'string') return { nodes, ending: node };
      nodes.push(node);
    }
  }

  #pipeline(context: string, end: 'close' | 'rightParen'): Pipeline {
    this.#skipSpace();
    const at = this.#peek().at;
    const { variables, declares } = this.#declaration(context);
    const calls: Call[] = [];
    for (;;) {
      this.#skipSpace();
      const token = this.#peek();
      if (token.kind === end) {
        this.#next();
        if (calls.length === 0) throw this.#error(`missing value for ${context}`);
        this.#checkCalls(calls);
        return { variables, declares, calls, at, text: this.#source.slice(at, token.at).trim() };
      }
      calls.push(this.#call());
    }
  }

  #checkCalls(calls: readonly Call[]): void {
    for (const [index, call] of calls.entries()) {
      const kind = call.words[0]?.kind;
      if (index > 0 && (kind === 'constant' || kind === 'dot' || kind === 'nil')) {
        throw this.#error(`non executable command in pipeline stage ${index + 1}`);
      }
    }
  }

  #declaration(context: string): { variables: string[]; declares: boolean } {
    const start = this.#at;
    const variables: string[] = [];
    while (this.#peek().kind === 'variable') {
      variables.push(this.#next().text);
      this.#skipSpace();
      const token = this.#peek();
      if (token.kind === 'declare' || token.kind === 'assign') {
        this.#next();
        const declares = token.kind === 'declare';
        if (declares) this.#variables.push(...variables);
        return { variables, declares };
      }
      if (token.kind !== 'comma' || context !== 'range' || variables.length > 1) break;
      this.#next();
      this.#skipSpace();
    }
    this.#at = start;
    return { variables: [], declares: false };
  }

  #call(): Call {
    const at = this.#peek().at;
    const words: Operand[] = [];
    for (;;) {
      this.#skipSpace();
      const operand = this.#operand();
      if (operand) words.push(operand);
      const token = this.#next();
      if (token.kind === 'space') continue;
      if (token.kind === 'pipe') {
        this.#skipSpace();
        if (this.#peek().kind === 'close') throw this.#error('missing value for command');
      } else if (token.kind === 'close' || token.kind === 'rightParen') this.#at--;
      else throw this.#unexpected(token, 'operand');
      if (words.length === 0) throw this.#error('empty command');
      return { words, at, text: words.map((word) => word.text).join(' ') };
    }
  }

  /** @returns the next operand with the fields that follow it, undefined where none starts. */
  #operand(): Operand | undefined {
    const token = this.#peek();
    const base = this.#term(token);
    if (!base) return undefined;
    const path: string[] = [];
    const at = this.#peek().at;
    while (this.#peek().kind === 'field') path.push(this.#next().text.slice(1));
    if (path.length === 0) return base;
    const text = base.text + path.map((name) => `.${name}`).join('');
    if (base.kind === 'field') return { ...base, at, text, path: [...base.path, ...path] };
    if (base.kind === 'variable') return { ...base, at, text, path: [...base.path, ...path] };
    if (base.kind === 'constant' || base.kind === 'dot' || base.kind === 'nil') {
      throw this.#error(`unexpected . after term ${JSON.stringify(base.text)}`);
    }
    return { kind: 'chain', base, path, at, text };
  }

  #term(token: Token): Operand | undefined {
    const { at, text } = token;
    switch (token.kind) {
      case 'identifier':
        this.#next();
        return this.#word(token);
      case 'dot':
        this.#next();
        return { kind: 'dot', at, text };
      case 'field':
        this.#next();
        return { kind: 'field', path: [text.slice(1)], at, text };
      case 'variable':
        if (!this.#variables.includes(text)) throw this.#error(`undefined variable ${JSON.stringify(text)}`);
        this.#next();
        return { kind: 'variable', name: text, path: [], at, text };
      case 'string':
      case 'rawString':
      case 'number':
      case 'char':
        this.#next();
        return { kind: 'constant', value: this.#constant(token), at, text };
      case 'leftParen': {
        this.#next();
        const pipeline = this.#pipeline('parenthesized pipeline', 'rightParen');
        return { kind: 'pipeline', pipeline, at, text: `(${pipeline.text})` };
      }
      default:
        return undefined;
    }
  }

  #word({ text, at }: Token): Operand {
    if (text === 'true' || text === 'false') return { kind: 'constant', value: text === 'true', at, text };
    if (text === 'nil') return { kind: 'nil', at, text };
    if (!this.#functions.has(text)) throw this.#error(`function ${JSON.stringify(text)} not defined`);
    return { kind: 'function', name: text, at, text };
  }

  #constant(token: Token): string | number | bigint {
    if (token.kind === 'rawString') return token.text.slice(1, -1);
    if (token.kind === 'string') return unquote(token.text);
    if (token.kind === 'char') return unquote(token.text).codePointAt(0) ?? 0;
    const digits = token.text.replaceAll('_', '');
    const number = Number(digits.replace(/^[+-]/, ''));
    if (Number.isNaN(number)) throw this.#error(`bad number syntax: ${JSON.stringify(token.text)}`);
    return digits.startsWith('-') ? -number : number;
  }

  #close(context: string): void {
    this.#skipSpace();
    const token = this.#next();
    if (token.kind !== 'close') throw this.#unexpected(token, context);
  }

  #peek(): Token {
    return this.#tokens[this.#at] ?? { kind: 'end', text: '', at: this.#source.length };
  }

  #next(): Token {
    const token = this.#peek();
    this.#at++;
    return token;
  }

  #skipSpace(): void {
    while (this.#peek().kind === 'space') this.#at++;
  }

  #unexpected(token: Token, context: string): TemplateError {
    const keyword = token.kind === 'identifier' && keywords.has(token.text);
    const text = token.kind === 'end' ? 'EOF' : keyword ? `<${token.text}>` : JSON.stringify(token.text);
    return this.#error(`unexpected ${text} in ${context}`);
  }

  #error(what: string): TemplateError {
    const at = this.#tokens[Math.max(0, this.#at - 1)]?.at ?? 0;
    return new TemplateError(`template: ${this.#name}:${lineOf(this.#source, at)}: ${what}`);
  }
}

const escapes: Readonly<Record<string, string>> = {
  a: '\u0007',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};

/** Go's strconv.Unquote for a quoted string or character. */
function unquote(text: string): string {
  return text
    .slice(1, -1)
    .replace(
      /\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|U([\da-fA-F]{8})|([0-7]{3})|(.))/g,
      (_all, x, u, long, octal, char) => {
        const hex: string | undefined = x ?? u ?? long;
        if (hex) return String.fromCodePoint(Number.parseInt(hex, 16));
        if (octal) return String.fromCodePoint(Number.parseInt(octal, 8));
        return escapes[char] ?? char;
      },
    );
}
