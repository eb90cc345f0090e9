import { readFileSync } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import { asList, asObject, asText, asTexts, at, type JsonObject } from '../client/json.ts';
import { type Command, type Context, command } from '../command/command.ts';
import { CommandError } from '../command/errors.ts';
import { ago, goTime, inspectAll, type Listing, printList } from '../output/index.ts';
import { forEachName, keyValues, labelText } from './each.ts';
import { filterQuery } from './filters.ts';
import { filterFlag, formatFlag, inspectFlag } from './flags.ts';
import { naturalOrder } from './order.ts';

const labelsOf = (item: JsonObject) => asTexts(at(item, 'Spec', 'Labels'));

function listingOf(kind: 'secret' | 'config'): Listing<JsonObject> {
  const driver = {
    Driver: { header: 'DRIVER', value: (item: JsonObject) => asText(at(item, 'Spec', 'Driver', 'Name')) },
  };
  return {
    goType: `*${kind}.${kind}Context`,
    table: ['ID', 'Name', ...(kind === 'secret' ? ['Driver'] : []), 'CreatedAt', 'UpdatedAt'],
    quiet: 'ID',
    columns: {
      ID: { header: 'ID', value: (item) => asText(item.ID) },
      Name: { header: 'NAME', value: (item) => asText(at(item, 'Spec', 'Name')) },
      ...(kind === 'secret' ? driver : {}),
      CreatedAt: { header: 'CREATED', value: (item) => ago(asText(item.CreatedAt)) },
      UpdatedAt: { header: 'UPDATED', value: (item) => ago(asText(item.UpdatedAt)) },
      Labels: { header: 'LABELS', value: (item) => labelText(labelsOf(item)) },
      Label: { header: 'LABEL', value: (item) => (key) => labelsOf(item)[String(key)] ?? '' },
    },
  };
}

async function readData(context: Context, file: string): Promise<Buffer> {
  if (file === '-') return await buffer(context.stdin);
  try {
    return readFileSync(file);
  } catch (error) {
    throw new CommandError(
      `error reading content from ${JSON.stringify(file)}: open ${file}: no such file or directory`,
      1,
      { cause: error },
    );
  }
}

/** `skein secret …` and `skein config …`, which differ in little more than their name. */
export function objectCommands(kind: 'secret' | 'config'): Command[] {
  const NAME = kind.toUpperCase();
  const path = `/${kind}s`;
  const driverFlag = kind === 'secret' ? '-d, --driver string  Secret driver' : '';
  const create = command(
    `create [OPTIONS] ${NAME} ${kind === 'secret' ? '[file|-]' : 'file|-'}`,
    `Create a ${kind} from a file or STDIN`,
    `
    ${driverFlag}
    -l, --label list          Labels
    --template-driver string  Template driver
    `,
    async (context, flags, [name = '', file]) => {
      const driver = kind === 'secret' ? flags.text('driver') : '';
      if (!driver && file === undefined) throw new CommandError('either specify a file or - for STDIN');
      const body = {
        Name: name,
        Labels: keyValues(flags.list('label')),
        ...(file !== undefined && { Data: (await readData(context, file)).toString('base64') }),
        ...(driver && { Driver: { Name: driver } }),
        ...(flags.text('template-driver') && { Templating: { Name: flags.text('template-driver') } }),
      };
      context.out.write(`${asText(at(await context.client.json('POST', `${path}/create`, { body }), 'ID'))}\n`);
    },
  );
  const list = command(
    'ls [OPTIONS]',
    `List ${kind}s`,
    `
    ${filterFlag}
    ${formatFlag}
    -q, --quiet  Only display IDs
    `,
    async (context, flags) => {
      const found = await context.client.json('GET', path, { query: { filters: filterQuery(flags.list('filter')) } });
      const rows = asList(found).map(asObject);
      rows.sort((left, right) => naturalOrder(asText(at(left, 'Spec', 'Name')), asText(at(right, 'Spec', 'Name'))));
      printList(context.out, listingOf(kind), rows, { format: flags.text('format'), quiet: flags.on('quiet') });
    },
    { aliases: ['list'] },
  );
  const inspect = command(
    `inspect [OPTIONS] ${NAME} [${NAME}...]`,
    `Display detailed information on one or more ${kind}s`,
    `
    ${inspectFlag}
    --pretty  Print the information in a human friendly format
    `,
    async (context, flags, names) => {
      const fetch = (name: string) => context.client.text('GET', `${path}/${encodeURIComponent(name)}`);
      if (!flags.on('pretty')) return await inspectAll(context, names, flags.text('format'), fetch);
      for (const name of names) context.out.write(pretty(asObject(JSON.parse(await fetch(name))), kind));
    },
  );
  const remove = command(
    `rm ${NAME} [${NAME}...]`,
    `Remove one or more ${kind}s`,
    '',
    (context, _flags, names) =>
      forEachName(context, names, async (name) => {
        await context.client.text('DELETE', `${path}/${encodeURIComponent(name)}`);
        return name;
      }),
    { aliases: ['remove'] },
  );
  return [create, inspect, list, remove];
}

function pretty(item: JsonObject, kind: 'secret' | 'config'): string {
  const labels = Object.entries(labelsOf(item)).map(([key, value]) => ` - ${key}${value && `=${value}`}`);
  const time = (field: string) => goTime(asText(item[field])).toLowerCase();
  const lines = [`ID:\t\t\t${asText(item.ID)}`, `Name:\t\t\t${asText(at(item, 'Spec', 'Name'))}`];
  lines.push(...(labels.length > 0 ? ['Labels:', ...labels] : []));
  lines.push(`Created at:            \t${time('CreatedAt')}`, `Updated at:            \t${time('UpdatedAt')}`);
  if (kind === 'config') lines.push('Data:', Buffer.from(asText(at(item, 'Spec', 'Data')), 'base64').toString());
  return `${lines.join('\n')}\n`;
}
