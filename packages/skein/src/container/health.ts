/** Health checks: probes of a container one after the other, and Docker's rules for what they mean (moby daemon/health.go). */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Logger, longestTimeoutMs } from '../common/index.ts';
import { formatTime, nowNanoseconds } from './time.ts';
import type { ContainerState, Healthcheck } from './types.ts';

type Health = NonNullable<ContainerState['Health']>;

const millisecond = 1e6;
/** Docker's defaults, in nanoseconds; retries as a count. */
const defaultInterval = 30e9;
const defaultTimeout = 30e9;
const defaultStartInterval = 5e9;
const defaultRetries = 3;
/** Results that are kept, and bytes of output of each. */
const keptResults = 5;
const maximumOutputBytes = 4096;

export interface ProbeResult {
  readonly exitCode: number;
  readonly output: string;
  readonly timedOut: boolean;
}

/** @returns the command of a health check, or undefined when there is none (`NONE`, or an empty test). */
export function probeCommand(test: readonly string[]): string[] | undefined {
  const [kind, ...rest] = test;
  if (kind === 'CMD' && rest.length > 0) return rest;
  if (kind === 'CMD-SHELL' && rest.length > 0) return ['/bin/sh', '-c', ...rest];
  return undefined;
}

/** @returns the health after one more probe. Failures within the start period do not count while it is starting. */
export function nextHealth(
  health: Health,
  result: { exitCode: number; output: string; start: string; end: string },
  rules: { retries: number; inStartPeriod: boolean },
): Health {
  const entry = {
    Start: result.start,
    End: result.end,
    ExitCode: result.exitCode,
    Output: result.output.slice(0, maximumOutputBytes),
  };
  const Log = [...health.Log, entry].slice(-keptResults);
  if (result.exitCode === 0) return { Status: 'healthy', FailingStreak: 0, Log };
  if (health.Status === 'starting' && rules.inStartPeriod) return { ...health, Log };
  const FailingStreak = health.FailingStreak + 1;
  return { Status: FailingStreak >= rules.retries ? 'unhealthy' : health.Status, FailingStreak, Log };
}

/**
 * @param sinceStartMs since the container's start. @returns how long to wait for the next probe, in milliseconds: within
 * the start period until the first success the start interval, else the interval.
 */
export function pauseMs(check: Healthcheck, status: string, sinceStartMs: number): number {
  const isStarting = status === 'starting' && sinceStartMs < (check.StartPeriod ?? 0) / millisecond;
  const pause = isStarting ? check.StartInterval || defaultStartInterval : check.Interval || defaultInterval;
  return Math.min(pause / millisecond, longestTimeoutMs);
}

interface Surroundings {
  /** What an earlier daemon found in this run of the container. */
  before: Health | undefined;
  /** When this run of the container has started, in milliseconds since 1970. */
  startedMs: number;
  probe: (command: string[], timeoutMs: number) => Promise<ProbeResult>;
  changed: (health: Health, statusChanged: boolean) => Promise<void>;
  /** A paused container is not probed. */
  paused: () => boolean;
  logger: Logger;
}

/** Probes one run of a container until `stop`. */
export class HealthMonitor {
  readonly #stopped = new AbortController();

  /** @returns undefined when the container has no health check. */
  static start(check: Healthcheck | undefined, surroundings: Surroundings): HealthMonitor | undefined {
    const command = check && probeCommand(check.Test);
    if (!command) return undefined;
    const monitor = new HealthMonitor();
    monitor.#run(command, check, surroundings).catch((error: unknown) => {
      if (!monitor.#stopped.signal.aborted) surroundings.logger.error({ err: error }, 'health checks ended');
    });
    return monitor;
  }

  async #run(command: string[], check: Healthcheck, surroundings: Surroundings): Promise<void> {
    const { signal } = this.#stopped;
    const sinceStartMs = (): number => Date.now() - surroundings.startedMs;
    let health = surroundings.before ?? { Status: 'starting', FailingStreak: 0, Log: [] };
    await surroundings.changed(health, false);
    for (;;) {
      await sleep(pauseMs(check, health.Status, sinceStartMs()), undefined, { signal, ref: false });
      if (surroundings.paused()) continue;
      const timeoutMs = (check.Timeout || defaultTimeout) / millisecond;
      const inStartPeriod = sinceStartMs() < (check.StartPeriod ?? 0) / millisecond;
      const start = nowNanoseconds();
      const result = await surroundings.probe(command, timeoutMs).catch((error: Error) => ({
        exitCode: -1,
        output: error.message,
        timedOut: false,
      }));
      if (signal.aborted) return;
      const output = result.timedOut ? `Health check exceeded timeout (${timeoutMs / 1000}s)` : result.output;
      const times = { start: formatTime(start), end: formatTime(nowNanoseconds()) };
      const rules = { retries: check.Retries || defaultRetries, inStartPeriod };
      const next = nextHealth(health, { exitCode: result.timedOut ? -1 : result.exitCode, output, ...times }, rules);
      const statusChanged = next.Status !== health.Status;
      health = next;
      await surroundings.changed(health, statusChanged);
    }
  }

  stop(): void {
    this.#stopped.abort();
  }
}
