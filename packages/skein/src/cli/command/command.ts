import type { Readable, Writable } from 'node:stream';
import type { Client } from '../client/client.ts';
import { CommandError } from './errors.ts';
import { type FlagSpec, type Flags, flagTable } from './flags.ts';

/** What a command works with: the engine and the user's streams. */
export interface Context {
  /** Connects (and agrees on the API's version) with the first call. */
  readonly client: Client;
  readonly out: Writable;
  readonly err: Writable;
  readonly stdin: Readable;
  /** Aborted by Ctrl-C. */
  readonly signal: AbortSignal;
  readonly environment: Readonly<Record<string, string | undefined>>;
}

/** How many arguments a command takes, `max` undefined for any number. */
export interface Arity {
  readonly min: number;
  readonly max?: number;
}

/** A command: its grammar and what it does. */
export interface Command {
  readonly name: string;
  readonly aliases: readonly string[];
  /** What follows the name in the usage line, such as `[OPTIONS] SERVICE [SERVICE...]`. */
  readonly usage: string;
  readonly summary: string;
  readonly arity: Arity;
  readonly flags: readonly FlagSpec[];
  /** False where the first argument ends the flags, because the rest is a command of its own. */
  readonly interspersed: boolean;
  run(context: Context, flags: Flags, args: string[]): Promise<void>;
}

/** Commands under one noun (`service …`), loaded only when one of them is called. */
export interface CommandGroup {
  readonly name: string;
  readonly summary: string;
  load(): Promise<readonly Command[]>;
}

/** @returns a command from its usage line; the number of arguments is read off the usage. */
export function command(
  line: string,
  summary: string,
  flags: string,
  run: Command['run'],
  options: { aliases?: readonly string[]; interspersed?: boolean; arity?: Arity } = {},
): Command {
  const [name = '', ...usage] = line.split(' ');
  return {
    name,
    usage: usage.join(' '),
    summary,
    flags: flagTable(flags),
    run,
    aliases: options.aliases ?? [],
    interspersed: options.interspersed ?? true,
    arity: options.arity ?? arityOf(usage),
  };
}

function arityOf(usage: readonly string[]): Arity {
  const words = usage.filter((word) => word !== '[OPTIONS]');
  const min = words.filter((word) => !word.startsWith('[')).length;
  return words.some((word) => word.includes('...')) ? { min } : { min, max: words.length };
}

/** @throws CommandError in docker's words if the number of arguments is wrong. */
export function checkArity(path: string, { min, max }: Arity, count: number): void {
  if (count >= min && (max === undefined || count <= max)) return;
  const plural = (number: number) => `${number} argument${number === 1 ? '' : 's'}`;
  if (max === 0) throw new CommandError(`'${path}' accepts no arguments`);
  if (max === undefined) throw new CommandError(`'${path}' requires at least ${plural(min)}`);
  if (min === max) throw new CommandError(`'${path}' requires ${plural(min)}`);
  if (min === 0) throw new CommandError(`'${path}' requires at most ${plural(max)}`);
  throw new CommandError(`'${path}' requires at least ${min} and at most ${plural(max)}`);
}
