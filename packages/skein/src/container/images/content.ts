/** Blobs and layers in containerd: written under a lease, verified, unpacked onto snapshots. */
import { createHash, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { create } from '@bufbuild/protobuf';
import { Code } from '@connectrpc/connect';
import { SkeinError } from '../../common/index.ts';
import {
  applyTimeoutMs,
  type Containerd,
  fromContainerd,
  hasCode,
  isAlreadyExists,
  isNotFound,
  snapshotter,
  unlessNotFound,
} from '../containerd/client.ts';
import { WriteAction, type WriteContentRequest, WriteContentRequestSchema } from '../gen/content_pb.js';
import { type Descriptor, maximumDocumentBytes } from './manifest.ts';

/** Bytes sent with one write: well below gRPC's 16 MiB limit of containerd. */
const writeChunkBytes = 1024 * 1024;
const abortAttempts = 10;
const abortPauseMs = 50;
/** Bytes of a blob that are kept to tell its compression. */
const headBytes = 8;
/** A lease that nobody ends goes after this many hours. */
const leaseHours = 24;
const leasePrefix = 'skein-';

/** What keeps new blobs and snapshots from being collected until something refers to them. Ended by disposal. */
export interface Lease extends AsyncDisposable {
  readonly id: string;
  /** Call options that put what a call makes under the lease. */
  readonly options: { headers: Record<string, string> };
}

export async function openLease(containerd: Containerd): Promise<Lease> {
  const id = `${leasePrefix}${randomUUID()}`;
  const expire = new Date(Date.now() + leaseHours * 3_600_000).toISOString();
  await containerd.leases.create({ id, labels: { 'containerd.io/gc.expire': expire } });
  return {
    id,
    options: { headers: { 'containerd-lease': id } },
    [Symbol.asyncDispose]: async () => {
      await unlessNotFound(containerd.leases.delete({ id }));
    },
  };
}

/** Ends the leases that a killed daemon had open. To be called before the first is opened. */
export async function endStrayLeases(containerd: Containerd): Promise<void> {
  const { leases } = await containerd.leases.list({});
  for (const { id } of leases.filter((lease) => lease.id.startsWith(leasePrefix)))
    await unlessNotFound(containerd.leases.delete({ id }));
}

/** @returns whether the content store has the blob. */
export async function hasBlob(containerd: Containerd, digest: string): Promise<boolean> {
  return (await unlessNotFound(containerd.content.info({ digest }))) !== undefined;
}

/** @returns a document of the content store. @throws SkeinError when it is larger than a document may be. */
export async function readDocument(containerd: Containerd, digest: string): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  let size = 0;
  try {
    for await (const { data } of containerd.content.read({ digest })) {
      size += data.length;
      if (size > maximumDocumentBytes)
        throw new SkeinError('ResourceExhausted', `${digest} is too large for a document`);
      chunks.push(data);
    }
  } catch (error) {
    throw fromContainerd(error);
  }
  return Buffer.concat(chunks);
}

async function* requests(
  common: { ref: string; expected: string; total: bigint },
  source: AsyncIterable<Uint8Array>,
  labels: Record<string, string>,
  seen: (chunk: Uint8Array) => void,
): AsyncGenerator<WriteContentRequest> {
  let offset = 0n;
  for await (const chunk of source) {
    seen(chunk);
    for (let start = 0; start < chunk.length; start += writeChunkBytes) {
      const data = chunk.subarray(start, start + writeChunkBytes);
      yield create(WriteContentRequestSchema, { ...common, action: WriteAction.WRITE, offset, data });
      offset += BigInt(data.length);
    }
  }
  yield create(WriteContentRequestSchema, { ...common, action: WriteAction.COMMIT, offset, labels });
}

/**
 * Writes a blob; containerd refuses it when it differs from the digest or size that are given. A blob that is there
 * already is left as it is.
 * @param blob labels as `containerd.io/gc.ref.*` name what the blob keeps.
 * @returns digest, size and first bytes of what was written.
 * @throws SkeinError with containerd's words.
 */
