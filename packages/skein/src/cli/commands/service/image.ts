import { registryCredentials } from '../../client/credentials.ts';
import { asList, asObject, asText, at, type JsonObject } from '../../client/json.ts';
import type { Context } from '../../command/command.ts';
import { CommandError } from '../../command/errors.ts';
import { inside } from './scalars.ts';

/** @returns the image's name as docker keeps it: Docker Hub's prefix dropped, `latest` where there is no tag. */
export function familiarImage(text: string): string {
  // What is no name at all goes to the engine as it is, which says so in its words.
  if (!/^[a-z0-9][\w./:@-]*$/i.test(text) || /^[0-9a-f]{64}$/.test(text)) return text;
  const name = text.replace(/^(?:docker\.io\/|index\.docker\.io\/)(?:library\/)?/, '');
  const last = name.slice(name.lastIndexOf('/') + 1);
  return last.includes(':') || name.includes('@') ? name : `${name}:latest`;
}

/** @returns the headers that carry the user's credentials for an image's registry, none if there are none. */
export function credentialHeaders(context: Context, image: string): Readonly<Record<string, string>> {
  const credentials = registryCredentials(image, context.environment);
  return credentials === undefined ? {} : { 'X-Registry-Auth': credentials };
}

/** What is told when the registry does not answer for an image (Docker's client: digestWarning). */
function digestWarning(image: string): string {
  return [
    `image ${image} could not be accessed on a registry to record`,
    `its digest. Each node will access ${image} independently,`,
    'possibly leading to different nodes running different',
    'versions of the image.\n',
  ].join('\n');
}

/**
 * Asks the registry, through the engine, for the image's digest and platforms and pins the spec to them, so that all
 * nodes run the same image. @returns the warning if it does not answer; the service is created anyway.
 */
export async function resolveDigest(
  context: Context,
  spec: JsonObject,
  headers: Readonly<Record<string, string>>,
): Promise<string[]> {
  const container = inside(spec, 'TaskTemplate', 'ContainerSpec');
  const image = asText(container.Image);
  try {
    const found = await context.client.json(
      'GET',
      `/distribution/${image.split('/').map(encodeURIComponent).join('/')}/json`,
      { headers },
    );
    const digest = asText(at(found, 'Descriptor', 'digest'));
    if (digest && !image.includes('@')) container.Image = `${image}@${digest}`;
    const platforms = asList(at(found, 'Platforms')).map(asObject);
    if (platforms.length > 0) {
      inside(spec, 'TaskTemplate', 'Placement').Platforms = platforms.map((platform) => ({
        Architecture: asText(platform.architecture),
        OS: asText(platform.os),
      }));
    }
    return [];
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    return [digestWarning(image)];
  }
}
