/** Times as Docker writes them: RFC 3339 with nanoseconds, trailing zeros dropped (Go's time.RFC3339Nano). */
import type { Timestamp } from '@bufbuild/protobuf/wkt';

const nanosecondsPerSecond = 1_000_000_000n;
const nanosecondsPerMillisecond = 1_000_000n;
/** How far the wall clock may run from our count before the count follows it (a step of the clock). */
const maximumDrift = 50n * nanosecondsPerMillisecond;

/** Docker's "never": Go's zero time. */
export const zeroTime = '0001-01-01T00:00:00Z';

let offset = 0n;

/** @returns the wall-clock time in nanoseconds since the epoch; finer than a millisecond and not decreasing between clock steps. */
export function nowNanoseconds(): bigint {
  const wall = BigInt(Date.now()) * nanosecondsPerMillisecond;
  const counter = process.hrtime.bigint();
  const drift = wall - (counter + offset);
  if (drift > maximumDrift || drift < -maximumDrift) offset = wall - counter;
  return counter + offset;
}

/** @param nanoseconds since the epoch. */
export function formatTime(nanoseconds: bigint): string {
  const seconds = nanoseconds / nanosecondsPerSecond;
  const fraction = String(nanoseconds % nanosecondsPerSecond)
    .padStart(9, '0')
    .replace(/0+$/, '');
  const base = new Date(Number(seconds) * 1000).toISOString().slice(0, 19);
  return fraction === '' ? `${base}Z` : `${base}.${fraction}Z`;
}

/** @returns now in Docker's format. */
export function nowText(): string {
  return formatTime(nowNanoseconds());
}

/** @returns nanoseconds since the epoch of an RFC 3339 time. @throws RangeError when it is none. */
export function parseTime(text: string): bigint {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(text);
  const milliseconds = match ? Date.parse(`${match[1]}${match[3]}`) : Number.NaN;
  if (Number.isNaN(milliseconds)) throw new RangeError(`not an RFC 3339 time: ${text}`);
  return BigInt(milliseconds) * nanosecondsPerMillisecond + BigInt((match?.[2] ?? '').padEnd(9, '0'));
}

/** @returns a protobuf timestamp as nanoseconds since the epoch. */
export function timestampNanoseconds(timestamp: Timestamp): bigint {
  return timestamp.seconds * nanosecondsPerSecond + BigInt(timestamp.nanos);
}
