import type { Command, CommandGroup } from './command.ts';
import type { FlagSpec } from './flags.ts';

/** Width that flag descriptions are wrapped to (pflag's FlagUsagesWrapped on an 80-column terminal). */
const columns = 80;

/** @returns a command's `--help`, in docker's layout. */
export function commandHelp(path: string, command: Command, aliases: readonly string[]): string {
  const sections = [`Usage:  ${usageLine(path, command)}`, command.summary];
  if (aliases.length > 1) sections.push(`Aliases:\n  ${aliases.join(', ')}`);
  if (command.flags.length > 0) sections.push(`Options:\n${flagLines(command.flags)}`);
  return `${sections.join('\n\n')}\n`;
}

/** @returns `skein service ls [OPTIONS]`. */
export function usageLine(path: string, command: Command): string {
  return command.usage ? `${path} ${command.usage}` : path;
}

/** @returns the help of a noun: its commands. */
export function groupHelp(path: string, group: CommandGroup, commands: readonly Command[]): string {
  return [
    `Usage:  ${path} COMMAND`,
    group.summary,
    `Commands:\n${entryLines(commands)}`,
    `Run '${path} COMMAND --help' for more information on a command.`,
  ]
    .join('\n\n')
    .concat('\n');
}

/** An entry of a list of commands. */
export interface HelpEntry {
  readonly name: string;
  readonly summary: string;
}

/** @returns `  name        summary` lines, sorted by name. */
export function entryLines(entries: readonly HelpEntry[]): string {
  const width = Math.max(...entries.map((entry) => entry.name.length), 9) + 3;
  return [...entries]
    .sort((left, right) => (left.name < right.name ? -1 : 1))
    .map((entry) => `  ${entry.name.padEnd(width)}${entry.summary}`)
    .join('\n');
}

/** @returns the flags, one a line, long descriptions wrapped under their start. */
export function flagLines(flags: readonly FlagSpec[]): string {
  const sorted = [...flags].sort((left, right) => (left.name < right.name ? -1 : 1));
  const heads = sorted.map((flag) => {
    const short = flag.short ? `-${flag.short}, ` : '    ';
    return `  ${short}--${flag.name}${flag.kind === 'bool' ? '' : ` ${flag.kind}`}`;
  });
  const width = Math.max(...heads.map((head) => head.length)) + 3;
  return sorted
    .map((flag, index) => {
      const text = `${flag.summary}${initialText(flag)}`;
      const lines = wrap(text, Math.max(columns - width, 24));
      return `${heads[index]?.padEnd(width)}${lines.join(`\n${' '.repeat(width)}`)}`.trimEnd();
    })
    .join('\n');
}

function initialText(flag: FlagSpec): string {
  if (!flag.initial) return '';
  return flag.kind === 'string' ? ` (default ${JSON.stringify(flag.initial)})` : ` (default ${flag.initial})`;
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = [''];
  for (const word of text.split(' ')) {
    const line = lines.at(-1) ?? '';
    if (line && line.length + 1 + word.length > width) lines.push(word);
    else lines[lines.length - 1] = line ? `${line} ${word}` : word;
  }
  return lines;
}
