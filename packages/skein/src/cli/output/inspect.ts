import { EngineError } from '../client/client.ts';
import { indentJson, type Json, parseJson } from '../client/json.ts';
import type { Context } from '../command/command.ts';
import { CommandError } from '../command/errors.ts';
import { GoTime, mapPolicy, type Template, TemplateError, type Value } from '../template/index.ts';
import { readTemplate } from './listing.ts';

/** Exit code of `inspect` with a template that does not parse (docker/cli: StatusError in inspect). */
const badTemplateExitCode = 64;

/**
 * `inspect`: prints the objects as the engine wrote them, indented in one JSON list, or each by a template. What is
 * found is printed even if another name is not.
 * @param fetch gets one object's JSON text by its name.
 */
export async function inspectAll(
  context: Context,
  names: readonly string[],
  format: string,
  fetch: (name: string) => Promise<string>,
): Promise<void> {
  const template =
    format && format !== 'json' ? readTemplate(format, 'template parsing error', badTemplateExitCode) : undefined;
  const found: string[] = [];
  const failures: Error[] = [];
  for (const name of names) {
    try {
      found.push(await fetch(name));
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      failures.push(error);
      if (!(error instanceof EngineError) || error.status !== 404) break;
    }
  }
  if (template) writeByTemplate(context, template, found);
  else context.out.write(asJson(found, format));
  if (failures.length > 0) throw new CommandError(failures.map((error) => error.message).join('\n'));
}

function asJson(found: readonly string[], format: string): string {
  if (format === 'json') return `[${found.map((text) => text.trim()).join(',')}]\n`;
  if (found.length === 0) return '[]\n';
  return `${indentJson(`[${found.join(',')}]`)}\n`;
}

function writeByTemplate({ out }: Context, template: Template, found: readonly string[]): void {
  // docker ends even an empty result, and one that a template does not fit, with a line break.
  if (found.length === 0) out.write('\n');
  for (const text of found) {
    try {
      out.write(`${applyTemplate(template, withTimes(parseJson(text)))}\n`);
    } catch (error) {
      out.write('\n');
      throw error;
    }
  }
}

/** Runs a template on an object. @throws CommandError in docker's words. */
export function applyTemplate(template: Template, data: Value): string {
  try {
    return template.run(data, mapPolicy);
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    throw new CommandError(`template parsing error: ${error.message}`, 1, { cause: error });
  }
}

/** Fields that are times, not texts, in Docker's types of the swarm's objects. */
const timeFields = new Set(['CreatedAt', 'UpdatedAt', 'Timestamp', 'StartedAt', 'CompletedAt']);
/** What tells a network, whose `Created` is a time, and a container, whose `StartedAt` is a text. */
const networkMark = 'IPAM';
const containerMark = 'HostConfig';

/** @returns an inspected object with its times as templates print them. */
export function withTimes(value: Json): Value {
  if (value === null || typeof value !== 'object' || Array.isArray(value) || containerMark in value)
    return value as Value;
  const isNetwork = networkMark in value;
  const walk = (item: Json, key: string): Value => {
    if (typeof item === 'string')
      return timeFields.has(key) || (isNetwork && key === 'Created') ? new GoTime(item) : item;
    if (Array.isArray(item)) return item.map((one) => walk(one, ''));
    if (item === null || typeof item !== 'object') return item;
    return Object.fromEntries(Object.entries(item).map(([name, one]) => [name, walk(one, name)]));
  };
  return walk(value, '');
}
