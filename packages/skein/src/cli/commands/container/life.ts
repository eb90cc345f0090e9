import type { Query } from '../../client/client.ts';
import { asList, asNumber, asText, at } from '../../client/json.ts';
import { type Command, type Context, command } from '../../command/command.ts';
import type { Flags } from '../../command/flags.ts';
import { forEachName } from '../each.ts';
import { filterQuery } from '../filters.ts';
import { pruneCommand, tellDeleted } from '../prune.ts';

const stopFlags = `
  -s, --signal string  Signal to send to the container
  -t, --timeout int    Seconds to wait before killing the container
`;
const stopQuery = (flags: Flags): Query => ({
  signal: flags.text('signal'),
  t: flags.changed('timeout') ? flags.text('timeout') : undefined,
});

/** A command that posts one verb for each container and prints the name. */
function verb(name: string, summary: string, flags: string, query: (flags: Flags) => Query = () => ({})): Command {
  return command(`${name} ${flags && '[OPTIONS] '}CONTAINER [CONTAINER...]`, summary, flags, (context, line, names) =>
    forEachName(context, names, async (container) => {
      await context.client.text('POST', `/containers/${encodeURIComponent(container)}/${name}`, { query: query(line) });
      return container;
    }),
  );
}

export const stop = verb('stop', 'Stop one or more running containers', stopFlags, stopQuery);
export const restart = verb('restart', 'Restart one or more containers', stopFlags, stopQuery);
export const pause = verb('pause', 'Pause all processes within one or more containers', '');
export const unpause = verb('unpause', 'Unpause all processes within one or more containers', '');
export const kill = verb(
  'kill',
  'Kill one or more running containers',
  '-s, --signal string  Signal to send to the container',
  (flags) => ({ signal: flags.text('signal') }),
);

export const remove = command(
  'rm [OPTIONS] CONTAINER [CONTAINER...]',
  'Remove one or more containers',
  `
  -f, --force    Force the removal of a running container (uses SIGKILL)
  -l, --link     Remove the specified link
  -v, --volumes  Remove anonymous volumes associated with the container
  `,
  (context, flags, names) =>
    forEachName(context, names, async (name) => {
      await context.client.text('DELETE', `/containers/${encodeURIComponent(name.replace(/^\/+/, ''))}`, {
        query: { v: flags.on('volumes'), link: flags.on('link'), force: flags.on('force') },
      });
      return name;
    }),
  { aliases: ['remove'] },
);

export const rename = command(
  'rename CONTAINER NEW_NAME',
  'Rename a container',
  '',
  async (context, _flags, [name = '', next = '']) => {
    await context.client.text('POST', `/containers/${encodeURIComponent(name)}/rename`, { query: { name: next } });
  },
);

export const wait = command(
  'wait CONTAINER [CONTAINER...]',
  'Block until one or more containers stop, then print their exit codes',
  '',
  (context, _flags, names) =>
    forEachName(context, names, async (name) => {
      const ended = await context.client.json('POST', `/containers/${encodeURIComponent(name)}/wait`, {
        signal: context.signal,
      });
      return String(asNumber(at(ended, 'StatusCode')));
    }),
);

export const prune = pruneCommand({
  summary: 'Remove all stopped containers',
  filter: 'until=<timestamp>',
  what: () => 'all stopped containers',
  remove: pruneContainers,
});

/** Says what has gone. @returns the bytes that are free again. */
export async function pruneContainers(context: Context, filters: readonly string[]): Promise<number> {
  const pruned = await context.client.json('POST', '/containers/prune', { query: { filters: filterQuery(filters) } });
  const ids = asList(at(pruned, 'ContainersDeleted')).map(asText);
  tellDeleted(context, 'Containers', ids);
  return asNumber(at(pruned, 'SpaceReclaimed'));
}
