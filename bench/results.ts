/** What has been measured: kept by section, so that one section can be run anew without the others. */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, release, totalmem } from 'node:os';
import { join } from 'node:path';
import type { Contestant } from './contestants.ts';

export interface SectionResult {
  readonly date: string;
  readonly commit: string;
  readonly machine: Machine;
  readonly rounds: number;
  /** Flags of the contestant `skein-variant`; '' where there was none. */
  readonly variant: string;
  /** How long it took, in seconds. */
  readonly seconds: number;
  /** Steps that failed, with the reason. */
  readonly failures: string[];
  /** Every value in the order in which it was measured, by measure and contestant. */
  readonly values: Record<string, Partial<Record<Contestant, number[]>>>;
}

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGb: number;
  readonly kernel: string;
  readonly dockerd: string;
  readonly containerd: string;
  readonly node: string;
  /** Processes that wanted a CPU in the minute before: the bench wants a quiet machine. */
  readonly loadBefore: number;
}

export type Results = Record<string, SectionResult>;

const fileName = 'latest.json';

/** @returns the results of earlier runs; none when there were none. */
export function readResults(directory: string): Results {
  const file = join(directory, fileName);
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Results) : {};
}

/** Replaces the results in a directory. */
export function writeResults(directory: string, results: Results): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, fileName), `${JSON.stringify(results, null, 1)}\n`);
}

/** @returns what a reader has to know of the machine. */
export function describeMachine(): Machine {
  const firstLine = (file: string, ...args: string[]): string =>
    execFileSync(file, args, { encoding: 'utf8' }).split('\n')[0] ?? '';
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGb: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    dockerd: firstLine('dockerd', '--version').replace('Docker version ', ''),
    containerd: firstLine('containerd', '--version').replace('containerd github.com/containerd/containerd ', ''),
    node: process.version,
    loadBefore: Number(readFileSync('/proc/loadavg', 'utf8').split(' ')[0]),
  };
}

/** @returns the checkout's commit, with a mark when files were changed since. */
export function commit(): string {
  const git = (...args: string[]): string =>
    execFileSync('git', args, { cwd: import.meta.dirname, encoding: 'utf8' }).trim();
  try {
    return git('describe', '--always', '--dirty', '--exclude=*');
  } catch {
    return 'unknown'; // No checkout, or no git.
  }
}

/** @returns the middle value; the mean of the two middle ones of an even number. NaN of none. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** @returns the value that this share of the values does not exceed, between neighbours by interpolation. NaN of none. */
export function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const position = (sorted.length - 1) * share;
  const [low, high] = [sorted[Math.floor(position)], sorted[Math.ceil(position)]];
  if (low === undefined || high === undefined) return Number.NaN;
  return low + (high - low) * (position - Math.floor(position));
}

/** @returns the flags of the contestant `skein-variant`; '' where there was none. */
export function variantOf(results: Results): string {
  return Object.values(results).find(({ variant }) => variant !== '')?.variant ?? '';
}

/** What was measured of whom. */
export interface Figure {
  readonly measure: string;
  readonly contestant: Contestant;
}

/** @returns the median of a measure of a contestant over all sections; undefined where it was not measured. */
export function medianOf(results: Results, measure: string, contestant: Contestant): number | undefined {
  const values = valuesOf(results, { measure, contestant });
  return values.length > 0 ? median(values) : undefined;
}

function valuesOf(results: Results, { measure, contestant }: Figure): readonly number[] {
  return (
    Object.values(results).find(({ values }) => values[measure]?.[contestant])?.values[measure]?.[contestant] ?? []
  );
}

/**
 * @returns how many times the one measure is the other: the median of the ratios of values that were measured one after
 * the other, so that what slows the whole machine for a while is in both; the ratio of the medians where values are
 * missing. NaN where one was not measured.
 */
export function ratioOf(results: Results, over: Figure, under: Figure): number {
  const [above, below] = [valuesOf(results, over), valuesOf(results, under)];
  if (above.length !== below.length) return median(above) / median(below);
  return median(above.map((value, index) => value / (below[index] ?? Number.NaN)));
}
