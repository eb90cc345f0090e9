/** Variables in a compose file's values: `$VAR`, `${VAR}`, `${VAR:-default}`, `${VAR?error}`, `$$`. */
import type { Json, JsonObject } from '../../../client/json.ts';
import { CommandError } from '../../../command/errors.ts';
import { syntaxError } from '../../../command/values.ts';

type Environment = Readonly<Record<string, string | undefined>>;
type Cast = (text: string) => Json;

const variable = '([_a-z][_a-z0-9]*)(?:(:?[-?])([^}]*))?';
/** A dollar sign and what it stands before: another one, a variable, a variable in braces, or nothing that it could mean. */
const pattern = new RegExp(`\\$(?:(\\$)|${variable}|\\{${variable}\\}|)`, 'gi');

/** Replaces the variables of a text. @throws CommandError that quotes what cannot be replaced. */
export function substitute(template: string, environment: Environment, path: string): string {
  const invalid = (what: string): CommandError =>
    new CommandError(
      `invalid interpolation format for ${path}: ${JSON.stringify(what)}; you may need to escape any $ with another $`,
    );
  return template.replace(pattern, (_all, dollar, plain, plainMark, plainRest, braced, bracedMark, bracedRest) => {
    if (dollar) return '$';
    const name: string | undefined = plain ?? braced;
    if (name === undefined) throw invalid(template);
    const mark: string = plainMark ?? bracedMark ?? '';
    const rest: string = plainRest ?? bracedRest ?? '';
    const value = environment[name];
    const isThere = value !== undefined && (value !== '' || !mark.startsWith(':'));
    if (isThere || mark === '') return value ?? '';
    if (mark.endsWith('?')) throw invalid(`required variable ${name} is missing a value: ${rest}`);
    return rest;
  });
}

const toInteger: Cast = (text) => {
  if (!/^[+-]?\d+$/.test(text)) throw syntaxError('Atoi', text);
  return Number(text);
};
const toNumber: Cast = (text) => {
  if (text.trim() === '' || Number.isNaN(Number(text))) throw syntaxError('ParseFloat', text);
  return Number(text);
};
const toBoolean: Cast = (text) => {
  if (/^(y|yes|true|on)$/i.test(text)) return true;
  if (/^(n|no|false|off)$/i.test(text)) return false;
  throw new CommandError(`invalid boolean: ${text}`);
};

/** Where a variable's text becomes a number or a boolean (docker/cli: interpolateTypeCastMapping). */
const casts: readonly (readonly [string, Cast])[] = [
  ['services.*.configs.[].mode', toInteger],
  ['services.*.secrets.[].mode', toInteger],
  ['services.*.healthcheck.retries', toInteger],
  ['services.*.healthcheck.disable', toBoolean],
  ['services.*.deploy.replicas', toInteger],
  ['services.*.deploy.update_config.parallelism', toInteger],
  ['services.*.deploy.update_config.max_failure_ratio', toNumber],
  ['services.*.deploy.rollback_config.parallelism', toInteger],
  ['services.*.deploy.rollback_config.max_failure_ratio', toNumber],
  ['services.*.deploy.restart_policy.max_attempts', toInteger],
  ['services.*.deploy.placement.max_replicas_per_node', toInteger],
  ['services.*.ports.[].target', toInteger],
  ['services.*.ports.[].published', toInteger],
  ['services.*.ulimits.*', toInteger],
  ['services.*.ulimits.*.hard', toInteger],
  ['services.*.ulimits.*.soft', toInteger],
  ['services.*.oom_score_adj', toInteger],
  ['services.*.read_only', toBoolean],
  ['services.*.stdin_open', toBoolean],
  ['services.*.tty', toBoolean],
  ['services.*.volumes.[].read_only', toBoolean],
  ['services.*.volumes.[].volume.nocopy', toBoolean],
  ['networks.*.external', toBoolean],
  ['networks.*.internal', toBoolean],
  ['networks.*.attachable', toBoolean],
  ['volumes.*.external', toBoolean],
  ['secrets.*.external', toBoolean],
  ['configs.*.external', toBoolean],
];

function castFor(path: readonly string[]): Cast | undefined {
  const matches = (steps: readonly string[]) =>
    steps.length === path.length && steps.every((step, index) => step === '*' || step === path[index]);
  return casts.find(([steps]) => matches(steps.split('.')))?.[1];
}

/** @returns the file with every variable in its values replaced. @throws CommandError in docker's words, with the path. */
export function interpolate(file: JsonObject, environment: Environment): JsonObject {
  return mapped(file, [], environment) as JsonObject;
}

function mapped(value: Json, path: readonly string[], environment: Environment): Json {
  if (Array.isArray(value)) return value.map((item) => mapped(item, [...path, '[]'], environment));
  if (value !== null && typeof value === 'object')
    return Object.fromEntries(
      Object.entries(value).map(([key, item]) => [key, mapped(item, [...path, key], environment)]),
    );
  if (typeof value !== 'string' || !value.includes('$')) return value;
  const text = substitute(value, environment, path.join('.'));
  try {
    return castFor(path)?.(text) ?? text;
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const where = `error while interpolating ${path.join('.')}`;
    throw new CommandError(`${where}: failed to cast to expected type: ${error.message}`, 1, { cause: error });
  }
}
