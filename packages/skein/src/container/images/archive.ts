/** Compression of archives, told by their first bytes (gzip RFC 1952, zstd RFC 8878). */
import { PassThrough, pipeline, type Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { mediaTypes } from './manifest.ts';

const gzipMagic = Buffer.from([0x1f, 0x8b]);
const zstdMagic = Buffer.from([0x28, 0xb5, 0x2f, 0xfd]);

/** @param start the first bytes of the layer. @returns the media type that containerd unpacks it by. */
export function layerMediaType(start: Uint8Array): string {
  const head = Buffer.from(start.subarray(0, zstdMagic.length));
  if (head.subarray(0, gzipMagic.length).equals(gzipMagic)) return mediaTypes.ociLayerGzip;
  if (head.equals(zstdMagic)) return mediaTypes.ociLayerZstd;
  return mediaTypes.ociLayer;
}

/** @returns the archive without gzip or zstd; a plain one as it is. Errors of the source end it with that error. */
export async function* decompressed(archive: Readable): AsyncGenerator<Uint8Array> {
  const iterator = archive[Symbol.asyncIterator]() as AsyncIterator<Buffer>;
  let head = Buffer.alloc(0);
  let ended = false;
  while (head.length < zstdMagic.length && !ended) {
    const { value, done } = await iterator.next();
    if (done) ended = true;
    else head = Buffer.concat([head, value]);
  }
  async function* whole(): AsyncGenerator<Buffer> {
    yield head;
    while (!ended) {
      const { value, done } = await iterator.next();
      if (done) return;
      yield value;
    }
  }
  const mediaType = layerMediaType(head);
  const decoders: Readonly<Record<string, () => NodeJS.ReadWriteStream>> = {
    [mediaTypes.ociLayerGzip]: createGunzip,
    [mediaTypes.ociLayerZstd]: createZstdDecompress,
  };
  const decoder = decoders[mediaType]?.();
  if (!decoder) {
    yield* whole();
    return;
  }
  const output = new PassThrough();
  pipeline(whole(), decoder, output, () => undefined); // An error destroys output with it, which the loop below throws.
  yield* output as AsyncIterable<Buffer>;
}
