/** `docker pull`: manifest for this machine, then config and layers, verified, at most three at a time. */
import { SkeinError } from '../../common/index.ts';
import type { Containerd } from '../containerd/client.ts';
import { familiarName, familiarReference, fullReference, type Reference, repositoryName } from '../references.ts';
import { RepositoryClient } from '../registry/client.ts';
import { nowText } from '../time.ts';
import type { PullProgress, RegistryAuth } from '../types.ts';
import { AsyncQueue } from './async-queue.ts';
import { hasBlob, keepSnapshot, type Lease, openLease, writeBlob } from './content.ts';
import {
  chainIds,
  type Descriptor,
  digestOf,
  isIndex,
  parseImageConfig,
  parseIndex,
  parseManifest,
  selectPlatform,
} from './manifest.ts';
import { lastTagLabel, putRecord, storeImage } from './record.ts';

/** moby daemon config: max-concurrent-downloads. */
const concurrentDownloads = 3;
/** Tries to go on with a transfer that was cut (moby: max-download-attempts). */
const downloadAttempts = 5;
/** Between two progress lines of a layer, in milliseconds. */
const progressIntervalMs = 100;
const shortIdLength = 12;

type Report = (progress: PullProgress) => void;

const shortId = (digest: string): string => digest.slice('sha256:'.length, 'sha256:'.length + shortIdLength);

/** @yields Docker's progress lines. @throws SkeinError in Docker's words. */
export async function* pullImage(
  containerd: Containerd,
  reference: Reference,
  options: { auth?: RegistryAuth; signal?: AbortSignal },
): AsyncGenerator<PullProgress> {
  const lines = new AsyncQueue<PullProgress>();
  const left = new AbortController();
  const signal = AbortSignal.any([left.signal, ...(options.signal ? [options.signal] : [])]);
  const work = pull(containerd, reference, { ...options, signal }, (line) => lines.push(line)).then(
    () => lines.end(),
    (error: unknown) => lines.fail(error),
  );
  try {
    yield* lines;
  } finally {
    left.abort(); // A reader who leaves ends the pull.
    await work;
  }
}

async function pull(
  containerd: Containerd,
  reference: Reference,
  options: { auth?: RegistryAuth; signal?: AbortSignal },
  report: Report,
): Promise<void> {
  const client = new RepositoryClient(reference, options);
  const wanted = reference.digest ?? reference.tag ?? 'latest';
  const repository = repositoryName(reference);
  const top = await client.manifest(wanted);
  const topDigest = digestOf(top.bytes);
  if (reference.digest !== undefined && reference.digest !== topDigest) {
    throw new SkeinError('InvalidArgument', `manifest verification failed for digest ${reference.digest}`);
  }
  report({
    status: `Pulling from ${reference.domain === 'docker.io' ? reference.path : familiarName(reference)}`,
    id: wanted,
  });
  const chosen = isIndex(top.mediaType) ? await platformManifest(client, reference, top.bytes) : top;
  const manifest = parseManifest(chosen.bytes);
  await using lease = await openLease(containerd);
  const configBytes = await client.document(manifest.config);
  const config = parseImageConfig(configBytes);
  if (config.rootfs.diff_ids.length !== manifest.layers.length) {
    throw new SkeinError('InvalidArgument', 'the image config does not fit the manifest: different numbers of layers');
  }
  const existing = await fetchLayers(
    containerd,
    client,
    lease,
    { layers: manifest.layers, chain: chainIds(config.rootfs.diff_ids) },
    report,
    options.signal,
  );
  const before = await imageIdOf(containerd, fullReference(reference));
  const { id, target } = await storeImage(
    containerd,
    lease,
    { config, configBytes, manifest: chosen, layers: manifest.layers },
    {
      unpacking: (position) => {
        const layer = manifest.layers[position];
        if (layer && !existing.has(layer)) report({ status: 'Extracting', id: shortId(layer.digest) });
      },
      ...(options.signal && { signal: options.signal }),
    },
  );
  for (const layer of manifest.layers) {
    if (!existing.has(layer)) report({ status: 'Pull complete', id: shortId(layer.digest) });
  }
  if (reference.digest === undefined) await putRecord(containerd, fullReference(reference), id, target);
  await putRecord(containerd, `${repository}@${topDigest}`, id, target);
  if (reference.digest === undefined) await putRecord(containerd, id, id, target, { [lastTagLabel]: nowText() });
  report({ status: `Digest: ${topDigest}` });
  const outcome = before === id ? 'Image is up to date for' : 'Downloaded newer image for';
  report({ status: `Status: ${outcome} ${familiarReference(reference)}` });
}

