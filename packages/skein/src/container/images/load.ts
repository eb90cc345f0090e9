/** `docker load`: archives of `docker save` and OCI image layouts, read in one pass into the content store. */
import { posix } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { extract } from 'tar-stream';
import * as z from 'zod';
import { SkeinError } from '../../common/index.ts';
import type { Containerd } from '../containerd/client.ts';
import { familiarReference, fullReference, parseReference, withDefaultTag } from '../references.ts';
import { nowText } from '../time.ts';
import { decompressed, layerMediaType } from './archive.ts';
import { type Lease, openLease, readDocument, writeBlob } from './content.ts';
import { type Descriptor, isIndex, parseImageConfig, parseIndex, parseManifest, selectPlatform } from './manifest.ts';
import { lastTagLabel, putRecord, storeImage } from './record.ts';

/** Entries of an archive: far more than any image has. */
const maximumEntries = 20_000;
/** How tar-stream (3) says that an archive ends in the middle: of a header, of a file. */
const cutMessages = new Set(['Unexpected end of data', 'Stream was destroyed']);
/** Annotations with an image's name in an OCI layout (image-spec annotations.md; containerd images/annotations.go). */
const nameAnnotations = ['io.containerd.image.name', 'org.opencontainers.image.ref.name'];

const saveManifest = z
  .array(z.object({ Config: z.string(), RepoTags: z.array(z.string()).nullish(), Layers: z.array(z.string()) }))
  .max(1024);

type Blob = Omit<Descriptor, 'annotations' | 'platform'>;

/** Archive path → blob in the content store. BOUNDED by `maximumEntries`. */
class ArchiveIndex {
  readonly #blobs = new Map<string, Blob>();
  readonly #links = new Map<string, string>();

  add(path: string, blob: Blob): void {
    this.#assertRoom();
    this.#blobs.set(posix.normalize(path), blob);
  }

  /** Old versions of docker save link a layer that is there already. */
  link(path: string, target: string): void {
    this.#assertRoom();
    this.#links.set(posix.normalize(path), posix.normalize(target));
  }

  #assertRoom(): void {
    if (this.#blobs.size + this.#links.size < maximumEntries) return;
    throw new SkeinError('ResourceExhausted', `the archive has more than ${maximumEntries} files`);
  }

  find(path: string): Blob | undefined {
    const normal = posix.normalize(path);
    return this.#blobs.get(normal) ?? this.#blobs.get(this.#links.get(normal) ?? '');
  }

  get(path: string): Blob {
    const blob = this.find(path);
    if (!blob) throw new SkeinError('InvalidArgument', `invalid archive: ${path} is missing`);
    return blob;
  }

  blob(digest: string): Blob {
    return this.get(`blobs/${digest.replace(':', '/')}`);
  }
}

async function readArchive(
  containerd: Containerd,
  lease: Lease,
  archive: Readable,
  signal?: AbortSignal,
): Promise<ArchiveIndex> {
  const index = new ArchiveIndex();
  const entries = extract();
  const feeding = pipeline(Readable.from(decompressed(archive)), entries, signal ? { signal } : {});
  feeding.catch(() => undefined); // The loop throws the same error.
  try {
    for await (const entry of entries) {
      const { name, type, linkname } = entry.header;
      if (type === 'file' || type === 'contiguous-file') {
        const { digest, size, head } = await writeBlob(containerd, lease, {}, entry as AsyncIterable<Buffer>, signal);
        index.add(name, { digest, size, mediaType: layerMediaType(head) });
      } else {
        if (type === 'symlink' && linkname) index.link(name, posix.join(posix.dirname(name), linkname));
        if (type === 'link' && linkname) index.link(name, linkname);
        entry.resume();
      }
    }
    await feeding;
  } catch (error) {
    if (!(error instanceof Error) || !cutMessages.has(error.message)) throw error;
    throw new SkeinError('InvalidArgument', 'unexpected EOF', { cause: error });
  }
  return index;
}

/** An image of an archive, ready to be stored. */
interface Found {
  readonly config: Blob;
  readonly layers: readonly Blob[];
  readonly manifest?: Descriptor;
  readonly tags: readonly string[];
}

async function imagesOfSave(containerd: Containerd, index: ArchiveIndex, manifest: Blob): Promise<Found[]> {
  const bytes = await readDocument(containerd, manifest.digest);
  const parsed = saveManifest.safeParse(JSON.parse(bytes.toString('utf8')));
  if (!parsed.success) throw new SkeinError('InvalidArgument', 'invalid archive: manifest.json is malformed');
  return parsed.data.map((entry) => ({
    config: index.get(entry.Config),
    layers: entry.Layers.map((path) => index.get(path)),
    tags: entry.RepoTags ?? [],
  }));
}

async function imagesOfLayout(containerd: Containerd, index: ArchiveIndex, top: Blob): Promise<Found[]> {
  const found: Found[] = [];
  for (const descriptor of parseIndex(await readDocument(containerd, top.digest)).manifests) {
    const name = nameAnnotations.map((key) => descriptor.annotations?.[key]).find((text) => text?.includes(':'));
    let manifest: Descriptor | undefined = descriptor;
    if (isIndex(descriptor.mediaType)) {
      const inner = parseIndex(await readDocument(containerd, index.blob(descriptor.digest).digest));
      manifest = selectPlatform(
        inner.manifests.filter(({ digest }) => index.find(`blobs/${digest.replace(':', '/')}`)),
      );
    }
    if (!manifest) throw new SkeinError('NotFound', 'the archive has no image for this platform');
    const { config, layers } = parseManifest(await readDocument(containerd, index.blob(manifest.digest).digest));
    found.push({
      config: index.blob(config.digest),
      layers: layers.map((layer) => index.blob(layer.digest)),
      manifest,
      tags: name === undefined ? [] : [name],
    });
  }
  return found;
}

/** Loads every image of an archive. @yields Docker's lines. @throws SkeinError for an archive of neither kind. */
export async function* loadImages(
  containerd: Containerd,
  archive: Readable,
  loaded: (id: string, name: string) => void,
  signal?: AbortSignal,
): AsyncGenerator<{ stream: string }> {
  await using lease = await openLease(containerd);
  const index = await readArchive(containerd, lease, archive, signal);
  const save = index.find('manifest.json');
  const layout = index.find('index.json');
  if (!save && !layout) throw new SkeinError('InvalidArgument', 'open manifest.json: no such file or directory');
  const images = save
    ? await imagesOfSave(containerd, index, save)
    : await imagesOfLayout(containerd, index, layout as Blob);
  for (const image of images) {
    const configBytes = await readDocument(containerd, image.config.digest);
    const manifest = image.manifest && {
      bytes: await readDocument(containerd, image.manifest.digest),
      mediaType: image.manifest.mediaType,
    };
    const config = parseImageConfig(configBytes);
    const { id, target } = await storeImage(
      containerd,
      lease,
      { config, configBytes, layers: image.layers, ...(manifest && { manifest }) },
      signal ? { signal } : {},
    );
    for (const tag of image.tags) {
      const reference = withDefaultTag(parseReference(tag));
      await putRecord(containerd, fullReference(reference), id, target, {});
      await putRecord(containerd, id, id, target, { [lastTagLabel]: nowText() });
      loaded(id, familiarReference(reference));
      yield { stream: `Loaded image: ${familiarReference(reference)}\n` };
    }
    if (image.tags.length === 0) {
      loaded(id, id);
      yield { stream: `Loaded image ID: ${id}\n` };
    }
  }
}
