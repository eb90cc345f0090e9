/** `docker import`: a root file system's archive as an image of one layer. */
import type { Readable } from 'node:stream';
import { SkeinError } from '../../common/index.ts';
import type { Containerd } from '../containerd/client.ts';
import { nowText } from '../time.ts';
import { decompressed } from './archive.ts';
import { openLease, writeBlob } from './content.ts';
import { hostPlatform, type ImageConfig, type ImageProcessConfig, mediaTypes } from './manifest.ts';
import { storeImage } from './record.ts';

/** @returns a Dockerfile argument list in exec form (`["a", "b"]`) or, in shell form, for /bin/sh. */
function command(text: string): string[] {
  if (!text.startsWith('[')) return ['/bin/sh', '-c', text];
  try {
    const list: unknown = JSON.parse(text);
    if (Array.isArray(list) && list.every((item) => typeof item === 'string')) return list;
  } catch {
    // Docker takes what is not a JSON list of strings as the shell form.
  }
  return ['/bin/sh', '-c', text];
}

/** @returns `NAME=value NAME2="a b"` or `NAME value` as pairs. */
function pairs(text: string): [string, string][] {
  if (!/^[^\s=]+=/.test(text)) {
    const [, name = '', value = ''] = /^(\S+)\s*(.*)$/.exec(text) ?? [];
    return [[name, value]];
  }
  const found = text.matchAll(/([^\s=]+)=("(?:[^"\\]|\\.)*"|'[^']*'|\S*)/g);
  return [...found].map(([, name = '', value = '']) => [name, value.replace(/^(["'])(.*)\1$/s, '$2')]);
}

const keyed = (text: string): Record<string, object> => Object.fromEntries(text.split(/\s+/).map((key) => [key, {}]));

/** The Dockerfile instructions that `--change` takes (moby builder: validCommitCommands). */
const instructions: Readonly<Record<string, (config: ImageProcessConfig, value: string) => void>> = {
  CMD: (config, value) => {
    config.Cmd = command(value);
  },
  ENTRYPOINT: (config, value) => {
    config.Entrypoint = command(value);
  },
  ENV: (config, value) => {
    const names = new Set(pairs(value).map(([name]) => name));
    const kept = (config.Env ?? []).filter((entry) => !names.has(entry.split('=', 1)[0] ?? ''));
    config.Env = [...kept, ...pairs(value).map(([name, content]) => `${name}=${content}`)];
  },
  EXPOSE: (config, value) => {
    const ports = value.split(/\s+/).map((port) => (port.includes('/') ? port : `${port}/tcp`));
    config.ExposedPorts = { ...config.ExposedPorts, ...keyed(ports.join(' ')) };
  },
  LABEL: (config, value) => {
    config.Labels = { ...config.Labels, ...Object.fromEntries(pairs(value)) };
  },
  STOPSIGNAL: (config, value) => {
    config.StopSignal = value;
  },
  USER: (config, value) => {
    config.User = value;
  },
  VOLUME: (config, value) => {
    const paths = value.startsWith('[') ? command(value) : value.split(/\s+/);
    config.Volumes = { ...config.Volumes, ...keyed(paths.join(' ')) };
  },
  WORKDIR: (config, value) => {
    config.WorkingDir = value;
  },
};

/** Applies `--change` instructions. @throws SkeinError InvalidArgument for one that Docker does not take. */
export function applyChanges(config: ImageProcessConfig, changes: readonly string[]): void {
  for (const change of changes) {
    const [, name = '', value = ''] = /^\s*(\S+)\s*(.*?)\s*$/s.exec(change) ?? [];
    const apply = instructions[name.toUpperCase()];
    if (!apply) throw new SkeinError('InvalidArgument', `${name.toLowerCase()} is not a valid change command`);
    apply(config, value);
  }
}

/** @returns the new image's ID and manifest; untagged. */
export async function importImage(
  containerd: Containerd,
  archive: Readable,
  options: { changes: readonly string[]; message: string },
): Promise<Awaited<ReturnType<typeof storeImage>>> {
  const processConfig: ImageProcessConfig = {};
  applyChanges(processConfig, options.changes);
  await using lease = await openLease(containerd);
  const layer = await writeBlob(containerd, lease, {}, decompressed(archive));
  const created = nowText();
  const comment = options.message || 'Imported from -';
  const config: ImageConfig = {
    ...hostPlatform(),
    created,
    comment,
    config: processConfig,
    rootfs: { type: 'layers', diff_ids: [layer.digest] },
    history: [{ created, comment }],
  };
  return await storeImage(containerd, lease, {
    config,
    configBytes: Buffer.from(JSON.stringify(config)),
    layers: [{ mediaType: mediaTypes.ociLayer, digest: layer.digest, size: layer.size }],
  });
}
