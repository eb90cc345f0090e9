import { asList, asNumber, asObject, asText, asTexts, at, type JsonObject } from '../../client/json.ts';
import { command } from '../../command/command.ts';
import { ago, ellipsis, humanSize, type Listing, printList, shortId, unixTime } from '../../output/index.ts';
import { labelText } from '../each.ts';
import { filterQuery } from '../filters.ts';
import { filterFlag, formatFlag } from '../flags.ts';
import { portsText } from './ports.ts';

export interface ContainerRow {
  readonly container: JsonObject;
  readonly full: boolean;
}

/** The longest command a table shows without `--no-trunc` (docker/cli formatter: Command). */
const maxCommandLength = 20;
/** The longest mount name. */
const maxMountLength = 15;
const secondMs = 1000;

const labels = ({ container }: ContainerRow) => asTexts(container.Labels);
const created = ({ container }: ContainerRow) => asNumber(container.Created);

function names({ container, full }: ContainerRow): string {
  const all = asList(container.Names).map((name) => asText(name).replace(/^\//, ''));
  // A name with a slash is another container's link to this one.
  return (full ? all : all.filter((name) => !name.includes('/'))).join(',');
}

function image({ container, full }: ContainerRow): string {
  const name = asText(container.Image);
  if (name === '') return '<no image>';
  if (full) return name;
  const id = asText(container.ImageID);
  if (id && shortId(id) === shortId(name)) return shortId(name);
  const digest = /^(.+)@sha256:[0-9a-f]{64}$/.exec(name)?.[1];
  return digest ?? (/^sha256:[0-9a-f]{64}$/.test(name) ? shortId(name) : name);
}

function mounts({ container, full }: ContainerRow): string {
  return asList(container.Mounts)
    .map((mount) => asText(at(mount, 'Name')) || asText(at(mount, 'Source')))
    .map((name) => (full ? name : ellipsis(name, maxMountLength)))
    .join(',');
}

function size({ container }: ContainerRow): string {
  const own = humanSize(asNumber(container.SizeRw), 3);
  const root = asNumber(container.SizeRootFs);
  return root > 0 ? `${own} (virtual ${humanSize(root, 3)})` : own;
}

function commandText({ container, full }: ContainerRow): string {
  const text = asText(container.Command);
  return JSON.stringify(full ? text : ellipsis(text, maxCommandLength));
}

export const containerListing: Listing<ContainerRow> = {
  goType: '*formatter.ContainerContext',
  executionPrefix: 'failed to execute template',
  table: ['ID', 'Image', 'Command', 'RunningFor', 'Status', 'Ports', 'Names'],
  quiet: 'ID',
  columns: {
    ID: {
      header: 'CONTAINER ID',
      value: ({ container, full }) => (full ? asText(container.Id) : shortId(asText(container.Id))),
    },
    Names: { header: 'NAMES', value: names },
    Image: { header: 'IMAGE', value: image },
    Command: { header: 'COMMAND', value: commandText },
    CreatedAt: { header: 'CREATED AT', value: (row) => unixTime(created(row)) },
    RunningFor: { header: 'CREATED', value: (row) => ago(new Date(created(row) * secondMs).toISOString()) },
    Ports: { header: 'PORTS', value: ({ container }) => portsText(asList(container.Ports).map(asObject)) },
    State: { header: 'STATE', value: ({ container }) => asText(container.State) },
    Status: { header: 'STATUS', value: ({ container }) => asText(container.Status) },
    Size: { header: 'SIZE', value: size },
    Labels: { header: 'LABELS', value: (row) => labelText(labels(row)) },
    Label: { header: 'LABEL', value: (row) => (key) => labels(row)[String(key)] ?? '' },
    Mounts: { header: 'MOUNTS', value: mounts },
    LocalVolumes: {
      header: 'LOCAL VOLUMES',
      value: ({ container }) =>
        String(asList(container.Mounts).filter((mount) => at(mount, 'Driver') === 'local').length),
    },
    Networks: {
      header: 'NETWORKS',
      value: ({ container }) =>
        Object.keys(asObject(at(container, 'NetworkSettings', 'Networks')))
          .sort()
          .join(','),
    },
    Platform: { header: 'PLATFORM', value: () => null },
  },
};

/** `container ls`, `ps`. */
export const list = command(
  'ls [OPTIONS]',
  'List containers',
  `
  -a, --all            Show all containers (default shows just running)
  ${filterFlag}
  ${formatFlag}
  -n, --last int=-1    Show n last created containers (includes all states)
  -l, --latest         Show the latest created container (includes all states)
  --no-trunc           Don't truncate output
  -q, --quiet          Only display container IDs
  -s, --size           Display total file sizes
  `,
  async (context, flags) => {
    const last = flags.on('latest') ? 1 : flags.number('last');
    const format = flags.text('format');
    const found = await context.client.json('GET', '/containers/json', {
      query: {
        all: flags.on('all'),
        limit: last > 0 ? last : undefined,
        size: flags.on('size') || /\.Size\b/.test(format),
        filters: filterQuery(flags.list('filter')),
      },
    });
    const rows = asList(found).map((item) => ({ container: asObject(item), full: flags.on('no-trunc') }));
    const shown = flags.on('size')
      ? { ...containerListing, table: [...containerListing.table, 'Size'] }
      : containerListing;
    printList(context.out, shown, rows, { format, quiet: flags.on('quiet') });
  },
  { aliases: ['list', 'ps'] },
);
