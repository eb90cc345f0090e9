import { readFileSync } from 'node:fs';
import type { Context } from '../command/command.ts';
import { CommandError } from '../command/errors.ts';
import type { Flags } from '../command/flags.ts';

/** @returns `NAME=value` words of `--env-file` and of a variable flag; a bare name takes the CLI's own value. */
export function environmentOf(context: Context, flags: Flags, flag: string): string[] {
  const lines = flags.list('env-file').flatMap(readEnvironmentFile);
  return [...lines, ...flags.list(flag)].flatMap((word) => {
    if (word.includes('=')) return [word];
    const own = context.environment[word];
    return own === undefined ? [] : [`${word}=${own}`];
  });
}

/** @returns the lines of an environment file, without comments: `NAME=value`, or a name alone. */
export function readEnvironmentFile(path: string): string[] {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new CommandError(`open ${path}: no such file or directory`, 1, { cause: error });
  }
  return text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .map((line) => line.trimStart())
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((line) => {
      const name = line.split('=', 1)[0] ?? '';
      if (name === '' || /\s/.test(name))
        throw new CommandError(`invalid env file (${path}): variable '${name}' contains whitespaces`);
      return line;
    });
}
