/** The measuring tool in C (probe/): built once per run, started in the namespaces that are measured. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { globSync, mkdtempSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';

/** A network namespace, by a path of it, and its address. */
export interface Place {
  readonly namespace: string;
  readonly address: string;
  /** Version 2 cgroup in which the process is, by its directory; else in the bench's own. */
  readonly cgroup?: string | undefined;
}

/** The tool's answer to one measurement. */
export type Report = Readonly<Record<string, number>>;

/** A process of the tool. */
export interface Started {
  readonly pid: number;
  stop(): Promise<void>;
}

/** A measurement that runs; `report` fails when it does. */
export interface Running<T = Report> extends Started {
  readonly report: Promise<T>;
}

/** Longer than any measurement takes: what hangs is ended. */
const timeoutMs = 180_000;

/** Where client and server of a pair run: on one CPU they cannot reorder packets, and one saturated CPU is measured. */
export const trafficCpu = availableParallelism() - 1;

/** A measurement of traffic is made in so many short turns, between which the contestants alternate. */
export const turns = 3;

export class Probe implements Disposable {
  readonly #directory: string;
  readonly #file: string;

  private constructor(directory: string) {
    this.#directory = directory;
    this.#file = join(directory, 'probe');
  }

  /** Compiles the tool. @throws Error with the compiler's words. */
  static build(): Probe {
    const sources = globSync('probe/*.c', { cwd: import.meta.dirname }).map((name) => join(import.meta.dirname, name));
    const probe = new Probe(mkdtempSync(join(tmpdir(), 'skein-bench-')));
    execFileSync('gcc', ['-O2', '-std=gnu11', '-Wall', '-Wextra', '-Werror', '-o', probe.#file, ...sources]);
    return probe;
  }

  /** Runs a measurement in a namespace. @returns what it printed. */
  run(place: Pick<Place, 'namespace' | 'cgroup'>, ...words: readonly (string | number)[]): Promise<Report> {
    return this.start<Report>(place, ...words).report;
  }

  /** Starts a measurement. */
  start<T = Report>(place: Pick<Place, 'namespace' | 'cgroup'>, ...words: readonly (string | number)[]): Running<T> {
    const child = this.#spawn(place, words);
    const ended = finished(child, `probe ${words.join(' ')}`);
    const report = ended.then((text) => JSON.parse(text.replace('ready\n', '')) as T);
    report.catch(() => undefined); // Whoever waits for it hears of it.
    return { pid: child.pid ?? 0, report, stop: () => end(child) };
  }

  /** Starts the server of a pair and waits until it listens. */
  async serve(place: Pick<Place, 'namespace' | 'cgroup'>, cpu: number): Promise<Started> {
    const child = this.#spawn(place, ['server', cpu]);
    const ended = finished(child, 'probe server', 0);
    ended.catch(() => undefined);
    await Promise.race([
      new Promise((resolve) => child.stdout?.once('data', resolve)),
      ended.then(() => Promise.reject(new Error('probe server ended'))),
    ]);
    return { pid: child.pid ?? 0, stop: () => end(child) };
  }

  [Symbol.dispose](): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #spawn(
    { namespace, cgroup }: Pick<Place, 'namespace' | 'cgroup'>,
    words: readonly (string | number)[],
  ): ChildProcess {
    const command = ['nsenter', `--net=${namespace}`, this.#file, ...words.map(String)];
    const enter = cgroup === undefined ? [] : ['sh', '-c', `echo $$ > "$0/cgroup.procs" && exec "$@"`, cgroup];
    const [program = '', ...rest] = [...enter, ...command];
    return spawn(program, rest, { stdio: ['ignore', 'pipe', 'pipe'] });
  }
}

/** @param limitMs 0: it may run as long as it likes. @returns its standard output. @throws Error with its complaint. */
function finished(child: ChildProcess, what: string, limitMs = timeoutMs): Promise<string> {
  let stdout = '';
  let stderr = '';
  child.stdout?.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
  });
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
  });
  const timer = limitMs > 0 ? setTimeout(() => child.kill('SIGKILL'), limitMs) : undefined;
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      if (code === 0) resolve(stdout);
      else reject(new Error(`${what}: ${stderr.trim() || `ended with ${signal ?? code}`}`));
    });
  });
}

function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve();
  return new Promise((resolve) => {
    child.once('close', () => resolve());
    child.kill('SIGKILL');
  });
}
