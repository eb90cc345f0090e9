/** Images of programs that this machine has, with the libraries that they are linked to, as an archive for `docker load`. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, readFileSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { type Pack, pack } from 'tar-stream';

/** Path in the image → the file of this machine whose content it has. */
export type LayerFiles = Readonly<Record<string, string>>;

/** A layer as a tar archive on disk. */
export interface Layer {
  readonly path: string;
  /** `sha256:…` of the archive. */
  readonly digest: string;
}

export interface Image {
  /** With its tag. */
  readonly name: string;
  readonly layers: readonly Layer[];
  /** As in an image's configuration: Cmd, Env and so on. */
  readonly config: Readonly<Record<string, unknown>>;
}

/** @param program its path on this machine. @returns the program, at `target`, and what ldd(1) says it needs. */
export function programFiles(program: string, target = program): LayerFiles {
  const listed = execFileSync('ldd', [program], { encoding: 'utf8' });
  const libraries = [...listed.matchAll(/(?:=> |^\s+)(\/\S+) \(0x/gm)].map((match) => match[1] ?? '');
  return { [target]: program, ...Object.fromEntries(libraries.map((library) => [library, library])) };
}

/** Writes a layer to `path`. */
export async function writeLayer(path: string, files: LayerFiles): Promise<Layer> {
  const archive = pack();
  const written = pipeline(archive, createWriteStream(path));
  for (const directory of directoriesOf(Object.keys(files)))
    archive.entry({ name: `${directory}/`, type: 'directory', mode: 0o755 });
  for (const [target, source] of Object.entries(files))
    archive.entry({ name: target.slice(1), mode: statSync(source).mode & 0o777 }, readFileSync(source));
  archive.finalize();
  await written;
  return await layerOf(path);
}

/** @param path a tar archive that is there. */
export async function layerOf(path: string): Promise<Layer> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return { path, digest: `sha256:${hash.digest('hex')}` };
}

/** Writes the images, each layer once, as `docker save` does. */
export async function writeImages(path: string, images: readonly Image[]): Promise<void> {
  const archive = pack();
  const written = pipeline(archive, createWriteStream(path));
  const layers = new Map(images.flatMap((image) => image.layers.map((layer) => [layer.digest, layer] as const)));
  for (const layer of layers.values()) await addFile(archive, nameOf(layer), layer.path);
  const manifest = images.map((image) => {
    const config = JSON.stringify({
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      config: image.config,
      rootfs: { type: 'layers', diff_ids: image.layers.map(({ digest }) => digest) },
    });
    const name = `${createHash('sha256').update(config).digest('hex')}.json`;
    archive.entry({ name }, config);
    return { Config: name, RepoTags: [image.name], Layers: image.layers.map(nameOf) };
  });
  archive.entry({ name: 'manifest.json' }, JSON.stringify(manifest));
  archive.finalize();
  await written;
}

function nameOf({ digest }: Layer): string {
  return join(digest.replace('sha256:', ''), 'layer.tar');
}

async function addFile(archive: Pack, name: string, path: string): Promise<void> {
  const entry = archive.entry({ name, size: statSync(path).size });
  await pipeline(createReadStream(path), entry);
}

/** @returns the directories above absolute paths, without the first slash, parents first. */
function directoriesOf(paths: readonly string[]): string[] {
  const directories = new Set<string>();
  for (const path of paths)
    for (let directory = dirname(path); directory !== '/'; directory = dirname(directory))
      directories.add(directory.slice(1));
  return [...directories].sort();
}
