/** Images for tests: root file systems of Debian's static busybox, packed as tar archives. */
import { readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { pack } from 'tar-stream';

const commands = [
  'sh',
  'sleep',
  'echo',
  'cat',
  'id',
  'env',
  'hostname',
  'ls',
  'head',
  'stty',
  'printf',
  'true',
  'false',
  'seq',
  'mount',
  'kill',
  'pwd',
  'grep',
  'tail',
];

/** @returns a root file system as tar: busybox, /etc/passwd, /etc/group and what `files` adds. */
export async function busyboxArchive(files: Record<string, string> = {}): Promise<Buffer> {
  const archive = pack();
  const busybox = await readFile('/bin/busybox');
  for (const directory of ['bin', 'etc', 'tmp', 'proc', 'sys', 'dev'])
    archive.entry({ name: `${directory}/`, type: 'directory', mode: 0o755 });
  archive.entry({ name: 'bin/busybox', mode: 0o755 }, busybox);
  for (const command of commands) archive.entry({ name: `bin/${command}`, type: 'symlink', linkname: 'busybox' });
  const etc = {
    'etc/passwd': 'root:x:0:0:root:/root:/bin/sh\nworker:x:1000:1001:worker:/tmp:/bin/sh\n',
    'etc/group': 'root:x:0:\nworkers:x:1001:\nextra:x:1002:worker\n',
  };
  for (const [name, text] of Object.entries({ ...etc, ...files })) archive.entry({ name, mode: 0o644 }, text);
  archive.finalize();
  return await bytesOf(archive);
}

/** @returns a tar archive of files. */
export async function tarOf(files: Record<string, Uint8Array | string>): Promise<Buffer> {
  const archive = pack();
  for (const [name, contents] of Object.entries(files)) archive.entry({ name, mode: 0o644 }, Buffer.from(contents));
  archive.finalize();
  return await bytesOf(archive);
}

async function bytesOf(archive: AsyncIterable<unknown>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of archive) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** @returns bytes as a stream. */
export const streamOf = (bytes: Uint8Array): Readable => Readable.from([bytes]);
