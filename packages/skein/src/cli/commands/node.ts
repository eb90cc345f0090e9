import { asList, asObject, asText, asTexts, at, type JsonObject } from '../client/json.ts';
import { type Context, command } from '../command/command.ts';
import { CommandError } from '../command/errors.ts';
import { inspectAll, type Listing, printList } from '../output/index.ts';
import { forEachName, keyValues } from './each.ts';
import { filterQuery } from './filters.ts';
import { filterFlag, formatFlag, inspectFlag } from './flags.ts';
import { prettyNode } from './node-pretty.ts';
import { printTasks, taskFlags } from './tasks.ts';

interface Row {
  readonly node: JsonObject;
  readonly self: string;
  readonly trustRoot: string;
}

/** Go's strings.Title for one word. */
const title = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);

function managerStatus({ node }: Row): string {
  const status = asObject(node.ManagerStatus);
  if (status.Leader === true) return 'Leader';
  return title(asText(status.Reachability));
}

function tlsStatus({ node, trustRoot }: Row): string {
  const own = asText(at(node, 'Description', 'TLSInfo', 'TrustRoot'));
  if (own === '' || trustRoot === '') return 'Unknown';
  return own === trustRoot ? 'Ready' : 'Needs Rotation';
}

const listing: Listing<Row> = {
  goType: '*node.nodeContext',
  table: ['ID', 'Hostname', 'Status', 'Availability', 'ManagerStatus', 'EngineVersion'],
  cells: { ID: '{{.ID}} {{if .Self}}*{{else}} {{end}}' },
  quiet: 'ID',
  columns: {
    ID: { header: 'ID', value: ({ node }) => asText(node.ID) },
    Self: { header: '', value: ({ node, self }) => asText(node.ID) === self },
    Hostname: { header: 'HOSTNAME', value: ({ node }) => asText(at(node, 'Description', 'Hostname')) },
    Status: { header: 'STATUS', value: ({ node }) => title(asText(at(node, 'Status', 'State'))) },
    Availability: { header: 'AVAILABILITY', value: ({ node }) => title(asText(at(node, 'Spec', 'Availability'))) },
    ManagerStatus: { header: 'MANAGER STATUS', value: managerStatus },
    TLSStatus: { header: 'TLS STATUS', value: tlsStatus },
    EngineVersion: {
      header: 'ENGINE VERSION',
      value: ({ node }) => asText(at(node, 'Description', 'Engine', 'EngineVersion')),
    },
  },
};

const list = command(
  'ls [OPTIONS]',
  'List nodes in the swarm',
  `
  ${filterFlag}
  ${formatFlag}
  -q, --quiet  Only display IDs
  `,
  async (context, flags) => {
    const found = await context.client.json('GET', '/nodes', { query: { filters: filterQuery(flags.list('filter')) } });
    const info =
      found === null || flags.on('quiet') ? {} : asObject(at(await context.client.json('GET', '/info'), 'Swarm'));
    const nodes = asList(found).map(asObject);
    nodes.sort((left, right) => compareText(hostname(left), hostname(right)));
    const trustRoot = asText(at(info, 'Cluster', 'TLSInfo', 'TrustRoot'));
    const rows = nodes.map((node) => ({ node, self: asText(info.NodeID), trustRoot }));
    printList(context.out, listing, rows, { format: flags.text('format'), quiet: flags.on('quiet') });
  },
  { aliases: ['list'] },
);

const hostname = (node: JsonObject) => asText(at(node, 'Description', 'Hostname'));
const compareText = (left: string, right: string) => (left < right ? -1 : left > right ? 1 : 0);

/** @returns the node's ID or name, `self` being this engine's node. */
export async function nodeReference(context: Context, name: string): Promise<string> {
  if (name !== 'self') return name;
  const id = asText(at(await context.client.json('GET', '/info'), 'Swarm', 'NodeID'));
  if (id === '') {
    // An engine that is in no swarm answers any question about nodes with the reason.
    await context.client.json('GET', '/nodes');
    throw new CommandError('node ID not found in /info');
  }
  return id;
}

const nodePath = (name: string) => `/nodes/${encodeURIComponent(name)}`;