export async function writeBlob(
  containerd: Containerd,
  lease: Lease,
  blob: { digest?: string; size?: number; labels?: Record<string, string> },
  source: AsyncIterable<Uint8Array>,
  signal?: AbortSignal,
): Promise<{ digest: string; size: number; head: Uint8Array }> {
  const common = { ref: `skein-${randomUUID()}`, expected: blob.digest ?? '', total: BigInt(blob.size ?? 0) };
  const labels = blob.labels ?? {};
  const hash = createHash('sha256');
  let size = 0;
  let head = Buffer.alloc(0);
  const seen = (chunk: Uint8Array): void => {
    hash.update(chunk);
    size += chunk.length;
    if (head.length < headBytes) head = Buffer.concat([head, chunk.subarray(0, headBytes - head.length)]);
  };
  let exists = false;
  try {
    const options = { ...lease.options, timeoutMs: applyTimeoutMs, ...(signal && { signal }) };
    for await (const _ of containerd.content.write(requests(common, source, labels, seen), options)) {
      // To its end: the answer to the commit is the last.
    }
  } catch (error) {
    exists = isAlreadyExists(error);
    if (!exists) {
      await abortWrite(containerd, common.ref);
      throw fromContainerd(error);
    }
  }
  const digest = exists && blob.digest !== undefined ? blob.digest : `sha256:${hash.digest('hex')}`;
  if (exists) await keepExisting(containerd, lease, digest, labels);
  return { digest, size: exists && blob.size !== undefined ? blob.size : size, head };
}

/**
 * Drops what was written of a blob. The write whose stream has just been cut may still have its file open, which fails
 * the removal: it is tried again then. What stays all the same, containerd collects with the lease.
 */
async function abortWrite(containerd: Containerd, ref: string): Promise<void> {
  for (let attempt = 1; attempt <= abortAttempts; attempt++) {
    const done = await unlessNotFound(containerd.content.abort({ ref })).then(
      () => true,
      (error: unknown) => !hasCode(error, Code.Unknown),
    );
    if (done) return;
    await sleep(abortPauseMs);
  }
}

/** Puts a blob that is there already under the lease, and under the labels. */
async function keepExisting(
  containerd: Containerd,
  lease: Lease,
  digest: string,
  labels: Record<string, string>,
): Promise<void> {
  await containerd.leases.addResource({ id: lease.id, resource: { id: digest, type: 'content' } });
  await relabel(containerd, digest, labels);
}

async function relabel(containerd: Containerd, digest: string, labels: Record<string, string>): Promise<void> {
  const paths = Object.keys(labels).map((name) => `labels.${name}`);
  if (paths.length > 0) await containerd.content.update({ info: { digest, labels }, updateMask: { paths } });
}

/** Writes a document that is in memory. */
export async function writeDocument(
  containerd: Containerd,
  lease: Lease,
  digest: string,
  bytes: Uint8Array,
  labels: Record<string, string>,
): Promise<void> {
  async function* once(): AsyncGenerator<Uint8Array> {
    yield bytes;
  }
  await writeBlob(containerd, lease, { digest, size: bytes.length, labels }, once());
}

/** Puts a layer chain under the lease, so that no removal takes it. @returns whether it is unpacked already. */
export async function keepSnapshot(containerd: Containerd, lease: Lease, chainId: string): Promise<boolean> {
  await containerd.leases.addResource({ id: lease.id, resource: { id: chainId, type: `snapshots/${snapshotter}` } });
  return (await unlessNotFound(containerd.snapshots.stat({ snapshotter, key: chainId }))) !== undefined;
}

/**
 * Unpacks one layer of the content store onto its parent chain.
 * @throws SkeinError when the layer's contents are not those of its diff ID.
 */
export async function unpackLayer(
  containerd: Containerd,
  lease: Lease,
  layer: { blob: Descriptor; diffId: string; chainId: string; parent: string },
  signal?: AbortSignal,
): Promise<void> {
  const { blob, chainId, parent } = layer;
  if (await keepSnapshot(containerd, lease, chainId)) return;
  const key = `unpack-${randomUUID()} ${chainId}`;
  try {
    const { mounts } = await containerd.snapshots.prepare({ snapshotter, key, parent }, lease.options);
    const { applied } = await containerd.diff.apply(
      { diff: { mediaType: blob.mediaType, digest: blob.digest, size: BigInt(blob.size) }, mounts },
      { timeoutMs: applyTimeoutMs, ...(signal && { signal }) },
    );
    if (applied?.digest !== layer.diffId) {
      throw new SkeinError('InvalidArgument', `wrong diff id calculated on extraction "${applied?.digest}"`);
    }
    await containerd.snapshots.commit({ snapshotter, name: chainId, key }, lease.options);
  } catch (error) {
    await containerd.snapshots.remove({ snapshotter, key }).catch((cause: unknown) => {
      if (!isNotFound(cause)) throw cause;
    });
    if (!isAlreadyExists(error)) throw fromContainerd(error);
  }
}
