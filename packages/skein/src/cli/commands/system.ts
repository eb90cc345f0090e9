import { createInterface } from 'node:readline';
import { EngineError } from '../client/client.ts';
import {
  asNumber,
  asObject,
  asText,
  asTexts,
  at,
  type Json,
  type JsonObject,
  jsonText,
  parseJson,
} from '../client/json.ts';
import { type Context, command } from '../command/command.ts';
import { CommandError } from '../command/errors.ts';
import { applyTemplate, inspectAll, readTemplate, timestampOf } from '../output/index.ts';
import type { Value } from '../template/index.ts';
import { clientApiVersion, clientVersion } from '../version.ts';
import { diskUsage } from './disk-usage.ts';
import { filterQuery } from './filters.ts';
import { filterFlag, inspectFlag } from './flags.ts';
import { infoText } from './info.ts';
import { prune } from './system-prune.ts';

const badTemplateExitCode = 64;

async function clientFacts(context: Context, connected: boolean): Promise<JsonObject> {
  return {
    Version: clientVersion,
    ApiVersion: connected ? await context.client.version() : clientApiVersion,
    DefaultAPIVersion: clientApiVersion,
    NodeVersion: process.version.slice(1),
    Os: process.platform,
    Arch: process.arch === 'x64' ? 'amd64' : process.arch,
    Context: 'default',
  };
}

/** Asks the engine for something that the client's own part is shown without. */
async function orFailure(ask: () => Promise<Json>): Promise<{ value: Json; failure?: CommandError }> {
  try {
    return { value: await ask() };
  } catch (error) {
    if (!(error instanceof CommandError)) throw error;
    return { value: null, failure: error };
  }
}

const version = command(
  'version [OPTIONS]',
  'Show the Skein version information',
  inspectFlag,
  async (context, flags) => {
    const format = flags.text('format');
    const template =
      format && format !== 'json' ? readTemplate(format, 'template parsing error', badTemplateExitCode) : undefined;
    const { value: server, failure } = await orFailure(() => context.client.json('GET', '/version'));
    const client = await clientFacts(context, !failure);
    const data = { Client: client, Server: server };
    if (format === 'json') context.out.write(`${jsonText(data, true)}\n`);
    else if (template) context.out.write(`${applyTemplate(template, data as Value)}\n`);
    else context.out.write(versionText(client, server));
    if (failure) throw failure;
  },
);

function versionText(client: JsonObject, server: Json): string {
  const field = (name: string, value: Json | undefined, indent = ' ') =>
    `${indent}${`${name}:`.padEnd(19 - indent.length + 1)}${asText(value)}`;
  const own = asText(client.ApiVersion);
  const newest = asText(client.DefaultAPIVersion);
  const lines = [
    'Client:',
    field('Version', client.Version),
    field('API version', own === newest ? own : `${own} (downgraded from ${newest})`),
    field('Node version', client.NodeVersion),
    field('OS/Arch', `${asText(client.Os)}/${asText(client.Arch)}`),
    field('Context', client.Context),
  ];
  if (server !== null) lines.push('', ...serverLines(asObject(server)));
  return `${lines.join('\n')}\n`;
}

function serverLines(server: JsonObject): string[] {
  const line = (name: string, value: string) => `  ${`${name}:`.padEnd(18)}${value}`;
  const platform = asText(at(server, 'Platform', 'Name'));
  const components = (server.Components as JsonObject[] | undefined) ?? [
    { Name: 'Engine', Version: server.Version, Details: server } as JsonObject,
  ];
  const lines = [platform ? `Server: ${platform}` : 'Server:'];
  for (const component of components) {
    lines.push(` ${asText(component.Name)}:`, line('Version', asText(component.Version)));
    const details = asTexts(component.Details);
    if (component.Name === 'Engine') {
      lines.push(
        line('API version', `${details.ApiVersion} (minimum version ${details.MinAPIVersion})`),
        ...(details.GoVersion ? [line('Go version', details.GoVersion)] : []),
        line('Git commit', details.GitCommit ?? ''),
        line('Built', builtText(details.BuildTime ?? '')),
        line('OS/Arch', `${details.Os}/${details.Arch}`),
        line('Experimental', details.Experimental || 'false'),
      );
    } else lines.push(...Object.entries(details).map(([name, value]) => line(name, value)));
  }
  return lines;
}

/** `2026-05-07T21:09:36.000000000+00:00` → `Thu May  7 21:09:36 2026` (Go's time.ANSIC). */
function builtText(iso: string): string {
  const date = new Date(iso);
  if (Number.isNaN(date.getTime())) return iso;
  const [weekday = '', day = '', month = '', year = '', time = ''] = date.toUTCString().replace(',', '').split(' ');
  return `${weekday} ${month} ${String(Number(day)).padStart(2)} ${time} ${year}`;
}

const info = command('info [OPTIONS]', 'Display system-wide information', inspectFlag, async (context, flags) => {
  const format = flags.text('format');
  const template =
    format && format !== 'json' ? readTemplate(format, 'template parsing error', badTemplateExitCode) : undefined;
  const { value, failure } = await orFailure(() => context.client.json('GET', '/info'));
  const client = { Version: clientVersion, Context: 'default', Debug: false };
  if (format === 'json') context.out.write(`${jsonText({ ...asObject(value), ClientInfo: client }, true)}\n`);
  else if (template) {
    if (failure) throw failure;
    context.out.write(`${applyTemplate(template, { ...asObject(value), ClientInfo: client } as Value)}\n`);
  } else {
    context.out.write(`Client:\n Version:    ${clientVersion}\n Context:    default\n Debug Mode: false\n\nServer:\n`);
    if (!failure) context.out.write(`${infoText(asObject(value))}\n`);
    for (const warning of (at(value, 'Warnings') ?? []) as string[]) context.err.write(`${warning}\n`);
  }
  if (failure) throw failure;
});

