/** What the `prune` commands of all kinds of objects share. */
import { type Command, type Context, command } from '../command/command.ts';
import { humanSize } from '../output/index.ts';
import { confirm } from './confirm.ts';

interface Pruning {
  readonly summary: string;
  /** An example of `--filter`. */
  readonly filter: string;
  /** What `--all` adds, where there is such a flag. */
  readonly all?: string;
  /** What will go, as the end of a sentence. */
  readonly what: (all: boolean) => string;
  /** Says what has gone. @returns the bytes that are free again, undefined for what takes none. */
  readonly remove: (context: Context, filters: readonly string[], all: boolean) => Promise<number | undefined>;
}

export function pruneCommand({ summary, filter, all, what, remove }: Pruning): Command {
  return command(
    'prune [OPTIONS]',
    summary,
    `
    ${all === undefined ? '' : `-a, --all        ${all}`}
    --filter filter  Provide filter values (e.g. "${filter}")
    -f, --force      Do not prompt for confirmation
    `,
    async (context, flags) => {
      const isAll = all !== undefined && flags.on('all');
      if (!flags.on('force') && !(await confirm(context, `WARNING! This will remove ${what(isAll)}.`))) return;
      const space = await remove(context, flags.list('filter'), isAll);
      if (space !== undefined) context.out.write(`Total reclaimed space: ${humanSize(space)}\n`);
    },
  );
}

/** @param kind `Volumes`. */
export function tellDeleted({ out }: Context, kind: string, lines: readonly string[]): void {
  if (lines.length > 0) out.write(`Deleted ${kind}:\n${lines.join('\n')}\n\n`);
}
