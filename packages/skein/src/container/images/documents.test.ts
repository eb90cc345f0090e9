import assert from 'node:assert/strict';
import { test } from 'node:test';
import { usageOf } from './documents.ts';
import { parseImageConfig } from './manifest.ts';
import type { StoredImage } from './stored-image.ts';

const rootfs = { type: 'layers', diff_ids: [] };
const config = parseImageConfig(Buffer.from(JSON.stringify({ os: 'linux', architecture: 'amd64', rootfs })));
const image = (id: string, layers: Record<string, number>): StoredImage => ({
  id,
  config,
  tags: [id],
  digests: [],
  chain: Object.keys(layers),
  layerSizes: Object.values(layers),
  lastTagTime: '',
  target: {} as StoredImage['target'],
});

test('a layer that two images have is counted once, and as shared in both', () => {
  const { images, layersSize } = usageOf([
    image('a', { base: 100, a: 10 }),
    image('b', { base: 100 }),
    image('c', { c: 1 }),
  ]);
  assert.equal(layersSize, 111);
  assert.deepEqual(
    images.map(({ Size, SharedSize }) => [Size, SharedSize]),
    [
      [110, 100],
      [100, 100],
      [1, 0],
    ],
  );
});
