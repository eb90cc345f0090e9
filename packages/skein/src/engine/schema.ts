/** Request bodies that are not swarmkit specs: zod schemas that read as Go does, and complain in Go's words. */
import * as z from 'zod';
import { SkeinError } from '../common/index.ts';
import { isObject, type JsonObject, jsonType, member } from './json.ts';

/** Members by name without regard to case, null as missing, unknown ones dropped: as encoding/json fills a struct. */
export function goStruct<S extends z.ZodRawShape>(shape: S) {
  const names = Object.keys(shape);
  return z.preprocess((value) => {
    if (value === undefined || value === null) return {};
    if (!isObject(value)) return value;
    const folded: JsonObject = {};
    for (const name of names) {
      const found = member(value, name);
      if (found !== undefined) folded[name] = found;
    }
    return folded;
  }, z.object(shape));
}

export const goString = z.string().default('');
export const goBool = z.boolean().default(false);
export const goStrings = z.array(z.string()).default(() => []);
export const goMap = z.record(z.string(), z.string()).default(() => ({}));
export const goUint32 = z
  .number()
  .int()
  .min(0)
  .max(2 ** 32 - 1)
  .default(0);
export const goInt = z.number().int();

/** zod's type names in Go's. */
const goTypes: Readonly<Record<string, string>> = {
  string: 'string',
  boolean: 'bool',
  number: 'int',
  int: 'int',
  array: '[]string',
  record: 'map[string]string',
  object: 'struct',
};

/**
 * @param root Docker's name of the body's type, for messages.
 * @throws SkeinError InvalidArgument `json: cannot unmarshal string into Go struct field Root.Field of type bool`.
 */
export function decodeBody<T>(schema: z.ZodType<T>, body: unknown, root: string): T {
  const result = schema.safeParse(body);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const path = [root, ...(issue?.path ?? [])].map(String).filter((part) => !/^\d+$/.test(part));
  const goType = issue !== undefined && 'expected' in issue ? (goTypes[issue.expected] ?? issue.expected) : 'int';
  const found = (issue?.path ?? []).reduce<unknown>(
    (value, key) => (isObject(value) ? member(value, String(key)) : Array.isArray(value) ? value[Number(key)] : value),
    body,
  );
  throw new SkeinError(
    'InvalidArgument',
    `json: cannot unmarshal ${jsonType(found ?? null)} into Go ${path.length > 1 ? `struct field ${path.join('.')}` : 'value'} of type ${goType}`,
    { cause: result.error },
  );
}
