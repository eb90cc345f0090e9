import { type Logger, pino } from 'pino';

export type { Logger } from 'pino';

/** @returns the daemon's logger: JSON lines on standard error, `level` as in pino (`debug`, `info`, …). */
export function createLogger(level: string): Logger {
  return pino({ level, base: undefined, timestamp: pino.stdTimeFunctions.isoTime }, pino.destination(2));
}

/** A logger that drops everything, for tests. */
export function silentLogger(): Logger {
  return pino({ level: 'silent' });
}
