import { setTimeout as sleep } from 'node:timers/promises';
import { asList, asNumber, asObject, asText, at, type Json, type JsonObject } from '../../client/json.ts';
import type { Context } from '../../command/command.ts';
import { CommandError } from '../../command/errors.ts';
import { program } from '../../program.ts';
import { filterQuery } from '../filters.ts';
import { ProgressBoard } from './progress-board.ts';
import { readProgress } from './progress-state.ts';

/** How often the engine is asked. */
const pollMs = 200;
/** How long tasks must run before a service counts as converged, where its spec does not say. */
const defaultMonitorNanos = 5e9;
const nanosPerMs = 1e6;

/** Shows a service's progress until its tasks run and have run for the monitoring period. Ctrl-C ends the waiting only. */
export async function waitForService(context: Context, service: string, quiet: boolean): Promise<void> {
  const board = new ProgressBoard(quiet ? undefined : context.out);
  try {
    await new Watch(context, service, board).run();
  } catch (error) {
    if (!context.signal.aborted) throw error;
    context.err.write(
      `Operation continuing in background.\nUse \`${program} service ps ${service}\` to check progress.\n`,
    );
  }
}

class Watch {
  readonly #context: Context;
  readonly #name: string;
  readonly #board: ProgressBoard;
  #convergedAt: number | undefined;
  #rollback = false;
  #closing: string | undefined;

  constructor(context: Context, name: string, board: ProgressBoard) {
    this.#context = context;
    this.#name = name;
    this.#board = board;
  }

  async run(): Promise<void> {
    for (;;) {
      const service = await this.#get(`/services/${encodeURIComponent(this.#name)}`);
      if (this.#updateEnded(service)) return;
      const monitor = asNumber(at(service, 'Spec', 'UpdateConfig', 'Monitor')) || defaultMonitorNanos;
      const left =
        this.#convergedAt === undefined ? undefined : monitor / nanosPerMs - (Date.now() - this.#convergedAt);
      if (left !== undefined && left <= 0) return this.#finish();
      const { converged, complete } = await this.#show(service);
      if (complete) return;
      this.#verify(converged, monitor / nanosPerMs);
      await sleep(pollMs, undefined, { signal: this.#context.signal });
    }
  }

  async #get(path: string, query = {}): Promise<Json> {
    return await this.#context.client.json('GET', path, { query, signal: this.#context.signal });
  }

  /** Follows an update's state. @returns whether there is nothing more to wait for. */
  #updateEnded(service: Json): boolean {
    const state = asText(at(service, 'UpdateStatus', 'State'));
    const message = asText(at(service, 'UpdateStatus', 'Message'));
    switch (state) {
      case 'updating':
        this.#rollback = false;
        return false;
      case 'completed':
        if (this.#convergedAt !== undefined) return false;
        return true;
      case 'paused':
        throw new CommandError(`service update paused: ${message}`);
      case 'rollback_paused':
        throw new CommandError(`service rollback paused: ${message}`);
      case 'rollback_started':
        if (!this.#rollback && message) this.#board.show('rollback', message);
        this.#rollback = true;
        return false;
      case 'rollback_completed':
        this.#closing = message;
        this.#rollback = true;
        return false;
      default:
        return false;
    }
  }

  #finish(): void {
    this.#board.show('verify', `Service ${this.#name} converged`);
    if (this.#closing) this.#board.show('rollback', this.#closing);
  }

  async #show(service: Json): Promise<{ converged: boolean; complete: boolean }> {
    const [tasks, nodes] = await Promise.all([
      this.#get('/tasks', {
        filters: filterQuery([], { service: [asText(at(service, 'ID'))], '_up-to-date': ['true'] }),
      }),
      this.#get('/nodes'),
    ]);
    const progress = readProgress(asObject(service), asList(tasks).map(asObject), activeNodes(nodes));
    this.#board.showProgress(progress, this.#rollback);
    const complete = progress.kind === 'job' && progress.running === progress.wanted;
    if (complete) this.#board.show('', 'job complete');
    return {
      converged: progress.kind === 'service' && progress.wanted !== undefined && progress.running === progress.wanted,
      complete,
    };
  }

  #verify(converged: boolean, monitorMs: number): void {
    if (converged) {
      this.#convergedAt ??= Date.now();
      const left = monitorMs - (Date.now() - this.#convergedAt);
      const seconds = Math.floor((left - 1) / 1000) + 1;
      if (left >= 0) this.#board.show('verify', `Waiting ${seconds} seconds to verify that tasks are stable...`);
    } else if (this.#convergedAt !== undefined) {
      this.#board.show('verify', 'Detected task failure');
      this.#convergedAt = undefined;
    }
  }
}

/** @returns the IDs of the nodes that are not down, with their host names. */
function activeNodes(nodes: Json): ReadonlyMap<string, string> {
  const active = asList(nodes)
    .map(asObject)
    .filter((node: JsonObject) => at(node, 'Status', 'State') !== 'down');
  return new Map(active.map((node) => [asText(node.ID), asText(at(node, 'Description', 'Hostname'))]));
}
