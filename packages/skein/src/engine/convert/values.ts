/** Single values in both forms: Docker's JSON on one side, the field of a swarmkit message on the other. */
import { create } from '@bufbuild/protobuf';
import { type Duration, DurationSchema, type Timestamp, TimestampSchema } from '@bufbuild/protobuf/wkt';
import { SkeinError } from '../../common/index.ts';
import { isObject, typeError } from '../json.ts';

/** One value in both forms. `path` names it in errors: `ServiceSpec.TaskTemplate.ForceUpdate`. */
export interface Value<T> {
  readonly encode: (value: T) => unknown;
  readonly decode: (json: unknown, path: string) => T;
  /** Go's zero value: left out unless the field is `always` sent. */
  readonly isZero: (value: T) => boolean;
}

const nanosecondsPerSecond = 1_000_000_000n;

export const text: Value<string> = {
  encode: (value) => value,
  decode: (json, path) => (typeof json === 'string' ? json : fail(json, path, 'string')),
  isZero: (value) => value === '',
};

export const flag: Value<boolean> = {
  encode: (value) => value,
  decode: (json, path) => (typeof json === 'boolean' ? json : fail(json, path, 'bool')),
  isZero: (value) => !value,
};

/** An integer of up to 32 bits. */
function integer(goType: string, lowest: number, highest: number): Value<number> {
  return {
    encode: (value) => value,
    decode: (json, path) =>
      typeof json === 'number' && Number.isInteger(json) && json >= lowest && json <= highest
        ? json
        : fail(json, path, goType),
    isZero: (value) => value === 0,
  };
}
export const uint32 = integer('uint32', 0, 2 ** 32 - 1);
export const int32 = integer('int32', -(2 ** 31), 2 ** 31 - 1);

export const float: Value<number> = {
  encode: (value) => value,
  decode: (json, path) => (typeof json === 'number' ? Math.fround(json) : fail(json, path, 'float32')),
  isZero: (value) => value === 0,
};

function long(goType: string, lowest: bigint, highest: bigint): Value<bigint> {
  return {
    encode: wide,
    decode: (json, path) => {
      const whole = typeof json === 'bigint' || (typeof json === 'number' && Number.isInteger(json));
      const value = whole ? BigInt(json) : fail(json, path, goType);
      return value >= lowest && value <= highest ? value : fail(json, path, goType);
    },
    isZero: (value) => value === 0n,
  };
}
export const uint64 = long('uint64', 0n, 2n ** 64n - 1n);
export const int64 = long('int64', -(2n ** 63n), 2n ** 63n - 1n);

/** @returns a number where it is exact, else the bigint (which `stringify` prints with all digits). */
export function wide(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

/** google.protobuf.Duration ↔ nanoseconds (Go's time.Duration). */
export const duration: Value<Duration> = {
  encode: (value) => wide(value.seconds * nanosecondsPerSecond + BigInt(value.nanos)),
  decode: (json, path) => {
    const nanoseconds = int64.decode(json, path);
    return create(DurationSchema, {
      seconds: nanoseconds / nanosecondsPerSecond,
      nanos: Number(nanoseconds % nanosecondsPerSecond),
    });
  },
  isZero: (value) => value.seconds === 0n && value.nanos === 0,
};

/** Go's zero time, printed for a time that is not set. */
export const zeroTime = '0001-01-01T00:00:00Z';

/** google.protobuf.Timestamp ↔ RFC 3339 with up to nine decimals, without trailing zeros. */
export const time: Value<Timestamp> = {
  encode: formatTime,
  decode: (json, path) => {
    const match = /^(.*:\d{2})(?:\.(\d{1,9}))?(Z|[-+]\d{2}:\d{2})$/.exec(text.decode(json, path));
    const milliseconds = match === null ? Number.NaN : Date.parse(`${match[1]}${match[3]}`);
    if (Number.isNaN(milliseconds)) throw new SkeinError('InvalidArgument', `parsing time "${json}" as RFC 3339`);
    return create(TimestampSchema, {
      seconds: BigInt(milliseconds / 1000),
      nanos: Number((match?.[2] ?? '').padEnd(9, '0')),
    });
  },
  isZero: () => false,
};

export function formatTime(value: Timestamp | undefined): string {
  if (value === undefined) return zeroTime;
  const seconds = new Date(Number(value.seconds) * 1000).toISOString().slice(0, 'YYYY-MM-DDTHH:MM:SS'.length);
  const fraction = value.nanos.toString().padStart(9, '0').replace(/0+$/, '');
  return `${seconds}${fraction === '' ? '' : `.${fraction}`}Z`;
}

/** bytes ↔ base64, as Go prints []byte. */
export const bytes: Value<Uint8Array> = {
  encode: (value) => Buffer.from(value).toString('base64'),
  decode: (json, path) => {
    const encoded = text.decode(json, path);
    const decoded = Buffer.from(encoded, 'base64');
    if (decoded.toString('base64').replace(/=+$/, '') !== encoded.replace(/[\r\n]/g, '').replace(/=+$/, '')) {
      throw new SkeinError('InvalidArgument', 'illegal base64 data at input byte 0');
    }
    return new Uint8Array(decoded);
  },
  isZero: (value) => value.length === 0,
};

/** bytes ↔ the text they spell (PEM). */
export const bytesAsText: Value<Uint8Array> = {
  encode: (value) => Buffer.from(value).toString('utf8'),
  decode: (json, path) => new Uint8Array(Buffer.from(text.decode(json, path))),
  isZero: (value) => value.length === 0,
};

/** map<string, string>. */
export const map: Value<{ [key: string]: string }> = {
  encode: (value) => value,
  decode: (json, path) => {
    if (!isObject(json)) return fail(json, path, 'map[string]string');
    return Object.fromEntries(Object.entries(json).map(([key, value]) => [key, text.decode(value ?? '', path)]));
  },
  isZero: (value) => Object.keys(value).length === 0,
};

export function list<T>(element: Value<T>): Value<T[]> {
  return {
    encode: (value) => value.map((member) => element.encode(member)),
    decode: (json, path) =>
      Array.isArray(json) ? json.map((member) => element.decode(member, path)) : fail(json, path, '[]struct'),
    isZero: (value) => value.length === 0,
  };
}
export const strings: Value<string[]> = {
  ...list(text),
  decode: (json, path) =>
    Array.isArray(json) ? json.map((member) => text.decode(member ?? '', path)) : fail(json, path, '[]string'),
};

/**
 * An enum and Docker's words for it; an empty word is the enum's zero.
 * @param complaint the error for another word: `invalid Role: "x"`.
 */
export function words<E extends number>(
  table: Readonly<Record<string, E>>,
  complaint: (word: string) => string,
): Value<E> {
  const byNumber = new Map(Object.entries(table).map(([word, number]) => [number, word]));
  return {
    encode: (value) => byNumber.get(value) ?? '',
    decode: (json, path) => {
      const word = text.decode(json, path);
      const value = word === '' ? (0 as E) : table[word.toLowerCase()];
      if (value === undefined) throw new SkeinError('InvalidArgument', complaint(word));
      return value;
    },
    isZero: (value) => !byNumber.has(value),
  };
}

function fail(json: unknown, path: string, goType: string): never {
  throw typeError(json, path, goType);
}
