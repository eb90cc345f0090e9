import { CommandError } from './errors.ts';

const durationUnits: Readonly<Record<string, number>> = {
  ns: 1,
  us: 1e3,
  µs: 1e3,
  ms: 1e6,
  s: 1e9,
  m: 60e9,
  h: 3600e9,
};

/** @returns nanoseconds of a Go duration (`1m30s`, `1.5h`; time.ParseDuration). */
export function parseDuration(text: string): number {
  const invalid = (what: string) => new CommandError(`time: ${what} ${JSON.stringify(text)}`);
  const sign = text.startsWith('-') ? -1 : 1;
  const body = text.replace(/^[+-]/, '');
  if (body === '0') return 0;
  if (body === '' || !/^(\d+\.?\d*|\.\d+)/.test(body)) throw invalid('invalid duration');
  let total = 0;
  for (const [, number = '', unit = ''] of body.matchAll(/(\d+\.?\d*|\.\d+)([^\d.]*)/g)) {
    if (unit === '') throw invalid('missing unit in duration');
    const scale = durationUnits[unit];
    if (scale === undefined) {
      throw new CommandError(`time: unknown unit ${JSON.stringify(unit)} in duration ${JSON.stringify(text)}`);
    }
    total += Number(number) * scale;
  }
  return sign * Math.round(total);
}

const binaryUnits = 'bkmgtp';

/** @returns bytes of a size such as `50m`, `1.5GiB` (docker/go-units RAMInBytes: powers of 1024). */
export function parseBytes(text: string): number {
  const match = /^(\d+(?:\.\d+)?|\.\d+) ?([kmgtp]?)(?:i?b)?$/i.exec(text);
  if (!match) throw new CommandError(`invalid size: '${text}'`);
  return Math.floor(Number(match[1]) * 1024 ** Math.max(0, binaryUnits.indexOf((match[2] ?? '').toLowerCase() || 'b')));
}

const nanosPerUnit = 1e9;

/** @returns billionths of a decimal number of CPUs (`0.5` → 500000000). */
export function parseDecimal(text: string): number {
  if (!/^\d*\.?\d+$/.test(text)) throw new CommandError(`failed to parse ${text} as a rational number`);
  const nanos = Number(text) * nanosPerUnit;
  if (Math.abs(nanos - Math.round(nanos)) > 1e-6) throw new CommandError('value is too precise');
  return Math.round(nanos);
}