const inspect = command(
  'inspect [OPTIONS] self|NODE [NODE...]',
  'Display detailed information on one or more nodes',
  `
  ${inspectFlag}
  --pretty  Print the information in a human friendly format
  `,
  async (context, flags, names) => {
    if (flags.on('pretty') && flags.changed('format'))
      throw new CommandError('--format is incompatible with human friendly format');
    const fetch = async (name: string) =>
      await context.client.text('GET', nodePath(await nodeReference(context, name)));
    if (!flags.on('pretty')) return await inspectAll(context, names, flags.text('format'), fetch);
    for (const name of names) context.out.write(prettyNode(asObject(JSON.parse(await fetch(name)))));
  },
);

const ps = command(
  'ps [OPTIONS] [NODE...]',
  'List tasks running on one or more nodes, defaults to current node',
  taskFlags,
  async (context, flags, names) => {
    const wanted = await Promise.all((names.length > 0 ? names : ['self']).map((name) => nodeReference(context, name)));
    const nodes = await Promise.all(wanted.map((name) => context.client.json('GET', nodePath(name))));
    const tasks = await Promise.all(
      nodes.map((node) =>
        context.client.json('GET', '/tasks', {
          query: { filters: filterQuery(flags.list('filter'), { node: [asText(at(node, 'ID'))] }) },
        }),
      ),
    );
    await printTasks(context, flags, tasks.flatMap(asList).map(asObject));
  },
);

const remove = command(
  'rm [OPTIONS] NODE [NODE...]',
  'Remove one or more nodes from the swarm',
  '-f, --force  Force remove a node from the swarm',
  (context, flags, names) =>
    forEachName(context, names, async (name) => {
      await context.client.text('DELETE', nodePath(name), { query: { force: flags.on('force') } });
      return name;
    }),
  { aliases: ['remove'] },
);

/** Reads each node, changes its spec and writes it back under the version that was read. */
async function updateNodes(
  context: Context,
  names: readonly string[],
  change: (spec: JsonObject, name: string) => JsonObject | undefined,
  done: (name: string) => string,
): Promise<void> {
  for (const name of names) {
    const node = await context.client.json('GET', nodePath(name));
    const spec = change(asObject(at(node, 'Spec')), name);
    if (!spec) continue;
    await context.client.text('POST', `${nodePath(asText(at(node, 'ID')))}/update`, {
      query: { version: asText(at(node, 'Version', 'Index')) },
      body: spec,
    });
    context.out.write(`${done(name)}\n`);
  }
}

const update = command(
  'update [OPTIONS] NODE',
  'Update a node',
  `
  --availability string  Availability of the node ("active", "pause", "drain")
  --label-add list       Add or update a node label ("key=value")
  --label-rm list        Remove a node label if exists
  --role string          Role of the node ("worker", "manager")
  `,
  (context, flags, names) =>
    updateNodes(
      context,
      names,
      (spec) => {
        const labels = { ...asTexts(spec.Labels), ...keyValues(flags.list('label-add')) };
        for (const key of flags.list('label-rm')) {
          if (!(key in labels)) throw new CommandError(`key ${key} doesn't exist in node's labels`);
          delete labels[key];
        }
        return {
          ...spec,
          Labels: labels,
          ...(flags.changed('role') && { Role: flags.text('role') }),
          ...(flags.changed('availability') && { Availability: flags.text('availability') }),
        };
      },
      (name) => name,
    ),
);

function roleCommand(verb: 'promote' | 'demote', role: 'manager' | 'worker', summary: string) {
  return command(`${verb} NODE [NODE...]`, summary, '', (context, _flags, names) =>
    updateNodes(
      context,
      names,
      (spec, name) => {
        if (spec.Role !== role) return { ...spec, Role: role };
        context.out.write(`Node ${name} is already a ${role}.\n`);
        return undefined;
      },
      (name) =>
        role === 'manager'
          ? `Node ${name} promoted to a manager in the swarm.`
          : `Manager ${name} demoted in the swarm.`,
    ),
  );
}

/** `skein node …`. */
export const nodeCommands = [
  roleCommand('demote', 'worker', 'Demote one or more nodes from manager in the swarm'),
  inspect,
  list,
  roleCommand('promote', 'manager', 'Promote one or more nodes to manager in the swarm'),
  ps,
  remove,
  update,
];
