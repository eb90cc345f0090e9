/**
 * A containerd of our own: started with a configuration written here, in a session of its own, so that it and the
 * containers' shims outlive the daemon. A restarted daemon finds it by its socket; when it dies it is started again.
 */
import { spawn } from 'node:child_process';
import { type FileHandle, mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorText, type Logger, SkeinError } from '../../common/index.ts';
import { writeFileDurably } from '../files.ts';

/** Where a supervised containerd lives: its content on disk, its run-time state, its socket. */
export interface ManagedContainerd {
  readonly root: string;
  readonly state: string;
  readonly socket: string;
}

/** How long a containerd may take until it listens, and to end, in milliseconds. */
const startTimeoutMs = 20_000;
const stopTimeoutMs = 10_000;
const pollMs = 50;
/** Of containerd's own log, which has warnings and errors only. */
const maximumLogBytes = 10 * 1024 * 1024;
/** sockaddr_un's sun_path (unix(7)) without the closing zero and the suffix of the ttrpc socket. */
const maximumSocketBytes = 107 - '.ttrpc'.length;
/** Interval of looking whether it lives, and the bounds of the pause before starting it again, in milliseconds. */
const watchIntervalMs = 1_000;
const minimumBackoffMs = 500;
const maximumBackoffMs = 30_000;

/** Plugins that we do not use, or that the kernel or the machine may not have. */
const disabledPlugins = [
  'io.containerd.grpc.v1.cri',
  'io.containerd.internal.v1.opt',
  'io.containerd.internal.v1.tracing',
  'io.containerd.snapshotter.v1.aufs',
  'io.containerd.snapshotter.v1.btrfs',
  'io.containerd.snapshotter.v1.devmapper',
  'io.containerd.snapshotter.v1.zfs',
  'io.containerd.tracing.processor.v1.otlp',
];

function configuration(paths: ManagedContainerd): string {
  const quote = (text: string): string => JSON.stringify(text);
  return [
    'version = 2',
    `root = ${quote(paths.root)}`,
    `state = ${quote(paths.state)}`,
    `disabled_plugins = [${disabledPlugins.map(quote).join(', ')}]`,
    '[grpc]',
    `address = ${quote(paths.socket)}`,
    '[ttrpc]',
    `address = ${quote(`${paths.socket}.ttrpc`)}`,
    '[debug]',
    'level = "warn"',
    '',
  ].join('\n');
}

const pidPath = (paths: ManagedContainerd): string => join(paths.state, 'containerd.pid');

/** @returns whether something accepts connections at a Unix socket. */
export function isListening(socket: string): Promise<boolean> {
  return new Promise((resolve) => {
    const connection = connect(socket);
    connection.once('connect', () => {
      connection.destroy();
      resolve(true);
    });
    connection.once('error', () => resolve(false));
  });
}

async function start(paths: ManagedContainerd, signal: AbortSignal): Promise<void> {
  await mkdir(paths.root, { recursive: true, mode: 0o711 });
  await mkdir(paths.state, { recursive: true, mode: 0o711 });
  await mkdir(dirname(paths.socket), { recursive: true });
  const configPath = join(paths.state, 'containerd.toml');
  await writeFileDurably(configPath, configuration(paths), 0o600);
  const logFile = await openLog(join(paths.root, 'containerd.log'));
  try {
    const child = spawn('containerd', ['--config', configPath], {
      detached: true,
      stdio: ['ignore', logFile.fd, logFile.fd],
    });
    const failed = new Promise<never>((_, reject) => {
      child.once('error', (cause) => {
        const remedy = 'install the package containerd, or use one that runs already';
        reject(new SkeinError('Unavailable', `containerd cannot be started (${cause.message}): ${remedy}`, { cause }));
      });
      child.once('exit', (code, killedBy) => {
        reject(
          new SkeinError('Unavailable', `containerd ended with ${killedBy ?? code}; see ${paths.root}/containerd.log`),
        );
      });
    });
    failed.catch(() => undefined);
    child.unref();
    if (child.pid !== undefined) await writeFileDurably(pidPath(paths), `${child.pid}\n`, 0o644);
    await Promise.race([failed, untilListening(paths.socket, signal)]);
  } finally {
    await logFile.close();
  }
}

