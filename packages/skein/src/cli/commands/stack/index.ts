import { asText, asTexts, at } from '../../client/json.ts';
import { type Context, command } from '../../command/command.ts';
import { CommandError } from '../../command/errors.ts';
import { type Listing, printList } from '../../output/index.ts';
import { filterFlag, formatFlag } from '../flags.ts';
import { naturalOrder } from '../order.ts';
import { printServices } from '../service/list.ts';
import { printTasks, taskFlags } from '../tasks.ts';
import { checkedName, labelled, nameOf, namespaceLabel } from './objects.ts';

interface Stack {
  readonly name: string;
  readonly services: number;
}

const listing: Listing<Stack> = {
  goType: '*stack.stackContext',
  table: ['Name', 'Services'],
  quiet: 'Name',
  columns: {
    Name: { header: 'NAME', value: ({ name }) => name },
    Services: { header: 'SERVICES', value: ({ services }) => String(services) },
  },
};

const deploy = command(
  'deploy [OPTIONS] STACK',
  'Deploy a new stack or update an existing stack',
  `
  -c, --compose-file strings    Path to a Compose file, or "-" to read from stdin
  -d, --detach bool=true        Exit immediately instead of waiting for the stack services to converge
  --prune                       Prune services that are no longer referenced
  -q, --quiet                   Suppress progress output
  --resolve-image string=always Query the registry to resolve image digest and supported platforms ("always", "changed", "never")
  --with-registry-auth          Send registry authentication details to Swarm agents
  `,
  async (context, flags, [name = '']) => {
    // The reader of compose files is loaded for this command only.
    const { deployStack } = await import('./deploy.ts');
    await deployStack(context, flags, checkedName(name));
  },
  { aliases: ['up'] },
);

const list = command(
  'ls [OPTIONS]',
  'List stacks',
  formatFlag,
  async (context, flags) => {
    const services = await labelled(context, '/services');
    const counts = new Map<string, number>();
    for (const service of services) {
      const stack = asTexts(at(service, 'Spec', 'Labels'))[namespaceLabel] ?? '';
      counts.set(stack, (counts.get(stack) ?? 0) + 1);
    }
    const rows = [...counts].map(([name, count]) => ({ name, services: count }));
    rows.sort((left, right) => naturalOrder(left.name, right.name));
    printList(context.out, listing, rows, { format: flags.text('format') });
  },
  { aliases: ['list'] },
);

const ps = command(
  'ps [OPTIONS] STACK',
  'List the tasks in the stack',
  taskFlags,
  async (context, flags, [name = '']) => {
    const tasks = await labelled(context, '/tasks', checkedName(name), flags.list('filter'));
    if (tasks.length === 0) throw new CommandError(`nothing found in stack: ${name}`);
    await printTasks(context, flags, tasks);
  },
);

const services = command(
  'services [OPTIONS] STACK',
  'List the services in the stack',
  `
  ${filterFlag}
  ${formatFlag}
  -q, --quiet  Only display IDs
  `,
  async (context, flags, [name = '']) => {
    const found = await labelled(context, '/services', checkedName(name), flags.list('filter'), { status: 'true' });
    if (found.length === 0) context.err.write(`Nothing found in stack: ${name}\n`);
    else printServices(context, flags, found);
  },
);

const remove = command(
  'rm [OPTIONS] STACK [STACK...]',
  'Remove one or more stacks',
  '-d, --detach bool=true  Do not wait for stack removal',
  async (context, flags, names) => {
    const failures: string[] = [];
    const going: string[] = [];
    for (const name of names) {
      const failed = await removeStack(context, checkedName(name));
      failures.push(...failed);
      if (failed.length === 0) going.push(name);
    }
    // The tasks of a service that stays would be waited for in vain.
    if (!flags.on('detach')) for (const name of going) await tasksGone(context, name);
    if (failures.length > 0) throw new CommandError(failures.join('\n'));
  },
  { aliases: ['remove', 'down'] },
);

/** What a stack is made of, in the order in which it can go. */
const parts = [
  ['service', '/services'],
  ['secret', '/secrets'],
  ['config', '/configs'],
  ['network', '/networks'],
] as const;

/** Says what goes. @returns what did not. */
async function removeStack(context: Context, name: string): Promise<string[]> {
  const failures: string[] = [];
  let isEmpty = true;
  for (const [kind, path] of parts) {
    const found = await labelled(context, path, name);
    found.sort((left, right) => naturalOrder(nameOf(left), nameOf(right)));
    for (const item of found) {
      isEmpty = false;
      context.out.write(`Removing ${kind} ${nameOf(item)}\n`);
      try {
        await context.client.text('DELETE', `${path}/${asText(item.ID ?? item.Id)}`);
      } catch (error) {
        if (!(error instanceof CommandError)) throw error;
        failures.push(`Failed to remove ${kind} ${nameOf(item)}: ${error.message}`);
      }
    }
  }
  if (isEmpty) context.err.write(`Nothing found in stack: ${name}\n`);
  return failures;
}

const pollMs = 500;

async function tasksGone(context: Context, name: string): Promise<void> {
  const { setTimeout: sleep } = await import('node:timers/promises');
  const ended = new Set(['complete', 'shutdown', 'failed', 'rejected', 'remove', 'orphaned']);
  for (;;) {
    const tasks = await labelled(context, '/tasks', name);
    if (tasks.every((task) => ended.has(asText(at(task, 'Status', 'State'))))) return;
    await sleep(pollMs, undefined, { signal: context.signal });
  }
}

/** `skein stack …`. */
export const stackCommands = [deploy, list, ps, remove, services];
