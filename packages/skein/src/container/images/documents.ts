/** Images as the Engine API shows them: summary, inspect, history. */
import type { ImageInspect, ImageSummary } from '../types.ts';
import type { ImageProcessConfig } from './manifest.ts';
import type { StoredImage } from './stored-image.ts';

/** Seconds of an RFC 3339 time; 0 for none. */
const seconds = (text: string | null | undefined): number => (text ? Math.floor(Date.parse(text) / 1000) : 0);
const sizeOf = (image: StoredImage): number => image.layerSizes.reduce((sum, size) => sum + size, 0);

/** Docker's GraphDriver name for overlayfs. */
export const driverName = 'overlay2';

/** @returns Docker's Config of an image, with every field that Docker always sends. */
export function fullConfig(config: ImageProcessConfig): Record<string, unknown> {
  return {
    Hostname: '',
    Domainname: '',
    User: '',
    AttachStdin: false,
    AttachStdout: false,
    AttachStderr: false,
    Tty: false,
    OpenStdin: false,
    StdinOnce: false,
    Env: null,
    Cmd: null,
    Image: '',
    Volumes: null,
    WorkingDir: '',
    Entrypoint: null,
    OnBuild: null,
    Labels: null,
    ...Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined)),
  };
}

/** @returns one row of `docker images`; Docker sends digests whether asked for or not. */
export function summaryOf(image: StoredImage): ImageSummary {
  const size = sizeOf(image);
  return {
    Containers: -1,
    Created: seconds(image.config.created),
    Id: image.id,
    Labels: image.config.config?.Labels ?? null,
    ParentId: '',
    RepoDigests: image.digests.length > 0 ? image.digests : null,
    RepoTags: image.tags.length > 0 ? image.tags : image.digests.length > 0 ? null : ['<none>:<none>'],
    SharedSize: -1,
    Size: size,
    VirtualSize: size,
  };
}

/** @returns what `docker system df` counts: a layer that several images have takes its space once. */
export function usageOf(images: readonly StoredImage[]): { images: ImageSummary[]; layersSize: number } {
  const layers = new Map<string, { size: number; images: number }>();
  for (const { chain, layerSizes } of images) {
    for (const [index, key] of chain.entries()) {
      layers.set(key, { size: layerSizes[index] ?? 0, images: (layers.get(key)?.images ?? 0) + 1 });
    }
  }
  const sharedBy = ({ chain }: StoredImage): number =>
    chain.reduce((sum, key) => sum + ((layers.get(key)?.images ?? 0) > 1 ? (layers.get(key)?.size ?? 0) : 0), 0);
  return {
    images: images.map((image) => ({ ...summaryOf(image), SharedSize: sharedBy(image) })),
    layersSize: [...layers.values()].reduce((sum, { size }) => sum + size, 0),
  };
}

/** @returns `docker image inspect`. */
export function inspectOf(image: StoredImage): ImageInspect {
  const { config } = image;
  const size = sizeOf(image);
  return {
    Id: image.id,
    RepoTags: image.tags,
    RepoDigests: image.digests,
    Parent: '',
    Comment: config.comment ?? config.history?.at(-1)?.comment ?? '',
    Created: config.created ?? '',
    Container: config.container ?? '',
    ContainerConfig: config.container_config ?? fullConfig({}),
    DockerVersion: config.docker_version ?? '',
    Author: config.author ?? '',
    Config: fullConfig(config.config ?? {}),
    Architecture: config.architecture,
    ...(config.variant && { Variant: config.variant }),
    Os: config.os,
    Size: size,
    VirtualSize: size,
    GraphDriver: { Data: null, Name: driverName },
    RootFS: { Type: 'layers', ...(config.rootfs.diff_ids.length > 0 && { Layers: config.rootfs.diff_ids }) },
    Metadata: { LastTagTime: image.lastTagTime || '0001-01-01T00:00:00Z' },
  };
}

/** @returns `docker history`, newest first: only the newest step is an image of its own. */
export function historyOf(image: StoredImage): Record<string, unknown>[] {
  let layer = 0;
  const steps = (image.config.history ?? []).map((step) => ({
    Id: '<missing>',
    Created: seconds(step.created),
    CreatedBy: step.created_by ?? '',
    Tags: null as string[] | null,
    Size: step.empty_layer ? 0 : (image.layerSizes[layer++] ?? 0),
    Comment: step.comment ?? '',
  }));
  steps.reverse();
  const [newest] = steps;
  if (newest) Object.assign(newest, { Id: image.id, Tags: image.tags.length > 0 ? image.tags : null });
  return steps;
}
