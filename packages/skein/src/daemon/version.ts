import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { ProductVersion } from '../engine/index.ts';

/** What this build is; the version is package.json's. The bundle's build fills in commit and time. */
export const productVersion: ProductVersion = {
  version: '0.1.0',
  gitCommit: process.env.SKEIN_BUILD_COMMIT ?? '',
  buildTime: process.env.SKEIN_BUILD_TIME ?? '',
};

/** @returns this engine's ID, made once and kept in the data root. */
export function engineId(dataRoot: string): string {
  const file = join(dataRoot, 'engine-id');
  if (!existsSync(file)) writeFileSync(file, `${randomUUID()}\n`, { mode: 0o644 });
  return readFileSync(file, 'utf8').trim();
}
