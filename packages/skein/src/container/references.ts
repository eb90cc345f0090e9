/** Image references, as distribution/reference parses them: `[domain/]path[:tag][@digest]`. */
import { SkeinError } from '../common/index.ts';

export const defaultDomain = 'docker.io';
export const defaultTag = 'latest';
/** distribution/reference NameTotalLengthMax. */
const maximumNameLength = 255;

const alphanumeric = '[a-z0-9]+';
const separator = '(?:\\.|_|__|-+)';
const component = `${alphanumeric}(?:${separator}${alphanumeric})*`;
const domainComponent = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const domainPattern = `(?:${domainComponent}(?:\\.${domainComponent})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?`;
const tagPattern = '[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}';
const digestPattern = '[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}';

const domainForm = new RegExp(`^${domainPattern}$`);
const pathForm = new RegExp(`^${component}(?:/${component})*$`);
const tagForm = new RegExp(`^${tagPattern}$`);
const digestForm = new RegExp(`^${digestPattern}$`);
const sha256Form = /^sha256:[0-9a-f]{64}$/;
const identifierForm = /^[a-f0-9]{64}$/;

/** A parsed, normalised reference. Without tag and digest it names a repository. */
export interface Reference {
  /** Host and port, as in `docker.io`. */
  readonly domain: string;
  /** As in `library/ubuntu`. */
  readonly path: string;
  readonly tag?: string;
  readonly digest?: string;
}

function invalid(): SkeinError {
  return new SkeinError('InvalidArgument', 'invalid reference format');
}

function splitDomain(name: string): [string, string] {
  const slash = name.indexOf('/');
  const first = slash === -1 ? '' : name.slice(0, slash);
  if (slash === -1 || (!/[.:]/.test(first) && first !== 'localhost' && first.toLowerCase() === first)) {
    return [defaultDomain, name.includes('/') ? name : `library/${name}`];
  }
  const domain = first === 'index.docker.io' ? defaultDomain : first;
  const rest = name.slice(slash + 1);
  return [domain, domain === defaultDomain && !rest.includes('/') ? `library/${rest}` : rest];
}

/** @throws SkeinError InvalidArgument, in Docker's words. */
export function parseReference(text: string): Reference {
  if (identifierForm.test(text)) {
    throw new SkeinError(
      'InvalidArgument',
      `invalid repository name (${text}), cannot specify 64-byte hexadecimal strings`,
    );
  }
  const [beforeDigest = '', digest, ...more] = text.split('@');
  if (more.length > 0 || (digest !== undefined && !digestForm.test(digest))) throw invalid();
  if (digest?.startsWith('sha256:') && !sha256Form.test(digest)) throw invalid();
  const colon = beforeDigest.lastIndexOf(':');
  const hasTag = colon > beforeDigest.lastIndexOf('/');
  const name = hasTag ? beforeDigest.slice(0, colon) : beforeDigest;
  const tag = hasTag ? beforeDigest.slice(colon + 1) : undefined;
  if (tag !== undefined && !tagForm.test(tag)) throw invalid();
  const [domain, path] = splitDomain(name);
  if (path.toLowerCase() !== path && domainForm.test(domain)) {
    throw new SkeinError('InvalidArgument', 'invalid reference format: repository name must be lowercase');
  }
  if (!domainForm.test(domain) || !pathForm.test(path)) throw invalid();
  if (domain.length + 1 + path.length > maximumNameLength) {
    throw new SkeinError('InvalidArgument', `repository name must not be more than ${maximumNameLength} characters`);
  }
  return { domain, path, ...(tag !== undefined && { tag }), ...(digest !== undefined && { digest }) };
}

/** @returns the reference, with the tag `latest` when it has neither tag nor digest. */
export function withDefaultTag(reference: Reference): Reference & ({ tag: string } | { digest: string }) {
  if (reference.digest !== undefined) return { ...reference, digest: reference.digest };
  return { ...reference, tag: reference.tag ?? defaultTag };
}

/** @returns domain and path: the full repository name, as in `docker.io/library/ubuntu`. */
export function repositoryName(reference: Reference): string {
  return `${reference.domain}/${reference.path}`;
}

/** @returns the repository as a user writes it: `ubuntu` for `docker.io/library/ubuntu`. */
export function familiarName(reference: Reference): string {
  if (reference.domain !== defaultDomain) return repositoryName(reference);
  return reference.path.replace(/^library\/(?=[^/]*$)/, '');
}

function suffix(reference: Reference): string {
  return `${reference.tag === undefined ? '' : `:${reference.tag}`}${reference.digest === undefined ? '' : `@${reference.digest}`}`;
}

/** @returns the whole reference in full form, as in `docker.io/library/ubuntu:latest`. */
export function fullReference(reference: Reference): string {
  return repositoryName(reference) + suffix(reference);
}

/** @returns the whole reference as a user writes it, as in `ubuntu:latest`. */
export function familiarReference(reference: Reference): string {
  return familiarName(reference) + suffix(reference);
}
