import { parseDuration } from '../command/units.ts';

const secondMs = 1000;
const minuteSeconds = 60;
const hourSeconds = 3600;
const dayHours = 24;

/** @returns a length of time in words, as `docker ps` prints it (docker/go-units HumanDuration). */
export function humanDuration(milliseconds: number): string {
  const seconds = Math.trunc(milliseconds / secondMs);
  if (seconds < 1) return 'Less than a second';
  if (seconds === 1) return '1 second';
  if (seconds < minuteSeconds) return `${seconds} seconds`;
  const minutes = Math.trunc(seconds / minuteSeconds);
  if (minutes === 1) return 'About a minute';
  if (minutes < 60) return `${minutes} minutes`;
  const hours = Math.trunc(milliseconds / secondMs / hourSeconds + 0.5);
  if (hours === 1) return 'About an hour';
  if (hours < dayHours * 2) return `${hours} hours`;
  if (hours < dayHours * 7 * 2) return `${Math.trunc(hours / dayHours)} days`;
  if (hours < dayHours * 30 * 2) return `${Math.trunc(hours / dayHours / 7)} weeks`;
  if (hours < dayHours * 365 * 2) return `${Math.trunc(hours / dayHours / 30)} months`;
  return `${Math.trunc(hours / dayHours / 365)} years`;
}

/** @returns `5 minutes ago` for a time in ISO form. */
export function ago(time: string, now = Date.now()): string {
  return `${humanDuration(now - Date.parse(time))} ago`;
}

const decimalUnits = ['B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB'];
const binaryUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];

function scaled(size: number, base: number, units: readonly string[], digits: number): string {
  let value = size;
  let unit = 0;
  while (value >= base && unit < units.length - 1) {
    value /= base;
    unit++;
  }
  return `${significant(value, digits)}${units[unit]}`;
}

/** Go's `%.4g` without an exponent: so many significant digits, no zeros at the end. */
function significant(value: number, digits: number): string {
  return String(Number(value.toPrecision(digits)));
}

/** @returns bytes in powers of 1000, `1.98MB` (go-units HumanSizeWithPrecision). */
export function humanSize(bytes: number, digits = 4): string {
  return scaled(bytes, 1000, decimalUnits, digits);
}

/** @returns bytes in powers of 1024, `23.54GiB` (go-units BytesSize). */
export function bytesSize(bytes: number): string {
  return scaled(bytes, 1024, binaryUnits, 4);
}

/** @returns nanoseconds as Go prints a time.Duration: `5s`, `1m30s`, `2160h0m0s`, `1.5ms`. */
export function goDuration(nanos: number): string {
  if (nanos === 0) return '0s';
  if (Math.abs(nanos) < 1e3) return `${nanos}ns`;
  if (Math.abs(nanos) < 1e6) return `${nanos / 1e3}µs`;
  if (Math.abs(nanos) < 1e9) return `${nanos / 1e6}ms`;
  const sign = nanos < 0 ? '-' : '';
  const whole = Math.floor(Math.abs(nanos) / 1e9);
  const fraction = Math.abs(nanos) % 1e9;
  const seconds = `${whole % 60}${fraction ? `.${String(fraction).padStart(9, '0').replace(/0+$/, '')}` : ''}s`;
  if (whole < minuteSeconds) return sign + seconds;
  const minutes = `${Math.floor(whole / 60) % 60}m${seconds}`;
  return sign + (whole < hourSeconds ? minutes : `${Math.floor(whole / hourSeconds)}h${minutes}`);
}

/** @returns a unix time in the local zone, as Go prints it: `2026-11-25 04:04:52 +0000 UTC`. */
export function unixTime(seconds: number): string {
  const date = new Date(seconds * secondMs);
  const two = (value: number) => String(value).padStart(2, '0');
  const minutes = -date.getTimezoneOffset();
  const offset = `${minutes < 0 ? '-' : '+'}${two(Math.floor(Math.abs(minutes) / 60))}${two(Math.abs(minutes) % 60)}`;
  const zone = new Intl.DateTimeFormat('en', { timeZoneName: 'short' })
    .formatToParts(date)
    .find((part) => part.type === 'timeZoneName')?.value;
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())} ${offset} ${zone}`;
}

/**
 * @returns what the API's `since` and `until` take, `seconds.nanoseconds`, for a unix time, a date or a duration
 * before now (moby api/types/time GetTimestamp).
 */
export function timestampOf(text: string, now = Date.now()): string {
  if (/^\d+(\.\d+)?$/.test(text)) return text;
  if (/^\d{4}-\d\d-\d\d/.test(text)) {
    const zoned = /(Z|[+-]\d\d:\d\d)$/.test(text) || !text.includes('T') ? text : `${text}`;
    const fraction = /\.(\d+)/.exec(text)?.[1]?.padEnd(9, '0').slice(0, 9) ?? '000000000';
    const milliseconds = Date.parse(text.includes('T') ? zoned : `${text}T00:00:00`);
    if (!Number.isNaN(milliseconds)) return `${Math.floor(milliseconds / secondMs)}.${fraction}`;
  }
  const milliseconds = now - parseDuration(text) / 1e6;
  return `${Math.floor(milliseconds / secondMs)}.${String(Math.floor(milliseconds % secondMs) * 1e6).padStart(9, '0')}`;
}

/** @returns text cut to so many characters, the last one an ellipsis if something was cut (docker/cli Ellipsis). */
export function ellipsis(text: string, length: number): string {
  const characters = [...text];
  return characters.length <= length ? text : `${characters.slice(0, length - 1).join('')}…`;
}

const shortIdLength = 12;

/** @returns an ID's first 12 characters, without the digest's algorithm. */
export function shortId(id: string): string {
  return id.replace(/^[a-z0-9]+:/, '').slice(0, shortIdLength);
}
