import { closeSync, existsSync, mkdirSync, openSync, readFileSync, rmSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Keeps two daemons from working on one data root: a pid file that counts only while its process lives and is a skeind.
 * @returns what releases it. @throws Error naming the other daemon.
 */
export function lockDataRoot(dataRoot: string): Disposable {
  mkdirSync(dataRoot, { recursive: true, mode: 0o711 });
  const file = join(dataRoot, 'skeind.pid');
  const holder = existsSync(file) ? readFileSync(file, 'utf8').trim() : '';
  if (holder !== '' && Number(holder) !== process.pid && isDaemon(holder)) {
    throw new Error(`another skeind (pid ${holder}) works on ${dataRoot}: end it, or choose another --data-root`);
  }
  const descriptor = openSync(file, 'w', 0o644);
  writeSync(descriptor, `${process.pid}\n`);
  closeSync(descriptor);
  return { [Symbol.dispose]: () => rmSync(file, { force: true }) };
}

function isDaemon(pid: string): boolean {
  const commandLine = `/proc/${pid}/cmdline`;
  return existsSync(commandLine) && readFileSync(commandLine, 'utf8').split('\0').includes('daemon');
}
