/** GET /system/df: the images', containers' and volumes' sizes as the runtime knows them; there is no build cache. */
import type { JsonObject } from '../json.ts';
import type { Engine } from '../types.ts';
import { containerSummary } from './container.ts';

export async function diskUsage(engine: Engine): Promise<JsonObject> {
  const { images, layersSize } = await engine.runtime.images.usage();
  const containers = await Promise.all(
    (await engine.runtime.list()).map((container) => engine.runtime.inspect(container.Id, { size: true })),
  );
  const using = (imageId: string): number => containers.filter((container) => container.Image === imageId).length;
  return {
    LayersSize: layersSize,
    Images: images.map((image) => ({ ...image, Containers: using(image.Id) })),
    Containers: containers.map((container) => containerSummary(engine, container, { size: true })),
    Volumes: await Promise.all(
      (await engine.runtime.volumes.list()).map(async (volume) => ({
        ...volume,
        UsageData: {
          RefCount: engine.runtime.volumes.users(volume.Name).length,
          Size: await engine.runtime.volumes.size(volume.Name),
        },
      })),
    ),
    BuildCache: null,
    BuilderSize: 0,
  };
}
