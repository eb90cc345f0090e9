/** The init process that `--init` puts before a container's own: it forwards signals and reaps orphans. */
import { accessSync, constants } from 'node:fs';
import { join } from 'node:path';

/** Where containers see it (moby daemon/config: DefaultInitBinary at /sbin/docker-init). */
export const initPath = '/sbin/docker-init';
/** Names of statically linked ones, which run in any image. */
const names = ['docker-init', 'tini-static'];
/** Where packages put them; the search path of a daemon may be short. */
const directories = ['/usr/local/libexec/docker', '/usr/libexec/docker', '/usr/local/bin', '/usr/bin'];

/** @returns the host's init binary, undefined if there is none. */
export function findInit(path = process.env.PATH ?? ''): string | undefined {
  return [...path.split(':').filter(Boolean), ...directories]
    .flatMap((directory) => names.map((name) => join(directory, name)))
    .find(isExecutable);
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
