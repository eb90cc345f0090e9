import type { Context } from '../command/command.ts';
import { CommandError } from '../command/errors.ts';

/**
 * Does something for each name and prints the name once done; goes on after a failure. What failed is told together
 * at the end, one line each, with exit code 1.
 */
export async function forEachName(
  context: Context,
  names: readonly string[],
  action: (name: string) => Promise<string | undefined>,
): Promise<void> {
  const failures: CommandError[] = [];
  for (const name of names) {
    try {
      context.out.write(`${(await action(name)) ?? name}\n`);
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      failures.push(error);
    }
  }
  if (failures.length > 0) throw new CommandError(failures.map((error) => error.message).join('\n'));
}

/** @returns a map from `key=value` words; a word without `=` gets the empty value. */
export function keyValues(words: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    words.map((word) => {
      const equals = word.indexOf('=');
      return equals < 0 ? [word, ''] : [word.slice(0, equals), word.slice(equals + 1)];
    }),
  );
}

/** @returns `a=1,b=2`, sorted. */
export function labelText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .sort()
    .join(',');
}