/** The log of one more run; a large one of earlier runs becomes `.1`. */
async function openLog(path: string): Promise<FileHandle> {
  const file = await open(path, 'a', 0o600);
  if ((await file.stat()).size < maximumLogBytes) return file;
  await file.close();
  await rename(path, `${path}.1`);
  return await open(path, 'a', 0o600);
}

async function untilListening(socket: string, signal: AbortSignal): Promise<void> {
  const deadline = Date.now() + startTimeoutMs;
  while (!(await isListening(socket))) {
    if (Date.now() > deadline) throw new SkeinError('Unavailable', `containerd does not listen at ${socket}`);
    await sleep(pollMs, undefined, { signal });
  }
}

/** Keeps a containerd running at `paths.socket` from `start` to `[Symbol.dispose]`, which leaves it running. */
export class ContainerdSupervisor implements Disposable {
  readonly #paths: ManagedContainerd;
  readonly #logger: Logger;
  readonly #ended = new AbortController();

  private constructor(paths: ManagedContainerd, logger: Logger) {
    this.#paths = paths;
    this.#logger = logger;
  }

  /** Finds or starts it. @throws SkeinError Unavailable when it cannot be started. */
  static async start(paths: ManagedContainerd, logger: Logger): Promise<ContainerdSupervisor> {
    if (Buffer.byteLength(paths.socket) > maximumSocketBytes) {
      const limit = `a Unix socket's path has at most ${maximumSocketBytes} bytes here`;
      throw new SkeinError('InvalidArgument', `containerd's socket ${paths.socket} is too long: ${limit}`);
    }
    const supervisor = new ContainerdSupervisor(paths, logger);
    if (!(await isListening(paths.socket))) await start(paths, supervisor.#ended.signal);
    supervisor.#watch().catch((error: unknown) => {
      if (!supervisor.#ended.signal.aborted) logger.error({ err: error }, 'the watch on containerd ended');
    });
    return supervisor;
  }

  async #watch(): Promise<void> {
    const { signal } = this.#ended;
    let backoffMs = minimumBackoffMs;
    while (!signal.aborted) {
      await sleep(watchIntervalMs, undefined, { signal, ref: false });
      if (await isListening(this.#paths.socket)) {
        backoffMs = minimumBackoffMs;
        continue;
      }
      this.#logger.warn('containerd is gone; starting it again');
      try {
        await start(this.#paths, signal);
      } catch (error) {
        this.#logger.error(`containerd did not start: ${errorText(error)}`);
        await sleep(backoffMs, undefined, { signal, ref: false });
        backoffMs = Math.min(backoffMs * 2, maximumBackoffMs);
      }
    }
  }

  [Symbol.dispose](): void {
    this.#ended.abort();
  }
}

/** Ends a supervised containerd, when it runs. Shims of containers that still run stay. Safe to repeat. */
export async function stopManagedContainerd(paths: ManagedContainerd): Promise<void> {
  const pid = await readPid(paths);
  if (pid !== undefined) {
    const deadline = Date.now() + stopTimeoutMs;
    signalProcess(pid, 'SIGTERM');
    while (await isContainerd(pid, paths)) {
      if (Date.now() > deadline) signalProcess(pid, 'SIGKILL');
      await sleep(pollMs);
    }
  }
  await rm(pidPath(paths), { force: true });
}

async function readPid(paths: ManagedContainerd): Promise<number | undefined> {
  try {
    const pid = Number.parseInt(await readFile(pidPath(paths), 'utf8'), 10);
    return (await isContainerd(pid, paths)) ? pid : undefined;
  } catch {
    return undefined;
  }
}

/** A process ID may have been given to another process: its command line must name our configuration. */
async function isContainerd(pid: number, paths: ManagedContainerd): Promise<boolean> {
  try {
    return (await readFile(`/proc/${pid}/cmdline`, 'utf8')).includes(join(paths.state, 'containerd.toml'));
  } catch {
    return false;
  }
}

function signalProcess(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
