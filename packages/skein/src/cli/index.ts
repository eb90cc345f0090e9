/**
 * cli: `skein …` with Docker's grammar, flags and output, against any Docker Engine API. Owns the parsing of command
 * lines, the API client, Go templates and tables. Talks to the daemon only over its socket; loads each noun's
 * commands when they are called.
 */
export { type DaemonSettings, daemonCommand } from './daemon-command.ts';
export { program } from './program.ts';
export { type ExtraCommand, run, type Streams } from './run.ts';
export { clientVersion } from './version.ts';
