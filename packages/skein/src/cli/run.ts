import type { Readable, Writable } from 'node:stream';
import { SkeinError } from '../common/errors.ts';
import { Client } from './client/client.ts';
import { resolveHost } from './client/host.ts';
import { type Command, type CommandGroup, type Context, checkArity } from './command/command.ts';
import { CommandError, FlagError, SilentExit } from './command/errors.ts';
import { type Flags, flagTable, parseLine } from './command/flags.ts';
import { commandHelp, entryLines, flagLines, groupHelp, usageLine } from './command/help.ts';
import { program } from './program.ts';
import { findCommand, groups, shortcutOnly, shortcuts } from './tree.ts';
import { clientVersion } from './version.ts';

/** Exit code of a shell for a process ended by Ctrl-C (128 + SIGINT). */
const interruptedExitCode = 130;

/** The user's side of one run of the CLI. */
export interface Streams {
  readonly stdin: Readable;
  readonly out: Writable;
  readonly err: Writable;
  readonly environment: Readonly<Record<string, string | undefined>>;
  readonly signal: AbortSignal;
}

/** A command of the program that is not one of Docker's: `daemon`, `lab`. Takes the words after its name. */
export interface ExtraCommand {
  readonly name: string;
  readonly summary: string;
  run(argv: readonly string[]): Promise<number>;
}

const globalFlags = flagTable(`
  --config string         Location of client config files
  -c, --context string    Ignored: contexts are Docker's, use -H
  -D, --debug             Show the stack of unexpected errors
  -H, --host list         Daemon socket to connect to
  -l, --log-level string=info  Set the logging level ("debug", "info", "warn", "error", "fatal")
  -v, --version           Print version information and quit
`);

/**
 * Runs one command line.
 * @param argv the words after the program's name.
 * @returns the exit code; everything the user sees is already written.
 */
export async function run(
  argv: readonly string[],
  streams: Streams,
  extras: readonly ExtraCommand[] = [],
): Promise<number> {
  try {
    return await dispatch(argv, streams, extras);
  } catch (error) {
    return report(error, streams);
  }
}

function report(error: unknown, { err, signal, environment }: Streams): number {
  if (error instanceof SilentExit) return error.exitCode;
  if (error instanceof CommandError) {
    err.write(`${error.message}\n`);
    return error.exitCode;
  }
  if (signal.aborted) return interruptedExitCode;
  if (error instanceof SkeinError) {
    err.write(`${program}: ${error.message}\n`);
    return 1;
  }
  const text = error instanceof Error ? (environment.SKEIN_DEBUG && error.stack) || error.message : String(error);
  err.write(`${program}: unexpected error: ${text}\n`);
  return 1;
}

async function dispatch(argv: readonly string[], streams: Streams, extras: readonly ExtraCommand[]): Promise<number> {
  const globals = withUsage(`${program} [OPTIONS] COMMAND [ARG...]`, program, () =>
    parseLine(argv, globalFlags, false),
  );
  const { flags, help } = globals;
  let words = globals.args;
  if (flags.on('version')) {
    streams.out.write(`Skein version ${clientVersion}\n`);
    return 0;
  }
  const asked = words[0] === 'help';
  if (asked) words = words.slice(1);
  const [name, ...rest] = words;
  if (name === undefined) {
    streams.out.write(programHelp(extras));
    return 0;
  }
  const extra = extras.find((candidate) => candidate.name === name);
  if (extra) return await extra.run(help || asked ? ['--help'] : rest);
  const found = await findTarget(name, help || asked ? [...rest, '--help'] : rest);
  if (typeof found === 'string') {
    streams.out.write(found);
    return 0;
  }
  await runCommand(found, flags, streams);
  return 0;
}

interface Target {
  readonly path: string;
  readonly command: Command;
  readonly group: string;
  readonly argv: readonly string[];
}

