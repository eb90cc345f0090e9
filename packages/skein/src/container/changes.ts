/** `docker diff`: what a container's own layer adds to, changes in and takes from its image. */
import { lstat, readdir } from 'node:fs/promises';
import { join, posix } from 'node:path';
import type { FileChange } from './types.ts';

/** Docker's kinds of change. */
export const changeKind = { modified: 0, added: 1, deleted: 2 } as const;

/** Changes that are listed; a longer list helps nobody. */
const maximumChanges = 100_000;

/**
 * @param layers directories of the overlay, the container's own first.
 * @param mountPoints paths in the container that only stand there to be mounted over.
 */
export async function layerChanges(layers: readonly string[], mountPoints: ReadonlySet<string>): Promise<FileChange[]> {
  const [upper = '', ...lower] = layers;
  const changes: FileChange[] = [];
  const walk = async (path: string): Promise<boolean> => {
    let any = false;
    for (const entry of (await readdir(join(upper, path), { withFileTypes: true })).sort((a, b) =>
      a.name < b.name ? -1 : 1,
    )) {
      const inside = posix.join(path, entry.name);
      if (mountPoints.has(inside) || changes.length >= maximumChanges) continue;
      const isThere = await existsIn(lower, inside);
      if (entry.isCharacterDevice() && (await lstat(join(upper, inside))).rdev === 0) {
        changes.push({ Path: inside, Kind: changeKind.deleted });
        any = true;
        continue;
      }
      const place = changes.push({ Path: inside, Kind: isThere ? changeKind.modified : changeKind.added }) - 1;
      const inner = entry.isDirectory() ? await walk(inside) : true;
      const leadsToMounts = [...mountPoints].some((point) => point.startsWith(`${inside}/`));
      // A directory that is only there for the mounts in it is no change.
      if (entry.isDirectory() && !inner && leadsToMounts) changes.splice(place, 1);
      else any = true;
    }
    return any;
  };
  await walk('/');
  return changes;
}

async function existsIn(layers: readonly string[], path: string): Promise<boolean> {
  for (const layer of layers) {
    const stat = await lstat(join(layer, path)).catch(() => undefined);
    // A character device 0:0 is overlayfs' whiteout (kernel Documentation/filesystems/overlayfs.rst).
    if (stat) return !(stat.isCharacterDevice() && stat.rdev === 0);
  }
  return false;
}
