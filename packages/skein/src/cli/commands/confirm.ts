import { createInterface } from 'node:readline';
import type { Context } from '../command/command.ts';

/** Asks on the terminal. @returns whether the user said yes; no answer is a no. */
export async function confirm(context: Context, warning: string): Promise<boolean> {
  context.out.write(`${warning}\nAre you sure you want to continue? [y/N] `);
  const lines = createInterface({ input: context.stdin });
  try {
    for await (const line of lines) return /^y(es)?$/i.test(line.trim());
    return false;
  } finally {
    lines.close();
  }
}