const events = command(
  'events [OPTIONS]',
  'Get real time events from the server',
  `
  ${filterFlag}
  --format string  Format output using a custom template: 'json' or a Go template
  --since string   Show all events created since timestamp
  --until string   Stream events until this timestamp
  `,
  async (context, flags) => {
    const format = flags.text('format');
    const template =
      format && format !== 'json' ? readTemplate(format, 'template parsing error', badTemplateExitCode) : undefined;
    const time = (flag: string) => (flags.text(flag) ? timestampOf(flags.text(flag)) : undefined);
    const query = { since: time('since'), until: time('until'), filters: filterQuery(flags.list('filter')) };
    const { body } = await context.client.call('GET', '/events', { query, signal: context.signal });
    try {
      for await (const line of createInterface({ input: body })) {
        if (line.trim() === '') continue;
        const event = parseJson(line);
        if (format === 'json') context.out.write(`${jsonText(event, true)}\n`);
        else context.out.write(`${template ? applyTemplate(template, event as Value) : eventText(asObject(event))}\n`);
      }
    } catch (error) {
      // Ctrl-C is how this command ends.
      if (!context.signal.aborted) throw error;
    }
  },
);

const nanosPerSecond = 1_000_000_000n;

/** `2026-11-25T04:04:52.583137018Z container start <id> (image=…, name=…)`. */
function eventText(event: JsonObject): string {
  const nanos = BigInt(asText(event.timeNano) || '0');
  const seconds = nanos > 0n ? Number(nanos / nanosPerSecond) : asNumber(event.time);
  const date = new Date(seconds * 1000);
  const two = (value: number) => String(value).padStart(2, '0');
  const offset = -date.getTimezoneOffset();
  const zone =
    offset === 0
      ? 'Z'
      : `${offset < 0 ? '-' : '+'}${two(Math.floor(Math.abs(offset) / 60))}:${two(Math.abs(offset) % 60)}`;
  const local = new Date(date.getTime() + offset * 60_000).toISOString().slice(0, 19);
  const attributes = Object.entries(asTexts(at(event, 'Actor', 'Attributes'))).sort(([left], [right]) =>
    left < right ? -1 : 1,
  );
  const shown = attributes.map(([key, value]) => `${key}=${value}`).join(', ');
  const fraction = String(nanos % nanosPerSecond).padStart(9, '0');
  const words = [asText(event.Type), asText(event.Action), asText(at(event, 'Actor', 'ID'))].filter(Boolean);
  return `${local}.${fraction}${zone} ${words.join(' ')}${shown && ` (${shown})`}`;
}

/** Where `inspect` looks for a name, in docker's order. */
const kinds: readonly (readonly [string, (name: string) => string])[] = [
  ['container', (name) => `/containers/${encodeURIComponent(name)}/json`],
  ['image', (name) => `/images/${name.split('/').map(encodeURIComponent).join('/')}/json`],
  ['network', (name) => `/networks/${encodeURIComponent(name)}`],
  ['volume', (name) => `/volumes/${encodeURIComponent(name)}`],
  ['service', (name) => `/services/${encodeURIComponent(name)}`],
  ['task', (name) => `/tasks/${encodeURIComponent(name)}`],
  ['node', (name) => `/nodes/${encodeURIComponent(name)}`],
  ['plugin', (name) => `/plugins/${encodeURIComponent(name)}/json`],
  ['secret', (name) => `/secrets/${encodeURIComponent(name)}`],
  ['config', (name) => `/configs/${encodeURIComponent(name)}`],
];
/** Kinds that only a manager knows, and statuses that then mean "look elsewhere" (not a manager; not built). */
const optionalKinds = new Set(['volume', 'service', 'task', 'node', 'plugin', 'secret', 'config']);
const elsewhereStatuses = new Set([404, 406, 500, 501, 503]);

const inspect = command(
  'inspect [OPTIONS] NAME|ID [NAME|ID...]',
  'Return low-level information on Skein objects',
  `
  ${inspectFlag}
  -s, --size     Display total file sizes if the type is container
  --type string  Only inspect objects of the given type
  `,
  async (context, flags, names) => {
    const type = flags.text('type');
    const wanted = type ? kinds.filter(([kind]) => kind === type) : kinds;
    if (flags.changed('type') && (type === '' || wanted.length === 0)) {
      const known = kinds
        .map(([kind]) => JSON.stringify(kind))
        .sort()
        .join(', ');
      throw new CommandError(
        `${type ? `unknown type: ${JSON.stringify(type)}` : 'type is empty'}: must be one of ${known}`,
      );
    }
    await inspectAll(context, names, flags.text('format'), (name) =>
      findAny(context, wanted, name, type, flags.on('size')),
    );
  },
);

async function findAny(
  context: Context,
  wanted: typeof kinds,
  name: string,
  type: string,
  size: boolean,
): Promise<string> {
  for (const [kind, path] of wanted) {
    try {
      return await context.client.text('GET', path(name), {
        query: { size: size && kind === 'container', insertDefaults: kind === 'service' ? 'true' : undefined },
      });
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
      const elsewhere = error.status === 404 || (optionalKinds.has(kind) && elsewhereStatuses.has(error.status));
      if (type || !elsewhere) throw error;
    }
  }
  const missing = new EngineError(404, '');
  missing.message = `Error: No such object: ${name}`;
  throw missing;
}

/** `skein system …`; `version` and `inspect` have no noun of their own. */
export const systemCommands = [diskUsage, events, info, inspect, prune, version];
