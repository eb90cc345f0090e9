/** Where `cp` puts things, from what stands at both ends (docker/cli's rules: go-archive PrepareArchiveCopy). Pure. */
import { posix } from 'node:path';
import { CommandError } from '../../command/errors.ts';

/** One end of a copy as it was found. */
export interface End {
  /** Absolute; `/.` at its end means what is in the directory, `/` that it is one. */
  readonly path: string;
  readonly kind: 'directory' | 'other' | 'none';
}

export interface Place {
  /** Where the archive is unpacked. */
  readonly directory: string;
  /** What the archive's uppermost entry is called there. */
  readonly name: string;
}

const assertsDirectory = (path: string): boolean => /\/\.?$/.test(path);
const bare = (path: string): string => posix.normalize(path.replace(/\/\.$/, '')).replace(/(.)\/+$/, '$1');

/** @returns the last name of a path; `.` where it means what is in the directory. */
export function lastName(path: string): string {
  return /(^|\/)\.$/.test(path) || bare(path) === '/' ? '.' : posix.basename(bare(path));
}

/** @throws CommandError in docker's words where the one cannot become the other. */
export function placeOf(source: End, destination: End): Place {
  if (source.kind !== 'directory' && assertsDirectory(source.path)) throw new CommandError('not a directory');
  const path = bare(destination.path);
  if (destination.kind === 'directory') return { directory: path, name: lastName(source.path) };
  if (destination.kind === 'other' && source.kind === 'directory') throw new CommandError('cannot copy directory');
  if (destination.kind === 'other' && assertsDirectory(destination.path)) throw new CommandError('not a directory');
  if (destination.kind === 'none' && source.kind === 'other' && assertsDirectory(destination.path)) {
    throw new CommandError('no such directory');
  }
  return { directory: posix.dirname(path), name: posix.basename(path) };
}

/** @returns an entry's name with another name for its uppermost part, which is `.` for what is in a directory. */
export function renamed(entry: string, name: string): string {
  const [, rest] = /^\/*[^/]*(\/.*)?$/.exec(entry) ?? [];
  return `${name}${rest ?? ''}`;
}
