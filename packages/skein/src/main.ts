/**
 * skein: the command line's entry. Docker's commands are the cli room's; `daemon` and `lab` are joined here, above all
 * rooms, and loaded only when called.
 */
import { daemonCommand, type ExtraCommand, program, run, type Streams } from './cli/index.ts';

const interrupted = new AbortController();
const streams: Streams = {
  stdin: process.stdin,
  out: process.stdout,
  err: process.stderr,
  environment: process.env,
  signal: interrupted.signal,
};

const daemon: ExtraCommand = daemonCommand(streams, async (options) => {
  const { runDaemon } = await import('./daemon/index.ts');
  await runDaemon(options);
});

const lab: ExtraCommand = {
  name: 'lab',
  summary: 'Run a cluster on this machine, hosts as network namespaces',
  run: async (argv) => {
    const [{ Command }, { registerLab }] = await Promise.all([import('commander'), import('./lab/index.ts')]);
    const root = new Command(program).enablePositionalOptions();
    registerLab(root);
    await root.parseAsync(['lab', ...argv], { from: 'user' });
    return Number(process.exitCode ?? 0);
  },
};

// The daemon and the lab handle their signals themselves; what Docker's commands wait for ends with Ctrl-C.
if (!['daemon', 'lab'].includes(process.argv[2] ?? '')) process.once('SIGINT', () => interrupted.abort());
// A reader that went away (`skein ps | head`) ends the program quietly.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit(0);
  throw error;
});

process.exitCode = await run(process.argv.slice(2), streams, [daemon, lab]);
