import { readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { CommandError } from '../command/errors.ts';
import { asObject, asText, at, type JsonObject, parseJson } from './json.ts';

/** Docker Hub's host in an image's name, and the name under which `docker login` keeps its credentials. */
const hub = 'docker.io';
const hubServer = 'https://index.docker.io/v1/';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * The user's credentials for an image's registry, from Docker's configuration file (`docker login` writes it).
 * @returns the value of the header `X-Registry-Auth`: base64url JSON; undefined where there are none.
 * @throws CommandError when the file cannot be read as such, or a credential helper keeps them.
 */
export function registryCredentials(image: string, environment: Environment): string | undefined {
  const path = join(environment.DOCKER_CONFIG || join(environment.HOME || homedir(), '.docker'), 'config.json');
  const config = readConfiguration(path);
  const registry = registryOf(image);
  const server = registry === hub ? hubServer : registry;
  const entry = Object.entries(asObject(config.auths)).find(([name]) => hostOf(name) === hostOf(server));
  const found = asObject(entry?.[1]);
  const helper = asText(at(config.credHelpers, server)) || asText(at(config.credHelpers, registry));
  const isKept = entry !== undefined && asText(found.auth) === '' && asText(found.identitytoken) === '';
  const keeper = helper || (isKept ? asText(config.credsStore) : '');
  if (keeper)
    throw new CommandError(
      `the credentials for ${registry} are kept by the helper docker-credential-${keeper}, which is not asked: put them under "auths" in ${path} (docker login without credsStore and credHelpers)`,
    );
  if (!entry || isKept) return undefined;
  return Buffer.from(JSON.stringify({ ...login(found, registry, path), serveraddress: server })).toString('base64url');
}

function readConfiguration(path: string): JsonObject {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return {};
    throw new CommandError(`cannot read ${path}: ${(error as Error).message}`, 1, { cause: error });
  }
  try {
    return asObject(parseJson(text));
  } catch (error) {
    throw new CommandError(`${path} is no JSON: ${(error as Error).message}`, 1, { cause: error });
  }
}

/** `auth` is `user:password` in base64; an identity token replaces the password. */
function login(found: JsonObject, registry: string, path: string): JsonObject {
  const text = Buffer.from(asText(found.auth), 'base64').toString('utf8');
  const colon = text.indexOf(':');
  const token = asText(found.identitytoken);
  if (colon < 1 && !token)
    throw new CommandError(`"auth" of ${registry} in ${path} is not base64 of user:password: log in again`);
  return {
    ...(colon > 0 && { username: text.slice(0, colon), password: text.slice(colon + 1).replace(/\0+$/, '') }),
    ...(token && { identitytoken: token }),
  };
}

/** @returns the host of an image's registry: the first part of its name if it looks like one. */
export function registryOf(image: string): string {
  const [first = '', ...rest] = image.split('/');
  const isHost = rest.length > 0 && (/[.:]/.test(first) || first === 'localhost');
  return isHost && first !== 'index.docker.io' ? first : hub;
}

/** Entries are named by host, or by URL as old versions of Docker did. */
function hostOf(name: string): string {
  return name.replace(/^https?:\/\//, '').split('/')[0] ?? '';
}
