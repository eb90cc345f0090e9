import { EngineError } from '../../client/client.ts';
import { asNumber, asText, at, type Json } from '../../client/json.ts';
import { type Context, command } from '../../command/command.ts';
import { CommandError, SilentExit, usageExitCode } from '../../command/errors.ts';
import type { Flags } from '../../command/flags.ts';
import { pullImage } from '../image.ts';
import { attachTo } from './attach.ts';
import { createBody, createFlags } from './run-flags.ts';
import { requireTerminal } from './session.ts';

/** Exit codes of a command that is there but cannot run, and of one that is not there (POSIX sh, docker run). */
const cannotRun = 126;
const notFound = 127;

export const create = command(
  'create [OPTIONS] IMAGE [COMMAND] [ARG...]',
  'Create a new container',
  createFlags,
  async (context, flags, [image = '', ...words]) => {
    context.out.write(`${await createContainer(context, flags, image, words)}\n`);
  },
  { interspersed: false },
);

/** `run`. The container's exit code becomes the CLI's; what the engine refuses ends with 125 to 127, as in docker. */
export const run = command(
  'run [OPTIONS] IMAGE [COMMAND] [ARG...]',
  'Create and run a new container from an image',
  `
  ${createFlags}
  -d, --detach          Run container in background and print container ID
  --detach-keys string  Keys that leave the container running (default "ctrl-p,ctrl-q")
  --sig-proxy           Pass SIGINT and SIGTERM on to the process (default true)
  `,
  async (context, flags, [image = '', ...words]) => {
    // Before there is a container that nobody would take away.
    if (!flags.on('detach')) requireTerminal(context, flags.on('tty'), flags.on('interactive'));
    const id = await refusedAs(() => createContainer(context, flags, image, words));
    const start = (): Promise<string> => refusedAs(() => context.client.text('POST', `/containers/${id}/start`));
    if (flags.on('detach')) {
      await start();
      context.out.write(`${id}\n`);
      return;
    }
    const container = await context.client.json('GET', `/containers/${id}/json`);
    const query = { condition: flags.on('rm') ? 'removed' : 'next-exit' };
    let ended: Promise<Json> | undefined;
    const end = await attachTo(context, id, container, flags.on('interactive'), flags, async () => {
      ended = context.client.json('POST', `/containers/${id}/wait`, { query });
      ended.catch(() => undefined);
      await start();
    });
    if (end === 'detached') return;
    const code = asNumber(at(await ended, 'StatusCode'));
    if (code !== 0) throw new SilentExit(code);
  },
  { interspersed: false },
);

async function createContainer(
  context: Context,
  flags: Flags,
  image: string,
  words: readonly string[],
): Promise<string> {
  const pull = flags.text('pull');
  if (!['always', 'missing', 'never'].includes(pull)) throw new CommandError(`invalid pull option: '${pull}'`);
  const query = { name: flags.text('name') };
  const body = createBody(context, flags, image, words);
  const call = async (): Promise<string> =>
    asText(at(await context.client.json('POST', '/containers/create', { query, body }), 'Id'));
  if (pull === 'always') await pullImage(context, image, context.err);
  try {
    return await call();
  } catch (error) {
    const isMissing = error instanceof EngineError && error.status === 404 && /No such image/i.test(error.message);
    if (!isMissing || pull !== 'missing') throw error;
    context.err.write(`Unable to find image '${image}' locally\n`);
    await pullImage(context, image, context.err);
    return await call();
  }
}

async function refusedAs<T>(action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    const isAbsent = /executable file not found|no such file or directory/.test(error.message);
    const isForbidden = /permission denied|is a directory/i.test(error.message);
    const code = isAbsent ? notFound : isForbidden ? cannotRun : usageExitCode;
    throw new CommandError(error.message, code, { cause: error });
  }
}
