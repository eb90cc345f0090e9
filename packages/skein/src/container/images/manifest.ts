/** The documents of an image: descriptors, manifests, indexes and configs of OCI image-spec and Docker's schema 2. */
import { createHash } from 'node:crypto';
import * as z from 'zod';
import { SkeinError } from '../../common/index.ts';

export const mediaTypes = {
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerManifestList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
  dockerLayer: 'application/vnd.docker.image.rootfs.diff.tar',
  dockerLayerGzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociLayer: 'application/vnd.oci.image.layer.v1.tar',
  ociLayerGzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
  ociLayerZstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
} as const;

/** A manifest or config is read whole: at most this many bytes (distribution's maximum manifest size). */
export const maximumDocumentBytes = 4 * 1024 * 1024;

const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);

const descriptor = z.object({
  mediaType: z.string().default(''),
  digest,
  size: z.number().int().nonnegative(),
  platform: z.object({ architecture: z.string(), os: z.string(), variant: z.string().optional() }).loose().optional(),
  annotations: z.record(z.string(), z.string()).nullish(),
});
export type Descriptor = z.infer<typeof descriptor>;

const manifest = z.object({
  mediaType: z.string().optional(),
  config: descriptor,
  layers: z.array(descriptor).max(1024),
});
export type Manifest = z.infer<typeof manifest>;

const index = z.object({ mediaType: z.string().optional(), manifests: z.array(descriptor).max(1024) });
export type Index = z.infer<typeof index>;

const strings = z.array(z.string()).nullish();
const processConfig = z
  .object({
    User: z.string().nullish(),
    Env: strings,
    Entrypoint: strings,
    Cmd: strings,
    WorkingDir: z.string().nullish(),
    Labels: z.record(z.string(), z.string()).nullish(),
    Volumes: z.record(z.string(), z.unknown()).nullish(),
    ExposedPorts: z.record(z.string(), z.unknown()).nullish(),
    StopSignal: z.string().nullish(),
    Healthcheck: z
      .object({
        Test: strings,
        Interval: z.number().optional(),
        Timeout: z.number().optional(),
        Retries: z.number().optional(),
        StartPeriod: z.number().optional(),
        StartInterval: z.number().optional(),
      })
      .nullish(),
  })
  .loose();
/** The process part of an image's config: Docker's `Config`. */
export type ImageProcessConfig = z.infer<typeof processConfig>;

const history = z.object({
  created: z.string().optional(),
  created_by: z.string().optional(),
  author: z.string().optional(),
  comment: z.string().optional(),
  empty_layer: z.boolean().optional(),
});

const imageConfig = z
  .object({
    architecture: z.string().default(''),
    os: z.string().default('linux'),
    variant: z.string().optional(),
    created: z.string().nullish(),
    author: z.string().optional(),
    comment: z.string().optional(),
    container: z.string().optional(),
    docker_version: z.string().optional(),
    config: processConfig.nullish(),
    container_config: z.record(z.string(), z.unknown()).nullish(),
    rootfs: z.object({ type: z.string(), diff_ids: z.array(digest).max(1024) }),
    history: z.array(history).nullish(),
  })
  .loose();
export type ImageConfig = z.infer<typeof imageConfig>;

function parse<T>(schema: z.ZodType<T>, bytes: Uint8Array, what: string): T {
  try {
    return schema.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
  } catch (cause) {
    throw new SkeinError('InvalidArgument', `${what} is malformed`, { cause });
  }
}

export const parseManifest = (bytes: Uint8Array): Manifest => parse(manifest, bytes, 'image manifest');
export const parseIndex = (bytes: Uint8Array): Index => parse(index, bytes, 'image index');
export const parseImageConfig = (bytes: Uint8Array): ImageConfig => parse(imageConfig, bytes, 'image config');

/** @returns whether a media type is an index or a manifest list. */
export function isIndex(mediaType: string): boolean {
  return mediaType === mediaTypes.ociIndex || mediaType === mediaTypes.dockerManifestList;
}

/** @returns `sha256:…` of a document. */
export function digestOf(bytes: Uint8Array | string): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/** @returns the chain IDs of a list of layers (OCI image-spec config.md, "Layer ChainID"). */
export function chainIds(diffIds: readonly string[]): string[] {
  const chain: string[] = [];
  for (const diffId of diffIds) {
    const parent = chain.at(-1);
    chain.push(parent === undefined ? diffId : digestOf(`${parent} ${diffId}`));
  }
  return chain;
}

/** This machine in Go's spelling. */
export function hostPlatform(): { os: 'linux'; architecture: string } {
  const names: Partial<Record<NodeJS.Architecture, string>> = { x64: 'amd64', ia32: '386' };
  return { os: 'linux', architecture: names[process.arch] ?? process.arch };
}

/** @returns the entry of an index for this machine, or undefined. */
export function selectPlatform(manifests: readonly Descriptor[]): Descriptor | undefined {
  const host = hostPlatform();
  const exact = manifests.find((m) => m.platform?.os === host.os && m.platform.architecture === host.architecture);
  return exact ?? manifests.find((m) => m.platform === undefined);
}
