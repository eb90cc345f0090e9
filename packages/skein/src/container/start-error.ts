/** What a refusal of the OCI runtime means to Docker: an exit code, and whose fault it is. */
import { SkeinError } from '../common/index.ts';

/** Exit codes of a command that cannot be run, as a shell's (POSIX 2.8.2). */
const notExecutable = 126;
const notFound = 127;
/** moby daemon/errors.go: any other failure to start. */
const otherFailure = 128;

const notFoundTexts = [
  'executable file not found',
  'no such file or directory',
  'system cannot find the file specified',
];
const notExecutableTexts = ['permission denied', 'is a directory', 'not a directory', 'exec format error'];

/** @returns the exit code of a process that the runtime could not start, by the runtime's words. */
export function startExitCode(text: string): number {
  const has = (needles: readonly string[]): boolean => needles.some((needle) => text.includes(needle));
  if (has(notFoundTexts)) return notFound;
  return has(notExecutableTexts) ? notExecutable : otherFailure;
}

/** @returns the error to report and to record (moby daemon/errors.go: translateContainerdStartErr). */
export function startFailure(error: SkeinError): { exitCode: number; error: SkeinError } {
  const exitCode = startExitCode(error.message);
  const isRuntime = error.message.includes('OCI runtime');
  const code = exitCode !== otherFailure && isRuntime ? 'InvalidArgument' : error.code;
  return { exitCode, error: code === error.code ? error : new SkeinError(code, error.message, { cause: error }) };
}
