/** A lab for a test or the demo: hosts, and commands run on them as a user would type them. */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Lab, type UnderlayKind } from '../../packages/skein/src/lab/index.ts';
import { importArguments, writeUbuntuRootfs } from './ubuntu.ts';

const root = resolve(import.meta.dirname, '../..');
/** The built command: what a user runs. */
export const skeinBinary = join(root, 'packages/skein/bin/skein');
const commandTimeoutMs = 120_000;

/** The command line that drives a node. */
export type Client = 'docker' | 'skein';

export interface Outcome {
  readonly stdout: string;
  readonly stderr: string;
  readonly exitCode: number;
}

/** A command that failed and was expected to work. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  constructor(host: string, words: readonly string[], { stdout, stderr, exitCode }: Outcome) {
    super(`${host}$ ${words.join(' ')}\nexit code ${exitCode}\n${stdout}${stderr}`);
  }
}

export class Cluster implements AsyncDisposable {
  readonly lab: Lab;
  readonly #temporary: string;

  private constructor(lab: Lab) {
    this.lab = lab;
    this.#temporary = mkdtempSync(join(tmpdir(), 'skein-e2e-'));
  }

  /** Makes a lab with a skeind in each of `nodes` hosts and the image `ubuntu` on each. Left-overs of an earlier one with this name are removed. @param options.skein the command that starts daemons, by default the built one. */
  static async start(
    name: string,
    nodes: number,
    options: { daemons?: boolean; image?: boolean; skein?: readonly string[]; underlay?: UnderlayKind } = {},
  ): Promise<Cluster> {
    const skein = options.skein ?? [skeinBinary];
    const lab = new Lab({ name, skein, logLevel: process.env.SKEIN_LOG_LEVEL ?? 'info' });
    await lab.down();
    const { daemons = true, underlay = 'ipv4' } = options;
    await lab.up({ nodes, daemons, underlay });
    const cluster = new Cluster(lab);
    if (options.image !== false && daemons) await cluster.importUbuntu(lab.hosts().map((host) => host.name));
    return cluster;
  }

  /** Gives hosts the image `ubuntu`. @param docker the words that reach a host's engine. */
  async importUbuntu(
    hosts: readonly string[],
    docker: (host: string) => readonly string[] = () => ['docker'],
  ): Promise<void> {
    const archive = join(this.#temporary, 'ubuntu.tar');
    await writeUbuntuRootfs(archive);
    for (const host of hosts) this.must(host, [...docker(host), ...importArguments(archive)]);
  }

  /** Runs a command on a host and waits for it. A text is split at its spaces; the first word `skein` stands for the built command. */
  run(
    host: string,
    command: string | readonly string[],
    options: { timeoutMs?: number; input?: string } = {},
  ): Outcome {
    const target = this.lab.host(host);
    const words = split(command);
    const { file, arguments: args } = target.enter(withBinary(words));
    const done = spawnSync(file, args, {
      encoding: 'utf8',
      env: { ...target.environment, NO_COLOR: '1' },
      timeout: options.timeoutMs ?? commandTimeoutMs,
      maxBuffer: 64 * 1024 * 1024,
      ...(options.input === undefined ? { stdio: ['ignore', 'pipe', 'pipe'] } : { input: options.input }),
    });
    if (done.error)
      throw new Error(`${host}$ ${words.join(' ')}: ${done.error.message}\n${done.stdout}${done.stderr}`, {
        cause: done.error,
      });
    return { stdout: done.stdout, stderr: done.stderr, exitCode: done.status ?? 1 };
  }

  /** Runs a command that has to work. @returns its standard output. @throws CommandError with all that it printed. */
  must(
    host: string,
    command: string | readonly string[],
    options: { timeoutMs?: number; input?: string } = {},
  ): string {
    const outcome = this.run(host, command, options);
    if (outcome.exitCode !== 0) throw new CommandError(host, split(command), outcome);
    return outcome.stdout;
  }

  /** Starts a command on a host and leaves it running. `finished` gives its output; `stop` ends it first. */
  start(
    host: string,
    words: readonly string[],
  ): { pid: number; finished: Promise<Outcome>; stop(signal?: NodeJS.Signals): Promise<Outcome> } {
    const target = this.lab.host(host);
    const { file, arguments: args } = target.enter(withBinary(words));
    const child = spawn(file, args, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...target.environment, NO_COLOR: '1' },
    });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const finished = new Promise<Outcome>((done, fail) => {
      child.once('error', fail);
      child.once('close', (code) => done({ stdout, stderr, exitCode: code ?? 1 }));
    });
    const stop = (signal: NodeJS.Signals = 'SIGTERM'): Promise<Outcome> => {
      child.kill(signal);
      return finished;
    };
    return { pid: child.pid ?? 0, finished, stop };
  }

  /** Waits until no container of a removed service is left on any host. */
  async untilGone(service: string): Promise<void> {
    const filter = `label=com.docker.swarm.service.name=${service}`;
    const left = (): string =>
      this.lab
        .hosts()
        .map(({ name }) => this.must(name, ['docker', 'ps', '-aq', '--filter', filter]))
        .join('');
    await eventually(`no container of ${service} is left`, () => (left() === '' ? true : undefined), 60_000);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    rmSync(this.#temporary, { recursive: true, force: true });
    await this.lab.down();
  }
}

function split(command: string | readonly string[]): readonly string[] {
  return typeof command === 'string' ? command.split(' ') : command;
}

function withBinary(words: readonly string[]): readonly string[] {
  return words[0] === 'skein' ? [skeinBinary, ...words.slice(1)] : words;
}

/** Repeats `probe` until it returns something other than undefined. @throws Error with `what` and the last failure. */
export async function eventually<T>(
  what: string,
  probe: () => T | undefined | Promise<T | undefined>,
  timeoutMs = 30_000,
): Promise<T> {
  const deadline = Date.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const value = await probe();
      if (value !== undefined) return value;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline)
      throw new Error(`${what}: not within ${timeoutMs} ms${last ? `; last: ${String(last)}` : ''}`, { cause: last });
    await sleep(200);
  }
}
