import { EngineError } from '../../client/client.ts';
import { copy, demultiplex, writeTo } from '../../client/demultiplex.ts';
import { asNumber, asObject, asText, at, type Json } from '../../client/json.ts';
import { type Context, command } from '../../command/command.ts';
import { CommandError } from '../../command/errors.ts';
import type { Flags } from '../../command/flags.ts';
import { shortId, timestampOf } from '../../output/index.ts';
import { NameResolver } from '../tasks.ts';

/** `service logs`: each line with the task and node that wrote it, as `web.1.<task ID>@node1    | text`. */
export const logs = command(
  'logs [OPTIONS] SERVICE|TASK',
  'Fetch the logs of a service or task',
  `
  --details              Show extra details provided to logs
  -f, --follow           Follow log output
  --no-resolve           Do not map IDs to Names in output
  --no-task-ids          Do not include task IDs in output
  --no-trunc             Do not truncate output
  --raw                  Do not neatly format logs
  --since string         Show logs since a time (e.g. "2013-01-02T13:23:37Z") or relative (e.g. "42m")
  -n, --tail string=all  Number of lines to show from the end of the logs
  -t, --timestamps       Show timestamps
  `,
  async (context, flags, [name = '']) => {
    const source = await findSource(context, name);
    const raw = flags.on('raw');
    const { body } = await context.client.call('GET', `/${source.kind}s/${asText(at(source.object, 'ID'))}/logs`, {
      signal: context.signal,
      query: {
        stdout: true,
        stderr: true,
        since: flags.text('since') ? timestampOf(flags.text('since')) : undefined,
        timestamps: flags.on('timestamps'),
        follow: flags.on('follow'),
        tail: flags.text('tail'),
        // The details name the task and the node of each line.
        details: raw ? flags.on('details') : true,
      },
    });
    if (source.tty) return await copy(body, context.out);
    const formatter = raw ? undefined : new LineFormatter(context, flags, source.slotWidth);
    await demultiplex(body, async (stream, piece) => {
      const target = stream === 'stdout' ? context.out : context.err;
      await writeTo(target, formatter ? await formatter.format(piece.toString()) : piece);
    });
  },
);

interface Source {
  readonly kind: 'service' | 'task';
  readonly object: Json;
  readonly tty: boolean;
  /** Digits of the largest slot, to which names are padded. */
  readonly slotWidth: number;
}

async function findSource(context: Context, name: string): Promise<Source> {
  try {
    const service = await context.client.json('GET', `/services/${encodeURIComponent(name)}`);
    return {
      kind: 'service',
      object: service,
      tty: at(service, 'Spec', 'TaskTemplate', 'ContainerSpec', 'TTY') === true,
      slotWidth: String(asNumber(at(service, 'Spec', 'Mode', 'Replicated', 'Replicas')) || 1).length,
    };
  } catch (error) {
    if (!(error instanceof EngineError) || error.status !== 404) throw error;
  }
  try {
    const task = await context.client.json('GET', `/tasks/${encodeURIComponent(name)}`);
    return { kind: 'task', object: task, tty: at(task, 'Spec', 'ContainerSpec', 'TTY') === true, slotWidth: 1 };
  } catch (error) {
    if (!(error instanceof EngineError) || error.status !== 404) throw error;
    throw new CommandError(`no such task or service: ${name}`, 1, { cause: error });
  }
}

const prefix = 'com.docker.swarm.';

/** Turns lines with details into lines with names. */
class LineFormatter {
  readonly #context: Context;
  readonly #flags: Flags;
  readonly #names: NameResolver;
  readonly #slotWidth: number;
  /** BOUNDED by the service's tasks. */
  readonly #tasks = new Map<string, Promise<string>>();

  constructor(context: Context, flags: Flags, slotWidth: number) {
    this.#context = context;
    this.#flags = flags;
    this.#names = new NameResolver(context, flags.on('no-resolve'));
    this.#slotWidth = slotWidth;
  }

  /** @param line `[timestamp ]key=value,… text`, the details URL-encoded. */
  async format(line: string): Promise<string> {
    const stamped = this.#flags.on('timestamps');
    const parts = line.split(' ');
    const [stamp, encoded = ''] = stamped ? parts : ['', ...parts];
    const text = parts.slice(stamped ? 2 : 1).join(' ');
    const details = new Map(
      encoded.split(',').map((pair): [string, string] => {
        const [key = '', value = ''] = pair.split('=');
        return [decodeURIComponent(key), decodeURIComponent(value)];
      }),
    );
    const task = await this.#task(details.get(`${prefix}task.id`) ?? '', details.get(`${prefix}node.id`) ?? '');
    const own = [...details].filter(([key]) => !key.startsWith(prefix) && key !== '');
    const shown =
      this.#flags.on('details') && own.length > 0
        ? `${own
            .map(([key, value]) => `${key}=${value}`)
            .sort()
            .join(',')} `
        : '';
    return `${stamped ? `${stamp} ` : ''}${task}    | ${shown}${text}`;
  }

  #task(id: string, node: string): Promise<string> {
    let label = this.#tasks.get(id);
    if (!label) {
      label = this.#label(id, node);
      this.#tasks.set(id, label);
    }
    return label;
  }

  async #label(id: string, node: string): Promise<string> {
    const task = await this.#context.client.json('GET', `/tasks/${encodeURIComponent(id)}`);
    const name = await this.#names.task(asObject(task));
    const shown = this.#flags.on('no-trunc') ? id : shortId(id);
    const slot = String(asNumber(at(task, 'Slot')) || '');
    const label = `${name}${this.#flags.on('no-task-ids') ? '' : `.${shown}`}@${await this.#names.node(node)}`;
    return label + ' '.repeat(Math.max(0, this.#slotWidth - slot.length));
  }
}
