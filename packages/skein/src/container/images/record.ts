/**
 * Images as records of containerd's image store, which is the only index: one record `sha256:<image ID>` per image, and
 * one per tag and per repository digest, all with the platform's manifest as target. The manifest keeps the config, the
 * config keeps the unpacked layers; the packed layers are not kept, they are needed once.
 */
import { type Containerd, isAlreadyExists, snapshotter } from '../containerd/client.ts';
import type { Image } from '../gen/images_pb.js';
import { type Lease, unpackLayer, writeDocument } from './content.ts';
import { chainIds, type Descriptor, digestOf, type ImageConfig, mediaTypes } from './manifest.ts';

/** Label of every record: the image ID. */
export const imageIdLabel = 'skein.image-id';
/** Label of the record of an image: RFC 3339 time of its last tag. */
export const lastTagLabel = 'skein.last-tag-time';

/** Layers, config and manifest of an image that are ready to be stored. */
export interface NewImage {
  readonly config: ImageConfig;
  readonly configBytes: Uint8Array;
  /** As received; undefined: one is made. */
  readonly manifest?: { bytes: Uint8Array; mediaType: string };
  /** Packed layers in the content store, of the config's diff IDs in order. */
  readonly layers: readonly Descriptor[];
}

/** Unpacks the layers, stores config and manifest and the image's own record. @returns the image ID. */
export async function storeImage(
  containerd: Containerd,
  lease: Lease,
  image: NewImage,
  hooks: { unpacking?: (layer: number) => void; signal?: AbortSignal } = {},
): Promise<{ id: string; target: Descriptor }> {
  const diffIds = image.config.rootfs.diff_ids;
  const chain = chainIds(diffIds);
  for (const [position, chainId] of chain.entries()) {
    hooks.unpacking?.(position);
    const blob = image.layers[position];
    const diffId = diffIds[position];
    if (blob === undefined || diffId === undefined) break;
    await unpackLayer(containerd, lease, { blob, diffId, chainId, parent: chain[position - 1] ?? '' }, hooks.signal);
  }
  const id = digestOf(image.configBytes);
  const top = chain.at(-1);
  await writeDocument(containerd, lease, id, image.configBytes, {
    ...(top !== undefined && { [`containerd.io/gc.ref.snapshot.${snapshotter}`]: top }),
  });
  const manifest = image.manifest ?? makeManifest(image, id);
  const target = { mediaType: manifest.mediaType, digest: digestOf(manifest.bytes), size: manifest.bytes.length };
  await writeDocument(containerd, lease, target.digest, manifest.bytes, { 'containerd.io/gc.ref.content.config': id });
  await putRecord(containerd, id, id, target);
  return { id, target };
}

function makeManifest(image: NewImage, id: string): { bytes: Uint8Array; mediaType: string } {
  const document = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: { mediaType: mediaTypes.dockerConfig, digest: id, size: image.configBytes.length },
    layers: image.layers.map(({ mediaType, digest, size }) => ({ mediaType, digest, size })),
  };
  return { bytes: Buffer.from(JSON.stringify(document)), mediaType: mediaTypes.ociManifest };
}

/** Creates or moves a record. */
export async function putRecord(
  containerd: Containerd,
  name: string,
  imageId: string,
  target: Pick<Descriptor, 'mediaType' | 'digest' | 'size'>,
  labels: Record<string, string> = {},
): Promise<void> {
  const image = {
    name,
    labels: { [imageIdLabel]: imageId, ...labels },
    target: { mediaType: target.mediaType, digest: target.digest, size: BigInt(target.size) },
  };
  try {
    await containerd.images.create({ image });
  } catch (error) {
    if (!isAlreadyExists(error)) throw error;
    const paths = ['target', ...Object.keys(image.labels).map((label) => `labels.${label}`)];
    await containerd.images.update({ image, updateMask: { paths } });
  }
}

/** @returns the image ID that a record stands for. */
export function recordImageId(record: Image): string {
  return record.labels[imageIdLabel] ?? '';
}
