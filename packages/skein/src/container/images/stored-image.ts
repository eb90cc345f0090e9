import type { Image } from '../gen/images_pb.js';
import type { ImageConfig } from './manifest.ts';

/** One image with its names. */
export interface StoredImage {
  readonly id: string;
  readonly config: ImageConfig;
  /** Familiar, as in `ubuntu:latest`. */
  readonly tags: string[];
  /** Familiar, as in `ubuntu@sha256:…`. */
  readonly digests: string[];
  /** The key of each layer: it stands for those below it, too. */
  readonly chain: string[];
  /** Bytes of each layer, unpacked. */
  readonly layerSizes: number[];
  readonly lastTagTime: string;
  readonly target: NonNullable<Image['target']>;
}
