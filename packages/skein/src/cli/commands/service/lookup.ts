import { asList, asText, at, type JsonObject } from '../../client/json.ts';
import type { Context } from '../../command/command.ts';
import { CommandError } from '../../command/errors.ts';
import { filterQuery } from '../filters.ts';
import { parseFileReference, parseNetwork } from './syntax.ts';

/** @returns the attachments of `--network` flags, names turned into IDs, in the order of the IDs. */
export async function resolveNetworks(context: Context, texts: readonly string[]): Promise<JsonObject[]> {
  const networks = await Promise.all(
    texts.map(async (text) => {
      const network = parseNetwork(text);
      return { ...network, Target: await networkId(context, asText(network.Target)) };
    }),
  );
  return networks.sort((left, right) => (left.Target < right.Target ? -1 : 1));
}

/** @returns the ID of a network of the swarm. */
export async function networkId(context: Context, name: string): Promise<string> {
  const network = await context.client.json('GET', `/networks/${encodeURIComponent(name)}`, {
    query: { scope: 'swarm' },
  });
  return asText(at(network, 'Id'));
}

/** @returns the references of `--secret` or `--config` flags with the IDs that the names stand for. */
export async function resolveFiles(
  context: Context,
  texts: readonly string[],
  kind: 'Secret' | 'Config',
): Promise<JsonObject[]> {
  const files = texts.map((text) => parseFileReference(text, kind));
  const names = files.map((file) => asText(file[`${kind}Name`]));
  const found = await context.client.json('GET', `/${kind.toLowerCase()}s`, {
    query: { filters: filterQuery([], { name: names }) },
  });
  const ids = new Map(asList(found).map((item) => [asText(at(item, 'Spec', 'Name')), asText(at(item, 'ID'))]));
  return files.map((file, index) => {
    const id = ids.get(names[index] ?? '');
    if (!id) throw new CommandError(`${kind.toLowerCase()} not found: ${names[index]}`);
    return { ...file, [`${kind}ID`]: id };
  });
}