/** @returns the command that the words name, or the help text of a noun alone. */
async function findTarget(name: string, rest: readonly string[]): Promise<Target | string> {
  const shortcut = shortcuts.find((candidate) => candidate.name === name);
  const group = groups.find((candidate) => candidate.name === (shortcut?.group ?? name));
  if (!group)
    throw new CommandError(
      `${program}: unknown command: ${program} ${name}\n\nRun '${program} --help' for more information`,
    );
  const commands = await group.load();
  if (shortcut) {
    const command = findCommand(commands, shortcut.command);
    if (!command) throw new Error(`no command ${shortcut.group} ${shortcut.command}`);
    return { path: `${program} ${name}`, command, group: group.name, argv: rest };
  }
  return findInGroup(group, commands, rest);
}

function findInGroup(group: CommandGroup, commands: readonly Command[], rest: readonly string[]): Target | string {
  const callable = commands.filter((command) => !shortcutOnly.has(`${group.name} ${command.name}`));
  const path = `${program} ${group.name}`;
  const verb = rest[0];
  if (verb === undefined || verb === '--help' || verb === '-h') return groupHelp(path, group, callable);
  const command = findCommand(callable, verb);
  if (command) return { path: `${path} ${command.name}`, command, group: group.name, argv: rest.slice(1) };
  if (verb.startsWith('-'))
    throw new FlagError(
      `unknown flag: ${verb}\n\nUsage:  ${path} COMMAND\n\nRun '${path} --help' for more information`,
    );
  throw new CommandError(
    `${program}: unknown command: ${path} ${verb}\n\nUsage:  ${path}\n\nRun '${path} --help' for more information`,
  );
}

async function runCommand({ path, command, group, argv }: Target, globals: Flags, streams: Streams): Promise<void> {
  const usage = usageLine(path, command);
  const { flags, args, help } = withUsage(usage, path, () => parseLine(argv, command.flags, command.interspersed));
  if (help) {
    streams.out.write(commandHelp(path, command, aliasPaths(group, command)));
    return;
  }
  try {
    checkArity(path, command.arity, args.length);
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const see = command.arity.max === undefined ? 'See' : 'Run';
    throw new CommandError(
      `${program}: ${error.message}\n\nUsage:  ${usage}\n\n${see} '${path} --help' for more information`,
      1,
      { cause: error },
    );
  }
  await command.run(contextOf(globals, streams), flags, args);
}

function contextOf(globals: Flags, streams: Streams): Context {
  const client = new Client(resolveHost(globals.text('host'), streams.environment));
  return { ...streams, client };
}

/** @returns the names under which help shows a command: `skein container ls, skein ps, …`. */
function aliasPaths(group: string, command: Command): string[] {
  const own = shortcutOnly.has(`${group} ${command.name}`)
    ? []
    : [command.name, ...command.aliases].map((name) => `${program} ${group} ${name}`);
  const short = shortcuts.filter((shortcut) => shortcut.group === group && shortcut.command === command.name);
  return [...own, ...short.map((shortcut) => `${program} ${shortcut.name}`)];
}

/** Adds the usage line to what is wrong with a flag. */
export function withUsage<Result>(usage: string, path: string, parse: () => Result): Result {
  try {
    return parse();
  } catch (error) {
    if (!(error instanceof FlagError)) throw error;
    throw new FlagError(`${error.message}\n\nUsage:  ${usage}\n\nRun '${path} --help' for more information`, {
      cause: error,
    });
  }
}

function programHelp(extras: readonly ExtraCommand[]): string {
  const section = (title: string, entries: readonly { name: string; summary: string }[]) =>
    `${title}:\n${entryLines(entries)}`;
  return `${[
    `Usage:  ${program} [OPTIONS] COMMAND`,
    "Docker Swarm's overlay network and the engine around it",
    section(
      'Common Commands',
      shortcuts.filter((shortcut) => shortcut.common),
    ),
    section(
      'Management Commands',
      groups.filter((group) => group.section === 'management'),
    ),
    section(
      'Swarm Commands',
      groups.filter((group) => group.section === 'swarm'),
    ),
    ...(extras.length > 0 ? [section('Skein Commands', extras)] : []),
    section(
      'Commands',
      shortcuts.filter((shortcut) => !shortcut.common),
    ),
    `Global Options:\n${flagLines(globalFlags)}`,
    `Run '${program} COMMAND --help' for more information on a command.`,
  ].join('\n\n')}\n`;
}