async function imageIdOf(containerd: Containerd, name: string): Promise<string | undefined> {
  const { images } = await containerd.images.list({ filters: [`name==${JSON.stringify(name)}`] });
  return images[0]?.labels['skein.image-id'];
}

async function platformManifest(
  client: RepositoryClient,
  reference: Reference,
  index: Uint8Array,
): Promise<{ mediaType: string; bytes: Buffer }> {
  const entry = selectPlatform(parseIndex(index).manifests);
  if (!entry) {
    throw new SkeinError(
      'NotFound',
      `no matching manifest for linux/${process.arch === 'x64' ? 'amd64' : process.arch} in the manifest list entries`,
    );
  }
  const manifest = await client.manifest(entry.digest);
  if (digestOf(manifest.bytes) !== entry.digest) {
    throw new SkeinError(
      'InvalidArgument',
      `manifest verification failed for digest ${entry.digest} of ${familiarName(reference)}`,
    );
  }
  return { ...manifest, mediaType: entry.mediaType || manifest.mediaType };
}

/** @returns the layers that were there already. */
async function fetchLayers(
  containerd: Containerd,
  client: RepositoryClient,
  lease: Lease,
  image: { layers: readonly Descriptor[]; chain: readonly string[] },
  report: Report,
  signal: AbortSignal | undefined,
): Promise<Set<Descriptor>> {
  const existing = new Set<Descriptor>();
  const pending: Descriptor[] = [];
  for (const [position, layer] of image.layers.entries()) {
    const exists = await keepSnapshot(containerd, lease, image.chain[position] ?? '');
    if (exists) existing.add(layer);
    report({ status: exists ? 'Already exists' : 'Pulling fs layer', id: shortId(layer.digest) });
    if (!exists && !pending.some(({ digest }) => digest === layer.digest)) pending.push(layer);
  }
  const workers = Array.from({ length: concurrentDownloads }, async () => {
    for (let layer = pending.shift(); layer; layer = pending.shift()) {
      await fetchLayer(containerd, client, lease, layer, report, signal);
    }
  });
  await Promise.all(workers);
  return existing;
}

async function fetchLayer(
  containerd: Containerd,
  client: RepositoryClient,
  lease: Lease,
  layer: Descriptor,
  report: Report,
  signal: AbortSignal | undefined,
): Promise<void> {
  const id = shortId(layer.digest);
  if (!(await hasBlob(containerd, layer.digest))) {
    const source = download(client, layer, (current) => {
      report({ status: 'Downloading', id, progressDetail: { current, total: layer.size } });
    });
    report({ status: 'Verifying Checksum', id });
    await writeBlob(containerd, lease, layer, source, signal);
  }
  report({ status: 'Download complete', id });
}

/** A blob's bytes; a transfer that breaks is taken up where it broke. */
async function* download(
  client: RepositoryClient,
  layer: Descriptor,
  progress: (current: number) => void,
): AsyncGenerator<Uint8Array> {
  let received = 0;
  let reported = 0;
  for (let attempt = 1; received < layer.size || layer.size === 0; attempt++) {
    try {
      for await (const chunk of (await client.blob(layer.digest, received)).body as AsyncIterable<Buffer>) {
        received += chunk.length;
        if (received > layer.size)
          throw new SkeinError('InvalidArgument', `${layer.digest} is larger than its manifest says`);
        yield chunk;
        if (Date.now() - reported < progressIntervalMs) continue;
        reported = Date.now();
        progress(received);
      }
      if (received >= layer.size) return;
    } catch (error) {
      if (attempt >= downloadAttempts || error instanceof SkeinError) throw error;
    }
    if (attempt >= downloadAttempts) throw new SkeinError('Unavailable', `unexpected EOF of ${layer.digest}`);
  }
}
