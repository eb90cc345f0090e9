/**
 * A small image named `ubuntu`, made from Debian's statically linked busybox, for machines where no registry answers:
 * the story needs sh, sleep, ping, traceroute, wget, nslookup and ip, and busybox has them all.
 */
import { execFileSync } from 'node:child_process';
import { createWriteStream, readFileSync } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { pack } from 'tar-stream';

const busyboxPath = '/bin/busybox';

/** Writes the image's root file system as a tar archive, for `docker import`. */
export async function writeUbuntuRootfs(path: string): Promise<void> {
  const applets = execFileSync(busyboxPath, ['--list'], { encoding: 'utf8' }).split('\n').filter(Boolean);
  const archive = pack();
  const written = pipeline(archive, createWriteStream(path));
  for (const directory of ['bin/', 'dev/', 'etc/', 'proc/', 'root/', 'sys/', 'tmp/', 'usr/', 'usr/bin/', 'var/']) {
    archive.entry({ name: directory, type: 'directory', mode: directory === 'tmp/' ? 0o1777 : 0o755 });
  }
  archive.entry({ name: 'bin/busybox', mode: 0o755 }, readFileSync(busyboxPath));
  for (const applet of applets.filter((name) => name !== 'busybox')) {
    archive.entry({ name: `bin/${applet}`, type: 'symlink', linkname: 'busybox' });
  }
  archive.entry(
    { name: 'etc/passwd', mode: 0o644 },
    'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n',
  );
  archive.entry({ name: 'etc/group', mode: 0o644 }, 'root:x:0:\nnogroup:x:65534:\n');
  archive.entry(
    { name: 'etc/os-release', mode: 0o644 },
    'PRETTY_NAME="busybox of Debian, named ubuntu for the walk-through"\n',
  );
  archive.finalize();
  await written;
}

/** The arguments of `docker import` that make it an image with Docker's defaults. */
export function importArguments(archive: string): string[] {
  return [
    'import',
    '--change',
    'CMD ["/bin/sh"]',
    '--change',
    'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
    archive,
    'ubuntu:latest',
  ];
}
