import { asNumber, at, type Json } from '../../client/json.ts';
import { type Context, command } from '../../command/command.ts';
import { CommandError, SilentExit } from '../../command/errors.ts';
import type { Flags } from '../../command/flags.ts';
import { forEachName } from '../each.ts';
import { requireTerminal, runSession, type SessionEnd } from './session.ts';

const path = (name: string) => `/containers/${encodeURIComponent(name)}`;

export const attach = command(
  'attach [OPTIONS] CONTAINER',
  'Attach local standard input, output, and error streams to a running container',
  `
  --detach-keys string  Keys that leave the container running (default "ctrl-p,ctrl-q")
  --no-stdin            Do not attach STDIN
  --sig-proxy           Pass SIGINT and SIGTERM on to the process (default true)
  `,
  async (context, flags, [name = '']) => {
    const container = await context.client.json('GET', `${path(name)}/json`);
    if (at(container, 'State', 'Running') !== true)
      throw new CommandError('You cannot attach to a stopped container, start it first');
    if (at(container, 'State', 'Paused') === true)
      throw new CommandError('You cannot attach to a paused container, unpause it first');
    const stdin = !flags.on('no-stdin') && at(container, 'Config', 'OpenStdin') === true;
    const end = await attachTo(context, name, container, stdin, flags);
    if (end === 'detached') throw new CommandError('read escape sequence');
    await exitAs(context, name);
  },
);

export const start = command(
  'start [OPTIONS] CONTAINER [CONTAINER...]',
  'Start one or more stopped containers',
  `
  -a, --attach          Attach STDOUT/STDERR and forward signals
  --detach-keys string  Keys that leave the container running (default "ctrl-p,ctrl-q")
  -i, --interactive     Attach container's STDIN
  `,
  async (context, flags, names) => {
    const [name = ''] = names;
    if (!flags.on('attach') && !flags.on('interactive')) {
      return await forEachName(context, names, async (container) => {
        await context.client.text('POST', `${path(container)}/start`);
        return container;
      });
    }
    if (names.length > 1) throw new CommandError('you cannot start and attach multiple containers at once');
    const container = await context.client.json('GET', `${path(name)}/json`);
    const stdin = flags.on('interactive') && at(container, 'Config', 'OpenStdin') === true;
    const started = () => context.client.text('POST', `${path(name)}/start`);
    const end = await attachTo(context, name, container, stdin, flags, started);
    if (end === 'detached') throw new CommandError('read escape sequence');
    await exitAs(context, name);
  },
);

/** Joins the terminal with the container; `attached` is done once the streams are there. */
export async function attachTo(
  context: Context,
  name: string,
  container: Json,
  stdin: boolean,
  flags: Flags,
  attached?: () => Promise<unknown>,
): Promise<SessionEnd> {
  const tty = at(container, 'Config', 'Tty') === true;
  requireTerminal(context, tty, stdin);
  const detachKeys = flags.text('detach-keys');
  const { socket } = await context.client.hijack(`${path(name)}/attach`, {
    query: { stream: true, stdin, stdout: true, stderr: true, detachKeys },
  });
  await attached?.();
  const interrupt = () =>
    void context.client
      .text('POST', `${path(name)}/kill`, { query: { signal: 'SIGINT' } })
      .catch(() => socket.destroy());
  context.signal.addEventListener('abort', interrupt, { once: true });
  try {
    return await runSession(context, socket, {
      tty,
      stdin,
      detachKeys,
      resize: async (h, w) => {
        await context.client.text('POST', `${path(name)}/resize`, { query: { h, w } });
      },
    });
  } finally {
    context.signal.removeEventListener('abort', interrupt);
  }
}

/** Ends the CLI with the code that the container ended with. */
async function exitAs(context: Context, name: string): Promise<void> {
  const ended = await context.client.json('POST', `${path(name)}/wait`);
  const code = asNumber(at(ended, 'StatusCode'));
  if (code !== 0) throw new SilentExit(code);
}
