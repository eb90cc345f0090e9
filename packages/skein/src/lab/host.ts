/** One host of a lab: a process that holds its namespaces, and what is started inside. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { SkeinError } from '../common/errors.ts';
import { hostPaths, type LabPaths } from './paths.ts';
import { isRunning, labMark } from './processes.ts';

/** How long a host's namespaces and a daemon's socket may take to appear. */
const holderTimeoutMs = 10_000;
const pollMs = 20;

/**
 * What the holder does in its new namespaces: the host's own /run and resolver, then nothing more. /run is the
 * host's folder on the machine, so that its sockets are reachable from outside.
 */
const holderScript = `
set -e
hostname "$1"
for file in hostname hosts resolv.conf; do [ ! -e "/etc/$file" ] || mount --bind "$3/$file" "$(readlink -f "/etc/$file")"; done
mount --bind "$2" /run
: > /run/ready
exec sleep infinity
`;

/** The namespaces of one lab host. */
export class Host {
  readonly name: string;
  readonly paths: ReturnType<typeof hostPaths>;
  readonly #lab: string;
  readonly #binDirectory: string | undefined;

  constructor(lab: { readonly name: string; readonly binDirectory?: string }, labPaths: LabPaths, name: string) {
    this.#lab = lab.name;
    this.#binDirectory = lab.binDirectory;
    this.name = name;
    this.paths = hostPaths(labPaths, name);
  }

  /** Pid of the process that holds the namespaces; undefined when there is none. */
  get holder(): number | undefined {
    return runningPid(this.paths.holderPid);
  }

  /** Pid of the host's skeind; undefined when it does not run. */
  get daemon(): number | undefined {
    return runningPid(this.paths.daemonPid);
  }

  /** Starts the holder. @param etc contents of /etc/hosts and /etc/resolv.conf in the host. */
  async create(etc: { hosts: string; resolvConf: string }): Promise<void> {
    mkdirSync(this.paths.run, { recursive: true });
    mkdirSync(this.paths.etc, { recursive: true });
    writeFileSync(join(this.paths.etc, 'hostname'), `${this.name}\n`);
    writeFileSync(join(this.paths.etc, 'hosts'), etc.hosts);
    writeFileSync(join(this.paths.etc, 'resolv.conf'), etc.resolvConf);
    const holder = spawn(
      'unshare',
      [
        '--net',
        '--mount',
        '--uts',
        '--propagation',
        'private',
        'sh',
        '-c',
        holderScript,
        'sh',
        this.name,
        this.paths.run,
        this.paths.etc,
      ],
      { detached: true, stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, [labMark]: this.#lab } },
    );
    let complaint = '';
    holder.stderr.on('data', (data: Buffer) => {
      complaint += data.toString();
    });
    await started(holder);
    writeFileSync(this.paths.holderPid, String(holder.pid));
    const deadline = Date.now() + holderTimeoutMs;
    while (!existsSync(join(this.paths.run, 'ready'))) {
      if (holder.exitCode !== null || Date.now() > deadline)
        throw new Error(`lab host ${this.name} did not start: ${complaint.trim() || 'time-out'}`);
      await sleep(pollMs);
    }
    rmSync(join(this.paths.run, 'ready'));
    holder.stderr.destroy();
    holder.unref();
  }

  /** Path of the host's network namespace. @throws Error when the host does not run. */
  get networkNamespace(): string {
    return `/proc/${this.#requireHolder()}/ns/net`;
  }

  /** The command line that runs `command` inside the host. */
  enter(command: readonly string[]): { file: string; arguments: string[] } {
    const pid = String(this.#requireHolder());
    return { file: 'nsenter', arguments: ['--target', pid, '--net', '--mount', '--uts', '--', ...command] };
  }

  /** Environment for commands in the host: docker and skein find the host's daemon. */
  get environment(): NodeJS.ProcessEnv {
    const path = [this.#binDirectory, process.env.PATH].filter(Boolean).join(':');
    return { ...process.env, PATH: path, [labMark]: this.#lab, DOCKER_HOST: 'unix:///run/skein.sock' };
  }

  /** Runs `command` inside with this terminal. @returns its exit code. */
  run(command: readonly string[]): number {
    const { file, arguments: args } = this.enter(command);
    const { status, error } = spawnSync(file, args, { stdio: 'inherit', env: this.environment });
    if (error) throw error;
    return status ?? 1;
  }

  /** Starts `command` inside, detached, its output appended to `logPath`. @returns its pid. */
  async start(command: readonly string[], logPath: string): Promise<number> {
    const { file, arguments: args } = this.enter(command);
    const log = openSync(logPath, 'a');
    try {
      const child = spawn(file, args, { detached: true, stdio: ['ignore', log, log], env: this.environment });
      await started(child);
      child.unref();
      return child.pid ?? 0;
    } finally {
      closeSync(log);
    }
  }

  #requireHolder(): number {
    const pid = this.holder;
    if (pid === undefined)
      throw new SkeinError('Unavailable', `lab host ${this.name} does not run: start the lab with "skein lab up"`);
    return pid;
  }
}

function started(child: ChildProcess): Promise<void> {
  return new Promise((resolve, reject) => {
    child.once('spawn', () => resolve());
    child.once('error', reject);
  });
}

/** A pid file is believed only while the process is in another network namespace than ours: pids come round again. */
function runningPid(file: string): number | undefined {
  if (!existsSync(file)) return undefined;
  const pid = Number(readFileSync(file, 'utf8'));
  if (!isRunning(pid)) return undefined;
  try {
    return readlinkSync(`/proc/${pid}/ns/net`) === readlinkSync('/proc/self/ns/net') ? undefined : pid;
  } catch {
    return undefined; // It ended between the two looks.
  }
}
