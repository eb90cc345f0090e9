import { asNumber, asText, at } from '../../client/json.ts';
import { type Context, command } from '../../command/command.ts';
import { CommandError, SilentExit } from '../../command/errors.ts';
import { environmentOf } from '../environment.ts';
import { requireTerminal, runSession } from './session.ts';

/** `exec`. The process's exit code becomes the CLI's; what the engine refuses ends with 1, as in docker. */
export const exec = command(
  'exec [OPTIONS] CONTAINER COMMAND [ARG...]',
  'Execute a command in a running container',
  `
  -d, --detach          Detached mode: run command in the background
  --detach-keys string  Keys that leave the command running (default "ctrl-p,ctrl-q")
  -e, --env list        Set environment variables
  --env-file list       Read in a file of environment variables
  -i, --interactive     Keep STDIN open even if not attached
  --privileged          Give extended privileges to the command
  -t, --tty             Allocate a pseudo-TTY
  -u, --user string     Username or UID (format: "<name|uid>[:<group|gid>]")
  -w, --workdir string  Working directory inside the container
  `,
  async (context, flags, [container = '', ...words]) => {
    const detach = flags.on('detach');
    const session = { tty: flags.on('tty'), stdin: flags.on('interactive') && !detach };
    // Looked up first: an unknown container is told before a missing terminal.
    await context.client.text('GET', `/containers/${encodeURIComponent(container)}/json`);
    if (!detach) requireTerminal(context, session.tty, session.stdin);
    const size = session.tty ? consoleSize(context) : undefined;
    const body = {
      User: flags.text('user'),
      Privileged: flags.on('privileged'),
      Tty: session.tty,
      AttachStdin: session.stdin,
      AttachStdout: !detach,
      AttachStderr: !detach,
      DetachKeys: flags.text('detach-keys'),
      Env: environmentOf(context, flags, 'env'),
      WorkingDir: flags.text('workdir'),
      Cmd: words,
      ...(size && { ConsoleSize: size }),
    };
    const created = await context.client.json('POST', `/containers/${encodeURIComponent(container)}/exec`, { body });
    const id = asText(at(created, 'Id'));
    if (id === '') throw new CommandError('exec ID empty');
    if (detach) {
      await context.client.text('POST', `/exec/${id}/start`, { body: { Detach: true, Tty: session.tty } });
      return;
    }
    await attach(context, id, session, flags.text('detach-keys'));
  },
  { interspersed: false },
);

async function attach(
  context: Context,
  id: string,
  session: { tty: boolean; stdin: boolean },
  detachKeys: string,
): Promise<void> {
  const size = session.tty ? consoleSize(context) : undefined;
  const { socket } = await context.client.hijack(`/exec/${id}/start`, {
    body: { Detach: false, Tty: session.tty, ...(size && { ConsoleSize: size }) },
  });
  const end = await runSession(context, socket, {
    ...session,
    detachKeys,
    resize: async (h, w) => {
      await context.client.text('POST', `/exec/${id}/resize`, { query: { h, w } });
    },
  });
  if (end === 'detached') throw new CommandError('read escape sequence');
  const exitCode = asNumber(at(await context.client.json('GET', `/exec/${id}/json`), 'ExitCode'));
  if (exitCode !== 0) throw new SilentExit(exitCode);
}

function consoleSize(context: Context): [number, number] | undefined {
  const { isTTY, rows, columns } = context.out as NodeJS.WriteStream;
  return isTTY ? [rows, columns] : undefined;
}
