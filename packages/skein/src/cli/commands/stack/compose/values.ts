/** The kinds of values in compose files, with Docker's words for a value of another kind. */
import { z } from 'zod';
import { CommandError } from '../../../command/errors.ts';
import { parseBytes, parseDuration } from '../../../command/units.ts';
import { splitWords } from '../../service/syntax.ts';

/** What is said of a key that has to be there; the key comes before it. */
export const isRequired = 'is required';

const mustBe = (kind: string) => ({
  error: ({ input }: z.core.$ZodRawIssue) => (input === undefined ? isRequired : `must be a ${kind}`),
});

export const text = z.string(mustBe('string'));
export const whole = z.int(mustBe('integer'));
export const number = z.number(mustBe('number'));
export const flag = z.boolean(mustBe('boolean'));
export const scalar = z.custom<string | number | null>(
  (value) => value === null || ['string', 'number'].includes(typeof value),
  'must be a string, number or null',
);

export function list<Item extends z.ZodType>(item: Item) {
  return z.array(item, 'must be a list');
}

export const texts = list(text).superRefine((items, context) => {
  const second = items.findIndex((item, index) => items.indexOf(item) < index);
  if (second < 0) return;
  context.addIssue(`array items[${items.indexOf(items[second] ?? '')},${second}] must be unique`);
});

/** Docker's words for a mapping that is none, or that has a key too many. */
export const mappingProblem = {
  error: (issue: z.core.$ZodRawIssue) =>
    issue.code === 'unrecognized_keys' ? `Additional property ${issue.keys[0]} is not allowed` : 'must be a mapping',
};

export function mapping<Shape extends z.core.$ZodLooseShape>(shape: Shape) {
  return z.strictObject(shape, mappingProblem);
}

/** A mapping that may have extensions (`x-…`), and `ignored` keys. */
export function extensible<Shape extends z.core.$ZodLooseShape>(
  shape: Shape,
  ignored: ReadonlySet<string> = new Set(),
) {
  const isRead = ([key]: readonly [string, unknown]) => !key.startsWith('x-') && !ignored.has(key);
  return z.preprocess(
    (value) => (isMapping(value) ? Object.fromEntries(Object.entries(value).filter(isRead)) : value),
    mapping(shape),
  );
}

const isMapping = (value: unknown): value is Record<string, unknown> =>
  value !== null && typeof value === 'object' && !Array.isArray(value);

/** A mapping from names to things of one kind. */
export function named<Item extends z.ZodType>(item: Item) {
  const name = z.string().regex(/^[a-zA-Z0-9._-]+$/);
  return z.record(name, item, {
    error: (issue) =>
      issue.code === 'invalid_key' ? `Additional property ${issue.input} is not allowed` : 'must be a mapping',
  });
}

/** A text turned into another thing by `read`. @param format the name that docker has for texts of this form. */
export function formatted<Value>(format: string, read: (value: string) => Value | undefined) {
  return text.transform((value, context): Value => {
    const result = attempt(() => read(value));
    if (result === undefined) context.addIssue(`Does not match format '${format}'`);
    return result as Value;
  });
}

function attempt<Value>(read: () => Value): Value | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof CommandError) return undefined;
    throw error;
  }
}

export const duration = formatted('duration', parseDuration);
export const bytes = text.transform(parseBytes);
export const words = z.union([text.transform(splitWords), list(text)]);
export const textOrTexts = z.union([text.transform((value) => [value]), texts]);
export const options = z.record(z.string(), scalar, 'must be a mapping').transform(withoutNull);

/** `{a: b}` or `[a=b]`; a name alone has no value. */
export const pairs = z.union([
  z.record(z.string(), scalar, 'must be a mapping').transform(textValues),
  texts.transform((items) => Object.fromEntries(items.map((item) => splitAt(item, '=')))),
]);
export const labels = pairs.transform(withoutNull);

function splitAt(item: string, mark: string): [string, string | null] {
  const index = item.indexOf(mark);
  return index < 0 ? [item, null] : [item.slice(0, index), item.slice(index + 1)];
}

function textValues(values: Readonly<Record<string, string | number | null>>): Record<string, string | null> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, value === null ? null : String(value)]));
}

function withoutNull(values: Readonly<Record<string, string | number | null>>): Record<string, string> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [key, value === null ? '' : String(value)]));
}

/** `{host: address}`, `[host:address]` or `[host=address]`, as `host:address`. */
export const hosts = z.union([
  z.record(z.string(), scalar, 'must be a mapping').transform((values) =>
    Object.entries(values)
      .filter(([, address]) => address !== null)
      .map(([host, address]) => `${host}:${address}`)
      .sort(),
  ),
  texts.transform((items) =>
    items.flatMap((item) => {
      const [host, address] = splitAt(item, item.includes('=') ? '=' : ':');
      return address === null ? [] : [`${host}:${address}`];
    }),
  ),
]);
