import { CommandError, FlagError } from './errors.ts';
import { checkValue } from './values.ts';

/** One flag of a command, as its line in the flag table says. */
export interface FlagSpec {
  readonly name: string;
  readonly short?: string;
  /** `bool`, `string`, `uint`, `duration`, `list`, … (see values.ts); `list` kinds may be repeated. */
  readonly kind: string;
  readonly initial?: string;
  readonly summary: string;
}

const flagLine = /^(?:-(\w), )?--([\w-]+)(?: ([\w-]+)(?:=(\S+))?)?(?: +(.*))?$/;
/** Kinds that gather every occurrence; the rest keep the last one. */
const repeatedKinds = new Set([
  'list',
  'strings',
  'map',
  'filter',
  'mount',
  'network',
  'port',
  'secret',
  'config',
  'pref',
  'ulimit',
  'ipNetSlice',
  'external-ca',
]);

/**
 * Reads a flag table: one flag a line, written as `--help` prints it, `-f, --format string=default  Summary`.
 * A flag without a kind is a `bool`.
 */
export function flagTable(text: string): FlagSpec[] {
  const lines = text.split('\n').map((line) => line.trim());
  return lines.filter(Boolean).map((line) => {
    const match = flagLine.exec(line);
    if (!match?.[2]) throw new Error(`malformed flag line: ${line}`);
    const [, short, name, kind = 'bool', initial, summary = ''] = match;
    return { name, kind, summary, ...(short && { short }), ...(initial && { initial }) };
  });
}

/** The flags of one command line, by name. Asking for a flag that the command does not have is a programming error. */
export class Flags {
  readonly #specs: ReadonlyMap<string, FlagSpec>;
  readonly #values = new Map<string, string[]>();

  constructor(specs: readonly FlagSpec[]) {
    this.#specs = new Map(specs.map((spec) => [spec.name, spec]));
  }

  /** Records one occurrence of a flag. */
  set(spec: FlagSpec, value: string): void {
    const earlier = repeatedKinds.has(spec.kind) ? (this.#values.get(spec.name) ?? []) : [];
    this.#values.set(spec.name, [...earlier, value]);
  }

  #spec(name: string): FlagSpec {
    const spec = this.#specs.get(name);
    if (!spec) throw new Error(`the command has no flag --${name}`);
    return spec;
  }

  /** @returns whether the user gave the flag. */
  changed(name: string): boolean {
    return this.#values.has(this.#spec(name).name);
  }

  /** @returns the flag's text, its default, or the empty string. */
  text(name: string): string {
    return this.#values.get(name)?.at(-1) ?? this.#spec(name).initial ?? '';
  }

  /** @returns whether a boolean flag is on. */
  on(name: string): boolean {
    return parseBoolean(this.text(name) || 'false') ?? false;
  }

  /** @returns a boolean flag, undefined where the user did not give it. */
  choice(name: string): boolean | undefined {
    return this.changed(name) ? this.on(name) : undefined;
  }

  /** @returns a number flag's value or its default, 0 where there is none. */
  number(name: string): number {
    return Number(this.text(name) || '0');
  }

  /** @returns every occurrence of a flag, `strings` kinds also split at commas. */
  list(name: string): string[] {
    const values = this.#values.get(name) ?? [];
    return this.#spec(name).kind === 'strings' ? values.flatMap((value) => value.split(',')) : values;
  }
}

/** Go's strconv.ParseBool. */
export function parseBoolean(text: string): boolean | undefined {
  if (/^(1|t|T|true|TRUE|True)$/.test(text)) return true;
  if (/^(0|f|F|false|FALSE|False)$/.test(text)) return false;
  return undefined;
}

/** What a command line holds after parsing. */
export interface ParsedLine {
  readonly flags: Flags;
  readonly args: string[];
  readonly help: boolean;
}

/**
 * Parses a command's part of the line by pflag's grammar: `--name value`, `--name=value`, `-n value`, `-nvalue`,
 * grouped shorthands (`-it`), booleans only with `=`, `--` ends the flags.
 * @param interspersed whether flags may follow arguments; otherwise the first argument ends the flags.
 * @throws FlagError in pflag's words.
 */
export function parseLine(argv: readonly string[], specs: readonly FlagSpec[], interspersed: boolean): ParsedLine {
  const parser = new LineParser(argv, specs);
  const args: string[] = [];
  while (parser.more()) {
    const word = parser.next();
    if (word === '--') return { flags: parser.flags, args: [...args, ...parser.rest()], help: parser.help };
    if (word.startsWith('--')) parser.long(word);
    else if (word.length > 1 && word.startsWith('-')) parser.shorts(word);
    else {
      args.push(word);
      if (!interspersed) return { flags: parser.flags, args: [...args, ...parser.rest()], help: parser.help };
    }
  }
  return { flags: parser.flags, args, help: parser.help };
}

class LineParser {
  readonly flags: Flags;
  help = false;
  readonly #argv: readonly string[];
  readonly #specs: readonly FlagSpec[];
  #at = 0;

  constructor(argv: readonly string[], specs: readonly FlagSpec[]) {
    this.#argv = argv;
    this.#specs = specs;
    this.flags = new Flags(specs);
  }

  more(): boolean {
    return this.#at < this.#argv.length;
  }

  next(): string {
    return this.#argv[this.#at++] ?? '';
  }

  rest(): string[] {
    return this.#argv.slice(this.#at);
  }

  long(word: string): void {
    const equals = word.indexOf('=');
    const name = word.slice(2, equals < 0 ? undefined : equals);
    const inline = equals < 0 ? undefined : word.slice(equals + 1);
    if (name === 'help') {
      this.help = true;
      return;
    }
    const spec = this.#specs.find((candidate) => candidate.name === name);
    if (!spec) throw new FlagError(`unknown flag: --${name}`);
    this.#take(spec, inline, () => `flag needs an argument: --${name}`);
  }

  shorts(word: string): void {
    for (let at = 1; at < word.length; at++) {
      const letter = word.charAt(at);
      const spec = this.#specs.find((candidate) => candidate.short === letter);
      if (!spec && letter === 'h') {
        this.help = true;
        continue;
      }
      if (!spec) throw new FlagError(`unknown shorthand flag: '${letter}' in ${word}`);
      const rest = word.slice(at + 1);
      const missing = () => `flag needs an argument: '${letter}' in ${word}`;
      if (spec.kind === 'bool' && !rest.startsWith('=')) {
        this.#take(spec, undefined, missing);
        continue;
      }
      this.#take(spec, rest.startsWith('=') ? rest.slice(1) : rest || undefined, missing);
      return;
    }
  }

  #take(spec: FlagSpec, inline: string | undefined, missing: () => string): void {
    let value = inline;
    if (value === undefined && spec.kind === 'bool') value = 'true';
    if (value === undefined) {
      if (!this.more()) throw new FlagError(missing());
      value = this.next();
    }
    const label = spec.short ? `-${spec.short}, --${spec.name}` : `--${spec.name}`;
    try {
      checkValue(spec.kind, value);
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      throw new FlagError(`invalid argument ${JSON.stringify(value)} for "${label}" flag: ${error.message}`, {
        cause: error,
      });
    }
    this.flags.set(spec, value);
  }
}
