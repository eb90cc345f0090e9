import { parse, type ScalarTag, YAMLError } from 'yaml';
import { asObject, type Json, type JsonObject } from '../../../client/json.ts';
import { CommandError } from '../../../command/errors.ts';

/** `0440` is octal, as in YAML 1.1 and for Docker's reader; YAML 1.2 has only `0o440`. */
const octal: ScalarTag = {
  tag: 'tag:yaml.org,2002:int',
  default: true,
  test: /^[-+]?0[0-7]+$/,
  resolve: (digits) => Number.parseInt(digits, 8),
};

/** Reads a document whose top is a mapping; anchors and merge keys (`<<`) are resolved. @throws CommandError */
export function readYaml(text: string): JsonObject {
  let value: Json;
  try {
    value = parse(text, { merge: true, logLevel: 'error', customTags: (tags) => [octal, ...tags] }) as Json;
  } catch (error) {
    if (!(error instanceof YAMLError)) throw error;
    const line = error.linePos?.[0].line ?? 0;
    const [what = ''] = error.message.split(/ at line \d+, column \d+/);
    throw new CommandError(`yaml: line ${line}: ${what}`, 1, { cause: error });
  }
  if (value === null || typeof value !== 'object' || Array.isArray(value))
    throw new CommandError('top-level object must be a mapping');
  return asObject(value);
}
