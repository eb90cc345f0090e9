/** What a registry has for a reference, without fetching the image: GET /distribution/X/json. */
import { digestOf, hostPlatform, isIndex, parseImageConfig, parseIndex, parseManifest } from '../images/manifest.ts';
import type { Reference } from '../references.ts';
import type { RegistryAuth } from '../types.ts';
import { RepositoryClient } from './client.ts';

/** @returns descriptor and platforms. @throws SkeinError in Docker's words. */
export async function resolveReference(
  reference: Reference,
  auth?: RegistryAuth,
): Promise<{ descriptor: Record<string, unknown>; platforms: { architecture: string; os: string }[] }> {
  const client = new RepositoryClient(reference, auth ? { auth } : {});
  const { mediaType, bytes } = await client.manifest(reference.digest ?? reference.tag ?? 'latest');
  const descriptor = { mediaType, digest: digestOf(bytes), size: bytes.length };
  if (isIndex(mediaType)) {
    const platforms = parseIndex(bytes).manifests.flatMap(({ platform }) => (platform ? [platform] : []));
    return { descriptor, platforms };
  }
  const { architecture, os } = parseImageConfig(await client.document(parseManifest(bytes).config));
  return { descriptor, platforms: [{ architecture: architecture || hostPlatform().architecture, os }] };
}
