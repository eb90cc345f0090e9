/** Spans of time in words, as docker's go-units HumanDuration says them. */
const second = 1;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

/** @param milliseconds a span of time. @returns `5 minutes`, `About an hour`, … */
export function humanDuration(milliseconds: number): string {
  const seconds = Math.trunc(milliseconds / 1000);
  const minutes = Math.trunc(seconds / minute);
  // go-units rounds hours: int(d.Hours() + 0.5).
  const hours = Math.trunc(milliseconds / 1000 / hour + 0.5);
  if (seconds < 1) return 'Less than a second';
  if (seconds === 1) return '1 second';
  if (seconds < minute) return `${seconds} seconds`;
  if (minutes === 1) return 'About a minute';
  if (minutes < 60) return `${minutes} minutes`;
  if (hours === 1) return 'About an hour';
  if (hours < 48) return `${hours} hours`;
  if (hours < 24 * 7 * 2) return `${Math.trunc(hours / 24)} days`;
  if (hours < 24 * 30 * 2) return `${Math.trunc(hours / 24 / 7)} weeks`;
  if (hours < 24 * 365 * 2) return `${Math.trunc(hours / 24 / 30)} months`;
  return `${Math.trunc((hours * hour) / day / 365)} years`;
}

/**
 * @param text a `since`/`until` parameter: Unix seconds with optional decimals, an RFC 3339 time, or '' / '0'.
 * @returns nanoseconds since the epoch; undefined when nothing is asked. @throws nothing: `invalid` is the caller's.
 */
export function timestampParameter(text: string | null): bigint | 'invalid' | undefined {
  if (text === null || text === '' || text === '0') return undefined;
  const match = /^(\d+)(?:\.(\d{1,9}))?$/.exec(text);
  if (match !== null) return BigInt(match[1] ?? 0) * 1_000_000_000n + BigInt((match[2] ?? '').padEnd(9, '0'));
  const milliseconds = Date.parse(text);
  return Number.isNaN(milliseconds) ? 'invalid' : BigInt(milliseconds) * 1_000_000n;
}
