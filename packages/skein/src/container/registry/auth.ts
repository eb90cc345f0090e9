/** Authentication to a registry: basic, and the token scheme of the distribution specification (spec/auth/token). */
import { SkeinError } from '../../common/index.ts';
import type { RegistryAuth } from '../types.ts';
import { boundedText } from './bounded.ts';

/** A `WWW-Authenticate` header (RFC 9110, 11.6.1), of one challenge. */
export interface Challenge {
  /** Lower case, as in `bearer`. */
  readonly scheme: string;
  readonly parameters: Readonly<Record<string, string>>;
}

export function parseChallenge(header: string): Challenge {
  const [, scheme = '', rest = ''] = /^\s*(\S+)\s*(.*)$/s.exec(header) ?? [];
  const parameters: Record<string, string> = {};
  for (const [, name = '', quoted, plain] of rest.matchAll(/([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,]+))/g)) {
    parameters[name.toLowerCase()] = quoted?.replace(/\\(.)/g, '$1') ?? plain ?? '';
  }
  return { scheme: scheme.toLowerCase(), parameters };
}

type Fetch = (url: string, headers: Record<string, string>) => Promise<Response>;

function basic(auth: RegistryAuth | undefined): string | undefined {
  if (!auth?.username) return undefined;
  return `Basic ${Buffer.from(`${auth.username}:${auth.password ?? ''}`).toString('base64')}`;
}

/**
 * Answers a challenge. @returns the value of the `Authorization` header.
 * @throws SkeinError when credentials are wanted and there are none, or the token server refuses them.
 */
export async function authorize(
  header: string,
  options: { scope: string; auth?: RegistryAuth; fetch: Fetch },
): Promise<string> {
  const { scheme, parameters } = parseChallenge(header);
  const credentials = basic(options.auth);
  if (scheme === 'basic') {
    if (credentials) return credentials;
    throw new SkeinError('Unauthenticated', 'no basic auth credentials');
  }
  if (scheme !== 'bearer' || !parameters.realm) {
    throw new SkeinError(
      'Unauthenticated',
      `the registry asks for an authentication that skein does not know: ${header}`,
    );
  }
  const url = new URL(parameters.realm);
  if (parameters.service) url.searchParams.set('service', parameters.service);
  url.searchParams.set('scope', parameters.scope ?? options.scope);
  if (options.auth?.username) url.searchParams.set('account', options.auth.username);
  const response = await options.fetch(url.toString(), credentials ? { authorization: credentials } : {});
  if (!response.ok) {
    await response.body?.cancel();
    throw new SkeinError('Unauthenticated', 'unauthorized: incorrect username or password');
  }
  const body = JSON.parse(await boundedText(response)) as { token?: unknown; access_token?: unknown };
  const token = body.token ?? body.access_token;
  if (typeof token !== 'string')
    throw new SkeinError('Unknown', 'authorization server did not include a token in the response');
  return `Bearer ${token}`;
}
