import { createInterface } from 'node:readline';
import { EngineError } from '../../client/client.ts';
import { asList, asText, at, parseJson } from '../../client/json.ts';
import { type Context, command } from '../../command/command.ts';
import { CommandError } from '../../command/errors.ts';
import { bytesSize, humanSize, type Listing, renderList, shortId } from '../../output/index.ts';
import { formatFlag } from '../flags.ts';
import { type Usage, usageOf } from './usage.ts';

/** What is shown while nothing is known of a container. */
const nothing = '--';
/** The engine's status for what is not, or no longer, there. */
const notFound = 404;
/** How often a terminal is drawn anew. */
const drawMs = 500;
/** How often the list of containers is asked for, when all are shown. */
const lookMs = 2_000;
/** To the upper left corner; clear to the end of the line; clear what is below. */
const terminal = { home: '\u001b[H', clearLine: '\u001b[K', clearBelow: '\u001b[J' } as const;

interface Row {
  /** As the user called it. */
  readonly container: string;
  readonly full: boolean;
  usage?: Usage;
}

const known =
  (show: (usage: Usage) => string, otherwise = nothing) =>
  ({ usage }: Row): string =>
    usage ? show(usage) : otherwise;
const percent = (value: number): string => `${value.toFixed(2)}%`;
const pair = (left: number, right: number): string => `${humanSize(left, 3)} / ${humanSize(right, 3)}`;

const listing: Listing<Row> = {
  goType: '*container.statsContext',
  table: ['ID', 'Name', 'CPUPerc', 'MemUsage', 'MemPerc', 'NetIO', 'BlockIO', 'PIDs'],
  quiet: 'ID',
  columns: {
    BlockIO: { header: 'BLOCK I/O', value: known(({ blockRead, blockWritten }) => pair(blockRead, blockWritten)) },
    CPUPerc: { header: 'CPU %', value: known(({ cpuPercent }) => percent(cpuPercent)) },
    Container: { header: 'CONTAINER', value: ({ container }) => container },
    ID: { header: 'CONTAINER ID', value: ({ usage, full }) => (full ? (usage?.id ?? '') : shortId(usage?.id ?? '')) },
    MemPerc: {
      header: 'MEM %',
      value: known(({ memory, memoryLimit }) => percent(memoryLimit > 0 ? (memory / memoryLimit) * 100 : 0)),
    },
    MemUsage: {
      header: 'MEM USAGE / LIMIT',
      value: known(({ memory, memoryLimit }) => `${bytesSize(memory)} / ${bytesSize(memoryLimit)}`, '-- / --'),
    },
    Name: { header: 'NAME', value: known(({ name }) => name) },
    NetIO: { header: 'NET I/O', value: known(({ received, sent }) => pair(received, sent)) },
    PIDs: { header: 'PIDS', value: known(({ processes }) => String(processes)) },
  },
};

export const stats = command(
  'stats [OPTIONS] [CONTAINER...]',
  'Display a live stream of container(s) resource usage statistics',
  `
  -a, --all    Show all containers (default shows just running)
  ${formatFlag}
  --no-stream  Disable streaming stats and only pull the first result
  --no-trunc   Do not truncate output
  `,
  async (context, flags, names) => {
    const full = flags.on('no-trunc');
    const format = flags.text('format');
    const listed = async (): Promise<string[]> => {
      if (names.length > 0) return names;
      const query = { all: flags.on('all') };
      return asList(await context.client.json('GET', '/containers/json', { query })).map((each) =>
        asText(at(each, 'Id')),
      );
    };
    if (flags.on('no-stream')) {
      const isNamed = names.length > 0;
      const samples = (await listed()).map((container) => sampleOnce(context, { container, full }, isNamed));
      const rows = (await Promise.all(samples)).filter((row) => row !== undefined);
      context.out.write(renderList(listing, rows, { format }));
      return;
    }
    await using board = new Board(context, full, names.length > 0);
    await board.show(listed, (rows) => renderList(listing, rows, { format }));
  },
);

/** @returns undefined for a container that has gone since it was listed, which is a failure only where the user named it. */
async function sampleOnce(context: Context, row: Row, isNamed: boolean): Promise<Row | undefined> {
  try {
    const sample = await context.client.json('GET', `/containers/${encodeURIComponent(row.container)}/stats`, {
      query: { stream: 'false' },
      signal: context.signal,
    });
    return { ...row, usage: usageOf(sample) };
  } catch (error) {
    if (!isNamed && error instanceof EngineError && error.status === notFound) return undefined;
    throw error;
  }
}

/** Follows containers and draws what they use, until Ctrl-C or, where they are named, until the last one is gone. */
class Board implements AsyncDisposable {
  readonly #context: Context;
  readonly #full: boolean;
  readonly #isNamed: boolean;
  readonly #closed = new AbortController();
  /** By the name used. BOUNDED by the containers of the engine. */
  readonly #rows = new Map<string, { row: Row; followed: Promise<void> }>();
  #failure: Error | undefined;

  constructor(context: Context, full: boolean, isNamed: boolean) {
    this.#context = context;
    this.#full = full;
    this.#isNamed = isNamed;
  }

  async show(listed: () => Promise<string[]>, render: (rows: readonly Row[]) => string): Promise<void> {
    const { out, signal } = this.#context;
    for (let tick = 0; !signal.aborted; tick++) {
      if (tick === 0 || (!this.#isNamed && tick % (lookMs / drawMs) === 0)) this.#follow(await listed());
      await pause(drawMs, signal);
      if (this.#failure !== undefined) throw this.#failure;
      const rows = [...this.#rows.values()].map(({ row }) => row);
      const lines = render(rows).replaceAll('\n', `${terminal.clearLine}\n`);
      out.write(`${terminal.home}${lines}${terminal.clearBelow}`);
      if (rows.length === 0 && this.#isNamed) return;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed.abort();
    await Promise.all([...this.#rows.values()].map(({ followed }) => followed));
  }

  #follow(containers: readonly string[]): void {
    for (const container of containers) {
      if (this.#rows.has(container)) continue;
      const row: Row = { container, full: this.#full };
      const followed = this.#read(row)
        .catch((error: unknown) => this.#failed(error))
        .finally(() => this.#rows.delete(container));
      this.#rows.set(container, { row, followed });
    }
  }

  async #read(row: Row): Promise<void> {
    const { body } = await this.#context.client.call('GET', `/containers/${encodeURIComponent(row.container)}/stats`, {
      query: { stream: true },
      signal: AbortSignal.any([this.#context.signal, this.#closed.signal]),
    });
    for await (const line of createInterface({ input: body })) {
      if (line.trim() !== '') row.usage = usageOf(parseJson(line));
    }
  }

  /** A container that is gone is no failure, unless the user has named it. */
  #failed(error: unknown): void {
    if (this.#closed.signal.aborted || this.#context.signal.aborted) return;
    if (error instanceof CommandError && !this.#isNamed) return;
    this.#failure ??= error instanceof Error ? error : new Error(String(error));
  }
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', end);
      resolve();
    };
    const timer = setTimeout(end, milliseconds);
    signal.addEventListener('abort', end, { once: true });
  });
}
