/** Named pipes between the daemon and a process's shim. The shim keeps both ends open: its process outlives the daemon. */
import { closeSync, constants, existsSync, open as openCallback } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { getSystemErrorName, promisify } from 'node:util';
import koffi from 'koffi';
import type { ProcessStreams } from '../types.ts';

const openFd = promisify(openCallback);
/** Node has no call for it. */
const mkfifo = koffi.load(null).func('int mkfifo(const char *path, uint32_t mode)');
const fifoMode = 0o600;
/** How long a shim waits for the reader of a process's output, in milliseconds (containerd pkg/process). */
const shimWaitMs = 30_000;
/** In a container's run directory, the directory of the pipes of its first process. */
export const initPipes = 'init';
/** Without waiting for a writer (fifo(7)). */
const readOnly = constants.O_RDONLY | constants.O_NONBLOCK;

/** Paths of the pipes; '' = not connected. */
export interface FifoPaths {
  readonly stdin: string;
  readonly stdout: string;
  readonly stderr: string;
}

/** Makes the pipes in a directory of their own, anew. */
export async function makeFifos(
  directory: string,
  wanted: { stdin: boolean; stdout: boolean; stderr: boolean },
): Promise<FifoPaths> {
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const path = (name: 'stdin' | 'stdout' | 'stderr'): string => (wanted[name] ? join(directory, name) : '');
  const paths = { stdin: path('stdin'), stdout: path('stdout'), stderr: path('stderr') };
  for (const each of Object.values(paths)) if (each !== '') makeFifo(each);
  return paths;
}

/** @returns the pipes that there are in a directory of `makeFifos`. */
export function presentFifos(directory: string): FifoPaths {
  const path = (name: string): string => (existsSync(join(directory, name)) ? join(directory, name) : '');
  return { stdin: path('stdin'), stdout: path('stdout'), stderr: path('stderr') };
}

function makeFifo(path: string): void {
  if (mkfifo(path, fifoMode) === 0) return;
  const code = getSystemErrorName(-koffi.errno());
  throw Object.assign(new Error(`mkfifo ${path}: ${code}`), { code });
}

/**
 * Opens the pipes of containers that an ended daemon was starting, and reads none: a shim waits for readers of the output, and
 * as long as it waits it answers for none of its containers.
 * @param runDirectories of these containers.
 * @returns closes them; they are closed by themselves when no shim can wait for them any more.
 */
export async function holdPipes(runDirectories: readonly string[]): Promise<Disposable> {
  const held: number[] = [];
  for (const directory of runDirectories) {
    const { stdout, stderr } = presentFifos(join(directory, initPipes));
    for (const path of [stdout, stderr]) if (path !== '') held.push(await openFd(path, readOnly));
  }
  const close = (): void => held.splice(0).forEach(closeSync);
  const timer = setTimeout(close, shimWaitMs).unref();
  return {
    [Symbol.dispose]: () => {
      clearTimeout(timer);
      close();
    },
  };
}

/** Opened without waiting for a writer; ends when the last writer closes. */
async function openReader(path: string): Promise<Socket> {
  const fd = await openFd(path, readOnly);
  return new Socket({ fd, readable: true, writable: false });
}

/** Opened for both directions, the way that Linux does not wait for a reader (fifo(7)). */
async function openWriter(path: string): Promise<Socket> {
  const fd = await openFd(path, constants.O_RDWR | constants.O_NONBLOCK);
  return new Socket({ fd, readable: false, writable: true });
}

/** @returns the daemon's ends, owned by the caller. */
export async function openFifos(paths: FifoPaths): Promise<ProcessStreams> {
  return {
    stdin: paths.stdin === '' ? undefined : await openWriter(paths.stdin),
    stdout: paths.stdout === '' ? ended() : await openReader(paths.stdout),
    stderr: paths.stderr === '' ? undefined : await openReader(paths.stderr),
  };
}

function ended(): ProcessStreams['stdout'] {
  const socket = new Socket();
  socket.push(null);
  return socket;
}
