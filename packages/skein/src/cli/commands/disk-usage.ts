import { asList, asNumber, asObject, asText, at, type Json, type JsonObject, parseJson } from '../client/json.ts';
import { command } from '../command/command.ts';
import {
  alignTabs,
  applyTemplate,
  humanSize,
  type Listing,
  printList,
  readTemplate,
  renderList,
} from '../output/index.ts';
import type { Value } from '../template/index.ts';
import { containerListing } from './container/list.ts';
import { formatFlag } from './flags.ts';
import { imageListing, rowsOf } from './image.ts';
import { volumeListing } from './volume.ts';

/** One line of `system df`; sizes in bytes. */
interface Usage {
  readonly type: string;
  readonly total: number;
  readonly active: number;
  readonly size: number;
  readonly reclaimable: number;
}

const listing: Listing<Usage> = {
  goType: '*formatter.diskUsageImagesContext',
  table: ['Type', 'TotalCount', 'Active', 'Size', 'Reclaimable'],
  quiet: 'Type',
  columns: {
    Active: { header: 'ACTIVE', value: ({ active }) => String(active) },
    Reclaimable: { header: 'RECLAIMABLE', value: reclaimableText },
    Size: { header: 'SIZE', value: ({ size }) => humanSize(size) },
    TotalCount: { header: 'TOTAL', value: ({ total }) => String(total) },
    Type: { header: 'TYPE', value: ({ type }) => type },
  },
};

/** A build cache has no share of itself that could be told. */
const buildCacheType = 'Build Cache';

function reclaimableText({ type, size, reclaimable }: Usage): string {
  const share = size > 0 && type !== buildCacheType ? ` (${Math.trunc((reclaimable * 100) / size)}%)` : '';
  return `${humanSize(reclaimable)}${share}`;
}

export const diskUsage = command(
  'df [OPTIONS]',
  'Show disk usage',
  `
  ${formatFlag}
  -v, --verbose  Show detailed information on space usage
  `,
  async (context, flags) => {
    const found = await context.client.json('GET', '/system/df');
    const format = flags.text('format');
    if (flags.on('verbose')) context.out.write(details(found, format));
    else printList(context.out, listing, usages(found), { format });
  },
);

const listOf = (found: Json, name: string): JsonObject[] => asList(at(found, name)).map(asObject);
const sum = <Item>(items: readonly Item[], sizeOf: (item: Item) => number): number =>
  items.reduce((total, item) => total + Math.max(0, sizeOf(item)), 0);

/** What `system df` counts as in use (docker/cli formatter: DiskUsageContext). */
function usages(found: Json): Usage[] {
  const [images, containers, volumes] = [
    listOf(found, 'Images'),
    listOf(found, 'Containers'),
    listOf(found, 'Volumes'),
  ];
  const layers = asNumber(at(found, 'LayersSize'));
  const usedImages = images.filter((image) => asNumber(image.Containers) > 0);
  const ownSize = (image: JsonObject): number =>
    asNumber(image.SharedSize) < 0 ? 0 : asNumber(image.Size) - asNumber(image.SharedSize);
  const isActive = ({ State }: JsonObject): boolean => ['running', 'paused', 'restarting'].includes(asText(State));
  const written = ({ SizeRw }: JsonObject): number => asNumber(SizeRw);
  const held = ({ UsageData }: JsonObject): number => asNumber(at(UsageData, 'Size'));
  const isUsed = ({ UsageData }: JsonObject): boolean => asNumber(at(UsageData, 'RefCount')) > 0;
  return [
    {
      type: 'Images',
      total: images.length,
      active: usedImages.length,
      size: layers,
      reclaimable: layers - sum(usedImages, ownSize),
    },
    {
      type: 'Containers',
      total: containers.length,
      active: containers.filter(isActive).length,
      size: sum(containers, written),
      reclaimable: sum(
        containers.filter((container) => !isActive(container)),
        written,
      ),
    },
    {
      type: 'Local Volumes',
      total: volumes.length,
      active: volumes.filter(isUsed).length,
      size: sum(volumes, held),
      reclaimable: sum(
        volumes.filter((volume) => !isUsed(volume)),
        held,
      ),
    },
    { type: buildCacheType, total: listOf(found, 'BuildCache').length, active: 0, size: 0, reclaimable: 0 },
  ];
}

/** `system df -v`: each image, container and volume. */
function details(found: Json, format: string): string {
  const isTable = format === '' || format === 'table';
  const images = listOf(found, 'Images').flatMap((image) => rowsOf(image, !isTable, false).slice(0, 1));
  const containers = listOf(found, 'Containers').map((container) => ({
    // The size of what the container wrote, without its image's.
    container: { ...container, SizeRootFs: 0 },
    full: !isTable,
  }));
  const volumes = listOf(found, 'Volumes');
  if (!isTable) {
    const objects = <Row>(kind: Listing<Row>, rows: readonly Row[]): Json[] =>
      renderList(kind, rows, { format: 'json' }).split('\n').filter(Boolean).map(parseJson);
    const data = {
      Images: objects(imageListing, images),
      Containers: objects(containerListing, containers),
      Volumes: objects(volumeListing, volumes),
      BuildCache: [],
    };
    return `${applyTemplate(readTemplate(format === 'json' ? '{{json .}}' : format), data as Value)}\n`;
  }
  const tables: [string, string][] = [
    ['Images space usage:', table(imageListing, imageColumns, images)],
    ['Containers space usage:', table(containerListing, containerColumns, containers)],
    ['Local Volumes space usage:', table(volumeListing, ['Name', 'Links', 'Size'], volumes)],
    [`Build cache usage: ${humanSize(asNumber(at(found, 'BuilderSize')))}`, alignTabs(buildCacheHeader)],
  ];
  return tables.map(([title, text]) => `${title}\n\n${text}`).join('\n');
}

/** Of a table that is always empty: Skein builds no images. */
const buildCacheHeader = 'CACHE ID\tCACHE TYPE\tSIZE\tCREATED\tLAST USED\tUSAGE\tSHARED\n';
const imageColumns = ['Repository', 'Tag', 'ID', 'CreatedSince', 'Size', 'SharedSize', 'UniqueSize', 'Containers'];
const containerColumns = ['ID', 'Image', 'Command', 'LocalVolumes', 'Size', 'RunningFor', 'Status', 'Names'];

function table<Row>(kind: Listing<Row>, columns: readonly string[], rows: readonly Row[]): string {
  return renderList({ ...kind, table: columns }, rows, { format: '' });
}
