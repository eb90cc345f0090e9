/** Files that must be whole after a crash. */
import { open, rename } from 'node:fs/promises';
import { dirname } from 'node:path';

/** Replaces a file at once and durably: written beside it, flushed, renamed over it, the directory flushed. */
export async function writeFileDurably(path: string, contents: string | Uint8Array, mode: number): Promise<void> {
  const temporary = `${path}.new`;
  const file = await open(temporary, 'w', mode);
  try {
    await file.writeFile(contents);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(temporary, path);
  const directory = await open(dirname(path), 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}
