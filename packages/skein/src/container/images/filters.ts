/** The filters of `docker images`. */
import { matchesGlob } from 'node:path';
import { SkeinError } from '../../common/index.ts';
import type { Filters } from '../types.ts';
import type { StoredImage } from './stored-image.ts';

type Matcher = (
  image: StoredImage,
  value: string,
  createdOf: (reference: string) => Promise<string>,
) => boolean | Promise<boolean>;

const created = (image: StoredImage): number => Date.parse(image.config.created ?? '');

const matchesReference = (name: string, pattern: string): boolean =>
  matchesGlob(name, pattern) || matchesGlob(name.replace(/(@|:(?!.*[:/])).*$/, ''), pattern);

const matchers: Readonly<Record<string, Matcher>> = {
  dangling: (image, value) => (image.tags.length === 0) === ['true', '1'].includes(value),
  label: (image, value) => {
    const [name = '', wanted] = value.split(/=(.*)/s);
    const label = image.config.config?.Labels?.[name];
    return label !== undefined && (wanted === undefined || label === wanted);
  },
  before: async (image, value, createdOf) => created(image) < Date.parse(await createdOf(value)),
  since: async (image, value, createdOf) => created(image) > Date.parse(await createdOf(value)),
  reference: (image, value) => [...image.tags, ...image.digests].some((name) => matchesReference(name, value)),
};
/** Filters of which any value suffices; of the others all must match. */
const anyOf = new Set(['reference', 'dangling']);

/** @throws SkeinError InvalidArgument for a filter that Docker does not know. */
export async function matchesFilters(
  image: StoredImage,
  filters: Filters,
  createdOf: (reference: string) => Promise<string>,
): Promise<boolean> {
  for (const [name, values] of Object.entries(filters)) {
    const matcher = matchers[name];
    if (!matcher) throw new SkeinError('InvalidArgument', `invalid filter '${name}'`);
    const results = await Promise.all(values.map((value) => matcher(image, value, createdOf)));
    if (results.length === 0) continue;
    if (!(anyOf.has(name) ? results.some(Boolean) : results.every(Boolean))) return false;
  }
  return true;
}

/** @returns the image with the names only that a `reference` filter asks for (moby daemon/images: Images). */
export function withAskedNames(image: StoredImage, { reference: patterns = [] }: Filters): StoredImage {
  if (patterns.length === 0) return image;
  const isAsked = (name: string): boolean => patterns.some((pattern) => matchesReference(name, pattern));
  return { ...image, tags: image.tags.filter(isAsked), digests: image.digests.filter(isAsked) };
}
