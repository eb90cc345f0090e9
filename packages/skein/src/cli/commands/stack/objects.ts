/** What is in the swarm of stacks. */
import { asList, asObject, asText, at, type JsonObject } from '../../client/json.ts';
import type { Context } from '../../command/command.ts';
import { CommandError } from '../../command/errors.ts';
import { filterQuery } from '../filters.ts';

/** The label that everything of a stack has (docker/cli: LabelNamespace). */
export const namespaceLabel = 'com.docker.stack.namespace';

/** @returns the name of a network, or of an object with a spec. */
export const nameOf = (item: JsonObject): string => asText(at(item, 'Spec', 'Name')) || asText(item.Name);

/** @param stack undefined: of all stacks. @returns what belongs to stacks. */
export async function labelled(
  context: Context,
  path: string,
  stack?: string,
  filters: readonly string[] = [],
  query: Record<string, string> = {},
): Promise<JsonObject[]> {
  const label = stack === undefined ? namespaceLabel : `${namespaceLabel}=${stack}`;
  const found = await context.client.json('GET', path, {
    query: { filters: filterQuery(filters, { label: [label] }), ...query },
  });
  return asList(found).map(asObject);
}

/** @throws CommandError in docker's words for what no stack can be called. */
export function checkedName(name: string): string {
  if (name.trim() !== '' && !/['"`\s]/.test(name)) return name;
  throw new CommandError(`invalid stack name: "${name}"`);
}
