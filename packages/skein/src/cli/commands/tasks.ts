import { EngineError } from '../client/client.ts';
import { asList, asNumber, asObject, asText, at, type JsonObject } from '../client/json.ts';
import type { Context } from '../command/command.ts';
import { CommandError } from '../command/errors.ts';
import type { Flags } from '../command/flags.ts';
import { ago, ellipsis, type Listing, printList, shortId } from '../output/index.ts';
import { naturalOrder } from './order.ts';
import { portText } from './ports.ts';

/** Flags of the commands that list tasks. */
export const taskFlags = `
  -f, --filter filter  Filter output based on conditions provided
  --format string      Pretty-print tasks using a Go template
  --no-resolve         Do not map IDs to Names
  --no-trunc           Do not truncate output
  -q, --quiet          Only display task IDs
`;

/** The longest error a table shows without `--no-trunc` (docker/cli command/task: maxErrLength). */
const maxErrorLength = 30;

interface Row {
  readonly task: JsonObject;
  readonly name: string;
  readonly node: string;
  readonly full: boolean;
}

const title = (text: string) => text.charAt(0).toUpperCase() + text.slice(1);
const taskId = ({ task, full }: Row) => (full ? asText(task.ID) : shortId(asText(task.ID)));

function currentState({ task }: Row): string {
  const status = asObject(task.Status);
  return `${title(asText(status.State))} ${ago(asText(status.Timestamp)).replace(/^[A-Z]/, (letter) => letter.toLowerCase())}`;
}

function errorColumn({ task, full }: Row): string {
  const text = asText(at(task, 'Status', 'Err'));
  if (text === '') return '';
  return `"${full ? text : ellipsis(text, maxErrorLength)}"`;
}

const listing: Listing<Row> = {
  goType: '*task.taskContext',
  table: ['ID', 'Name', 'Image', 'Node', 'DesiredState', 'CurrentState', 'Error', 'Ports'],
  quiet: 'ID',
  columns: {
    ID: { header: 'ID', value: taskId },
    Name: { header: 'NAME', value: ({ name }) => name },
    Image: { header: 'IMAGE', value: imageColumn },
    Node: { header: 'NODE', value: ({ node }) => node },
    DesiredState: { header: 'DESIRED STATE', value: ({ task }) => title(asText(task.DesiredState)) },
    CurrentState: { header: 'CURRENT STATE', value: currentState },
    Error: { header: 'ERROR', value: errorColumn },
    Ports: {
      header: 'PORTS',
      value: ({ task }) =>
        asList(at(task, 'Status', 'PortStatus', 'Ports'))
          .map((port) => portText(asObject(port)))
          .join(','),
    },
  },
};

/** The image as the user knows it: without the digest, where it has a tag beside it. */
function imageColumn({ task, full }: Row): string {
  const image = asText(at(task, 'Spec', 'ContainerSpec', 'Image'));
  return full ? image : imageWithoutDigest(image);
}

/** `ubuntu:latest@sha256:…` → `ubuntu:latest`. */
export function imageWithoutDigest(image: string): string {
  return image.replace(/@sha256:[0-9a-f]{64}$/, '');
}

/** Prints tasks in the order of their slots, a slot's past tasks indented under the newest. */
export async function printTasks(context: Context, flags: Flags, tasks: readonly JsonObject[]): Promise<void> {
  const names = new NameResolver(context, flags.on('no-resolve'));
  // docker prints whole IDs for --quiet.
  const full = flags.on('no-trunc') || flags.on('quiet');
  const labels = new Map<string, string>();
  for (const task of tasks) labels.set(asText(task.ID), await names.task(task));
  const isTable = !flags.changed('format') || flags.text('format').startsWith('table');
  const rows: Row[] = [];
  let previous = '';
  for (const task of sorted(tasks, labels)) {
    const own = labels.get(asText(task.ID)) ?? '';
    const name = isTable && own === previous && own !== '' ? ` \\_ ${own}` : own;
    rows.push({ task, full, name, node: await names.node(asText(task.NodeID)) });
    previous = own;
  }
  printList(context.out, listing, rows, { format: flags.text('format'), quiet: flags.on('quiet') });
}

function sorted(tasks: readonly JsonObject[], labels: ReadonlyMap<string, string>): JsonObject[] {
  const created = (task: JsonObject) => Date.parse(asText(task.CreatedAt));
  const name = (task: JsonObject) => labels.get(asText(task.ID)) ?? '';
  return [...tasks].sort((left, right) => naturalOrder(name(left), name(right)) || created(right) - created(left));
}

/** Turns IDs of services and nodes into names, asking the engine once for each. BOUNDED by the listed tasks. */
export class NameResolver {
  readonly #context: Context;
  readonly #verbatim: boolean;
  readonly #known = new Map<string, Promise<string>>();

  /** @param verbatim leave IDs as they are. */
  constructor(context: Context, verbatim: boolean) {
    this.#context = context;
    this.#verbatim = verbatim;
  }

  /** @returns `web.1`, `web.<node ID>` for a global service's task. */
  async task(task: JsonObject): Promise<string> {
    const service = await this.#name(`/services/${asText(task.ServiceID)}`, asText(task.ServiceID), ['Spec', 'Name']);
    const slot = asNumber(task.Slot);
    return service === '' ? '' : `${service}.${slot > 0 ? slot : asText(task.NodeID)}`;
  }

  /** @returns the node's host name, its ID where it is unknown. */
  async node(id: string): Promise<string> {
    return await this.#name(`/nodes/${id}`, id, ['Description', 'Hostname']);
  }

  #name(path: string, id: string, field: readonly string[]): Promise<string> {
    if (this.#verbatim || id === '') return Promise.resolve(id);
    let name = this.#known.get(path);
    if (!name) {
      name = this.#ask(path, id, field);
      this.#known.set(path, name);
    }
    return name;
  }

  async #ask(path: string, id: string, field: readonly string[]): Promise<string> {
    try {
      return asText(at(await this.#context.client.json('GET', path), ...field)) || id;
    } catch (error) {
      // What was removed meanwhile keeps its ID for a name; anything else is a real failure.
      if (error instanceof EngineError && error.status === 404) return id;
      throw error instanceof CommandError ? error : new CommandError(String(error), 1, { cause: error });
    }
  }
}
