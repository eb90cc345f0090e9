import { copy, demultiplex, writeTo } from '../../client/demultiplex.ts';
import { at } from '../../client/json.ts';
import { command } from '../../command/command.ts';
import { timestampOf } from '../../output/index.ts';

/** `container logs`. */
export const logs = command(
  'logs [OPTIONS] CONTAINER',
  'Fetch the logs of a container',
  `
  --details               Show extra details provided to logs
  -f, --follow            Follow log output
  --since string          Show logs since a time (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m")
  -n, --tail string=all   Number of lines to show from the end of the logs
  -t, --timestamps        Show timestamps
  --until string          Show logs before a time (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m")
  `,
  async (context, flags, [name = '']) => {
    const path = `/containers/${encodeURIComponent(name)}`;
    const container = await context.client.json('GET', `${path}/json`);
    const time = (flag: string) => (flags.text(flag) ? timestampOf(flags.text(flag)) : undefined);
    const { body } = await context.client.call('GET', `${path}/logs`, {
      signal: context.signal,
      query: {
        stdout: true,
        stderr: true,
        since: time('since'),
        until: time('until'),
        timestamps: flags.on('timestamps'),
        follow: flags.on('follow'),
        tail: flags.text('tail'),
        details: flags.on('details'),
      },
    });
    if (at(container, 'Config', 'Tty') === true) return await copy(body, context.out);
    await demultiplex(body, (stream, piece) => writeTo(stream === 'stdout' ? context.out : context.err, piece));
  },
);
