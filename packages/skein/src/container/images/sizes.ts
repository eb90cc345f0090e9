/** Sizes of unpacked layers on disk. */
import { type Containerd, snapshotter, unlessNotFound } from '../containerd/client.ts';

/** @returns bytes of each layer of a chain. */
export async function chainSizes(containerd: Containerd, chain: readonly string[]): Promise<number[]> {
  return await Promise.all(
    chain.map(async (key) => {
      const usage = await unlessNotFound(containerd.snapshots.usage({ snapshotter, key }));
      return Number(usage?.size ?? 0n);
    }),
  );
}
