/** Query and path parameters, read as dockerd's httputils reads them. */
import { invalid } from './errors.ts';
import type { Call } from './types.ts';
import { timestampParameter } from './units.ts';

/** Everything but these is true (httputils.BoolValue). */
const falseWords = new Set(['', '0', 'no', 'false', 'none']);

export function flagParameter(call: Call, name: string, missing = false): boolean {
  const value = call.query.get(name);
  return value === null ? missing : !falseWords.has(value.trim().toLowerCase());
}

/** @returns the whole number, undefined when absent. @throws SkeinError in Go's strconv words. */
export function numberParameter(call: Call, name: string): number | undefined {
  const value = call.query.get(name);
  if (value === null || value === '') return undefined;
  if (!/^[-+]?\d+$/.test(value)) throw invalid(`strconv.Atoi: parsing "${value}": invalid syntax`);
  return Number(value);
}

/** The `version` that an update is based on. */
export function versionParameter(call: Call): bigint {
  const value = call.query.get('version') ?? '';
  if (!/^\d+$/.test(value)) {
    throw invalid(`invalid version '${value}': strconv.ParseUint: parsing "${value}": invalid syntax`);
  }
  return BigInt(value);
}

/** A time in nanoseconds, undefined when absent. */
export function timeParameter(call: Call, name: string): bigint | undefined {
  const value = timestampParameter(call.query.get(name));
  if (value === 'invalid') throw invalid(`invalid value for "${name}": ${call.query.get(name)}`);
  return value;
}

/** The path parameter of a route that has it. */
export function pathParameter(call: Call, name: string): string {
  const value = call.parameters[name];
  if (value === undefined) throw new Error(`route without parameter ${name}: ${call.path}`);
  return value;
}
