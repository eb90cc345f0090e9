import { asList, asNumber, asText, at } from '../../client/json.ts';
import { command } from '../../command/command.ts';

/** The API's numbers for what became of a path (moby pkg/archive: ChangeType). */
const kinds = ['C', 'A', 'D'];

export const diff = command(
  'diff CONTAINER',
  "Inspect changes to files or directories on a container's filesystem",
  '',
  async (context, _flags, [name = '']) => {
    const changes = asList(await context.client.json('GET', `/containers/${encodeURIComponent(name)}/changes`));
    for (const change of changes) {
      context.out.write(`${kinds[asNumber(at(change, 'Kind'))] ?? '?'} ${asText(at(change, 'Path'))}\n`);
    }
  },
);
