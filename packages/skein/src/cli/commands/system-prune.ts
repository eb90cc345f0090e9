import { command } from '../command/command.ts';
import { CommandError } from '../command/errors.ts';
import { humanSize } from '../output/index.ts';
import { confirm } from './confirm.ts';
import { pruneContainers } from './container/life.ts';
import { pruneImages } from './image.ts';
import { pruneNetworks } from './network.ts';
import { pruneVolumes } from './volume.ts';

/** There is no build cache here: docker's fifth line of the warning has no counterpart. */
export const prune = command(
  'prune [OPTIONS]',
  'Remove unused data',
  `
  -a, --all        Remove all unused images not just dangling ones
  --filter filter  Provide filter values (e.g. "label=<key>=<value>")
  -f, --force      Do not prompt for confirmation
  --volumes        Prune anonymous volumes
  `,
  async (context, flags) => {
    const filters = flags.list('filter');
    const [all, volumes] = [flags.on('all'), flags.on('volumes')];
    if (volumes && filters.some((filter) => filter.startsWith('until='))) {
      throw new CommandError('ERROR: The "until" filter is not supported with "--volumes"');
    }
    if (!flags.on('force') && !(await confirm(context, warningOf(all, volumes, filters)))) return;
    let space = await pruneContainers(context, filters);
    await pruneNetworks(context, filters);
    if (volumes) space += await pruneVolumes(context, filters, false);
    space += await pruneImages(context, filters, all);
    context.out.write(`Total reclaimed space: ${humanSize(space)}\n`);
  },
);

function warningOf(all: boolean, volumes: boolean, filters: readonly string[]): string {
  const what = [
    'all stopped containers',
    'all networks not used by at least one container',
    ...(volumes ? ['all anonymous volumes not used by at least one container'] : []),
    all ? 'all images without at least one container associated to them' : 'all dangling images',
  ];
  const items = (list: readonly string[]): string => list.map((item) => `  - ${item}\n`).join('');
  const filtered =
    filters.length > 0 ? `\n  Items to be pruned will be filtered with:\n${items([...filters].sort())}` : '';
  return `WARNING! This will remove:\n${items(what)}${filtered}`;
}
