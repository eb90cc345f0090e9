import { asList, asObject, asText, at, type Json } from '../../client/json.ts';
import { command } from '../../command/command.ts';
import { CommandError } from '../../command/errors.ts';
import { alignTabs, inspectAll } from '../../output/index.ts';
import { inspectFlag } from '../flags.ts';

export const inspect = command(
  'inspect [OPTIONS] CONTAINER [CONTAINER...]',
  'Display detailed information on one or more containers',
  `
  ${inspectFlag}
  -s, --size  Display total file sizes
  `,
  (context, flags, names) =>
    inspectAll(context, names, flags.text('format'), (name) =>
      context.client.text('GET', `/containers/${encodeURIComponent(name)}/json`, { query: { size: flags.on('size') } }),
    ),
);

/** Cells of `top` are at least 20 wide (docker/cli container/top.go). */
const topMinimumWidth = 20;

export const top = command(
  'top CONTAINER [ps OPTIONS]',
  'Display the running processes of a container',
  '',
  async (context, _flags, [name = '', ...options]) => {
    const list = await context.client.json('GET', `/containers/${encodeURIComponent(name)}/top`, {
      query: { ps_args: options.join(' ') },
    });
    const rows = [at(list, 'Titles'), ...asList(at(list, 'Processes'))];
    const text = rows.map((row) => asList(row).map(asText).join('\t')).join('\n');
    context.out.write(`${alignTabs(text, topMinimumWidth)}\n`);
  },
  { interspersed: false, arity: { min: 1 } },
);

export const port = command(
  'port CONTAINER [PRIVATE_PORT[/PROTO]]',
  'List port mappings or a specific mapping for the container',
  '',
  async (context, _flags, [name = '', wanted]) => {
    const container = await context.client.json('GET', `/containers/${encodeURIComponent(name)}/json`);
    const ports = Object.entries(asObject(at(container, 'NetworkSettings', 'Ports')));
    const hosts = (bindings: Json | undefined) =>
      asList(bindings).map((binding) => {
        const address = asText(at(binding, 'HostIp'));
        return `${address.includes(':') ? `[${address}]` : address}:${asText(at(binding, 'HostPort'))}`;
      });
    if (wanted === undefined) {
      for (const [key, bindings] of ports) for (const host of hosts(bindings)) context.out.write(`${key} -> ${host}\n`);
      return;
    }
    const key = wanted.includes('/') ? wanted : `${wanted}/tcp`;
    const found = hosts(asObject(at(container, 'NetworkSettings', 'Ports'))[key]);
    if (found.length === 0) throw new CommandError(`no public port '${key}' published for ${name}`);
    for (const host of found) context.out.write(`${host}\n`);
  },
);
