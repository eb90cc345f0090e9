/**
 * Volumes: directories that outlive containers (named ones) or go with theirs (anonymous ones). An empty volume begins
 * with what the image has at its place, as Docker's.
 */
import { execFile } from 'node:child_process';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { snapshotter } from './containerd/client.ts';
import type { Context } from './context.ts';
import type { Mount } from './gen/types_pb.js';
import { volumePath } from './oci/mounts.ts';
import { layerDirectories, resolveRootPath } from './oci/rootfs.ts';
import type { ContainerRecord } from './state.ts';

const run = promisify(execFile);

/** Mounts the root ($1 type, $2 options, $3 source, $4 where) and copies $5 of it into $6. */
const copyScript = 'mount -t "$1" -o "$2" "$3" "$4" && cp -a "$4$5/." "$6"';

/** Makes the container's volumes, after its root file system. Safe to repeat. */
export async function prepareVolumes(context: Context, record: ContainerRecord): Promise<void> {
  const volumes = record.hostConfig.Mounts.filter(({ Type }) => Type === 'volume');
  if (volumes.length === 0) return;
  const { mounts } = await context.containerd.snapshots.mounts({ snapshotter, key: record.id });
  const [root] = mounts;
  for (const { Source, Target } of volumes) {
    const path = volumePath(context.volumeDirectory, Source ?? '');
    await mkdir(path, { recursive: true, mode: 0o755 });
    if ((await readdir(path)).length > 0) continue;
    const inside = await resolveRootPath(layerDirectories(mounts), Target);
    if (root && inside !== undefined) await copyOut(context, record.id, root, inside, path);
  }
}

/** In a mount namespace of its own, so that no crash leaves the mount behind. */
async function copyOut(context: Context, id: string, root: Mount, inside: string, path: string): Promise<void> {
  const mountPoint = join(context.runDirectory, id, 'rootfs');
  await mkdir(mountPoint, { recursive: true, mode: 0o700 });
  const options = [...root.options, 'ro'].join(',');
  const script = ['sh', '-c', copyScript, 'sh', root.type, options, root.source, mountPoint, inside, path];
  await run('unshare', ['--mount', '--propagation', 'private', ...script]);
  await rm(mountPoint, { recursive: true });
}

/** Takes a container's anonymous volumes. Safe to repeat. */
export async function removeAnonymousVolumes(context: Context, record: ContainerRecord): Promise<void> {
  for (const name of record.anonymousVolumes) {
    await rm(join(context.volumeDirectory, name), { recursive: true, force: true });
  }
}
