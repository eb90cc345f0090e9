import { asList, asNumber, asObject, asText, asTexts, at, type JsonObject } from '../../client/json.ts';
import { type Context, command } from '../../command/command.ts';
import { CommandError } from '../../command/errors.ts';
import type { Flags } from '../../command/flags.ts';
import { type Listing, printList, shortId } from '../../output/index.ts';
import { labelText } from '../each.ts';
import { filterQuery } from '../filters.ts';
import { filterFlag, formatFlag } from '../flags.ts';
import { naturalOrder } from '../order.ts';
import { portText } from '../ports.ts';
import { imageWithoutDigest, printTasks, taskFlags } from '../tasks.ts';

interface Row {
  readonly service: JsonObject;
  readonly full: boolean;
}

const modeNames: Readonly<Record<string, string>> = {
  Global: 'global',
  Replicated: 'replicated',
  ReplicatedJob: 'replicated job',
  GlobalJob: 'global job',
};

function mode({ service }: Row): string {
  return modeNames[Object.keys(asObject(at(service, 'Spec', 'Mode')))[0] ?? ''] ?? '';
}

function replicas({ service }: Row): string {
  const running = asNumber(at(service, 'ServiceStatus', 'RunningTasks'));
  const wanted = asNumber(at(service, 'ServiceStatus', 'DesiredTasks'));
  const most = asNumber(at(service, 'Spec', 'TaskTemplate', 'Placement', 'MaxReplicas'));
  const job = at(service, 'Spec', 'Mode', 'ReplicatedJob');
  if (job)
    return `${running}/${wanted} (${asNumber(at(service, 'ServiceStatus', 'CompletedTasks'))}/${asNumber(at(job, 'TotalCompletions'))} completed)`;
  if (at(service, 'Spec', 'Mode', 'GlobalJob')) {
    const completed = asNumber(at(service, 'ServiceStatus', 'CompletedTasks'));
    return `${running}/${wanted} (${completed}/${wanted + completed} completed)`;
  }
  const limit = most > 0 && at(service, 'Spec', 'Mode', 'Replicated') ? ` (max ${most} per node)` : '';
  return `${running}/${wanted}${limit}`;
}

function ports({ service }: Row): string {
  return asList(at(service, 'Endpoint', 'Ports'))
    .map(asObject)
    .filter((port) => asText(port.PublishMode) !== 'host')
    .map(portText)
    .join(', ');
}

const listing: Listing<Row> = {
  goType: '*service.serviceContext',
  table: ['ID', 'Name', 'Mode', 'Replicas', 'Image', 'Ports'],
  quiet: 'ID',
  columns: {
    ID: { header: 'ID', value: ({ service, full }) => (full ? asText(service.ID) : shortId(asText(service.ID))) },
    Name: { header: 'NAME', value: ({ service }) => asText(at(service, 'Spec', 'Name')) },
    Mode: { header: 'MODE', value: mode },
    Replicas: { header: 'REPLICAS', value: replicas },
    Image: {
      header: 'IMAGE',
      value: ({ service }) => imageWithoutDigest(asText(at(service, 'Spec', 'TaskTemplate', 'ContainerSpec', 'Image'))),
    },
    Ports: { header: 'PORTS', value: ports },
    Labels: {
      header: 'LABELS',
      value: ({ service }) => labelText(asTexts(at(service, 'Spec', 'Labels'))),
      inJson: false,
    },
  },
};

/** `service ls`. */
export const list = command(
  'ls [OPTIONS]',
  'List services',
  `
  ${filterFlag}
  ${formatFlag}
  -q, --quiet  Only display IDs
  `,
  async (context, flags) => {
    const found = await context.client.json('GET', '/services', {
      query: { filters: filterQuery(flags.list('filter')), status: flags.on('quiet') ? undefined : 'true' },
    });
    printServices(context, flags, asList(found).map(asObject));
  },
  { aliases: ['list'] },
);

/** Prints services by their names, as `--format` and `--quiet` say. */
export function printServices(context: Context, flags: Flags, services: readonly JsonObject[]): void {
  const nameOf = ({ service }: Row): string => asText(at(service, 'Spec', 'Name'));
  const rows = services.map((service): Row => ({ service, full: false }));
  rows.sort((left, right) => naturalOrder(nameOf(left), nameOf(right)));
  printList(context.out, listing, rows, { format: flags.text('format'), quiet: flags.on('quiet') });
}

/** `service ps`: a name that is not there is told after the tasks of the others. */
export const ps = command(
  'ps [OPTIONS] SERVICE [SERVICE...]',
  'List the tasks of one or more services',
  taskFlags,
  async (context, flags, names) => {
    const found = asList(
      await context.client.json('GET', '/services', { query: { filters: filterQuery([], { name: names, id: [] }) } }),
    );
    const byId = asList(
      await context.client.json('GET', '/services', { query: { filters: filterQuery([], { id: names }) } }),
    );
    const services = [...found, ...byId].map(asObject);
    const missing: string[] = [];
    const ids = names.flatMap((name) => {
      const match =
        services.find((service) => at(service, 'Spec', 'Name') === name) ??
        services.find((service) => asText(service.ID).startsWith(name));
      if (!match) missing.push(name);
      return match ? [asText(match.ID)] : [];
    });
    if (ids.length > 0) {
      const filters = filterQuery(await nodeFilter(context, flags.list('filter')), { service: ids });
      const tasks = await context.client.json('GET', '/tasks', { query: { filters } });
      await printTasks(context, flags, asList(tasks).map(asObject));
    }
    if (missing.length > 0) throw new CommandError(missing.map((name) => `no such service: ${name}`).join('\n'));
  },
);

/** `--filter node=self` names the node that the engine is. */
async function nodeFilter(context: Parameters<typeof printTasks>[0], filters: readonly string[]): Promise<string[]> {
  if (!filters.includes('node=self')) return [...filters];
  const id = asText(at(await context.client.json('GET', '/info'), 'Swarm', 'NodeID'));
  return filters.map((filter) => (filter === 'node=self' ? `node=${id}` : filter));
}
