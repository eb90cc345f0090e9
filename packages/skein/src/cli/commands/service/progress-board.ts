import type { Writable } from 'node:stream';
import { ellipsis } from '../../output/index.ts';
import { type ServiceProgress, stateNumber, type TaskProgress } from './progress-state.ts';

/** More lines than this are not shown, the overall count only (docker/cli service/progress). */
const maxTaskLines = 20;
const barWidth = 50;
/** The state that fills the bar. */
const fullBarState = { service: 'running', job: 'complete' } as const;
/** States are padded to the longest that shows. */
const stateWidth = 9;
/** The longest error a line shows. */
const maxErrorLength = 80;

/**
 * Lines of progress, each under a name of its own. On a terminal every line is redrawn in place; elsewhere a line is
 * printed when it says something new, the tasks' bars only once.
 */
export class ProgressBoard {
  readonly #out: Writable | undefined;
  readonly #isTerminal: boolean;
  /** BOUNDED by maxTaskLines and the few lines that the watch shows. */
  readonly #lines = new Map<string, string>();
  #last = '';
  #active = '';
  #started = false;
  #full = false;

  /** @param out undefined shows nothing. */
  constructor(out: Writable | undefined) {
    this.#out = out;
    this.#isTerminal = (out as NodeJS.WriteStream | undefined)?.isTTY === true;
  }

  /** Shows `name: text`, or the text alone. */
  show(name: string, text: string): void {
    if (!this.#out) return;
    const isOld = this.#lines.get(name) === text;
    if (isOld && (this.#isTerminal || this.#last === name)) return;
    if (this.#isTerminal) this.#redraw(name, text);
    else this.#out.write(`${name && `${name}: `}${text}\n`);
    this.#lines.set(name, text);
    this.#last = name;
  }

  #redraw(name: string, text: string): void {
    const names = [...this.#lines.keys()];
    const index = names.indexOf(name);
    const up = index < 0 ? 0 : names.length - index;
    // Up to the line, clear it, write it, and back down below the last one.
    const move = up > 0 ? `\u001b[${up}A` : '';
    const back = up > 1 ? `\u001b[${up - 1}B` : '';
    this.#out?.write(`${move}\r\u001b[2K${name && `${name}: `}${text}\n${back}`);
  }

  /** Shows the overall count and each task's state. */
  showProgress(progress: ServiceProgress, rollback: boolean): void {
    if (progress.wanted === undefined) {
      if (progress.kind === 'job') this.show('job progress', 'waiting for tasks');
      else this.show('overall progress', 'waiting for new tasks');
      return;
    }
    if (!this.#started) this.#start(progress, progress.wanted);
    for (const task of progress.wanted > maxTaskLines ? [] : progress.tasks)
      this.#showTask(task, fullBarState[progress.kind]);
    if (this.#full) return;
    this.#showOverall(progress, rollback);
    this.#full = progress.running === progress.wanted;
  }

  #start(progress: ServiceProgress, wanted: number): void {
    this.#started = true;
    const nothing = progress.active && { tasks: 0, most: Math.min(progress.active.most, wanted) };
    this.#showOverall({ ...progress, running: 0, ...(nothing && { active: nothing }) }, false);
    if (wanted > maxTaskLines || (progress.kind === 'job' && !progress.active)) return;
    for (let slot = 1; slot <= wanted; slot++) this.show(`${slot}/${wanted}`, ' ');
  }

  #showOverall({ kind, running, active, wanted }: ServiceProgress, rollback: boolean): void {
    if (kind === 'service') {
      this.show('overall progress', `${rollback ? 'rolling back update: ' : ''}${running} out of ${wanted} tasks`);
      return;
    }
    // The bar of the whole job is for terminals only, as docker's.
    const text = `${String(running).padStart(String(wanted).length)} out of ${wanted} complete`;
    if (this.#isTerminal) this.show('job progress', `${text} ${bar(running / Math.max(wanted ?? 1, 1))}`);
    if (!active) return;
    const width = String(active.most).length;
    const tasks = `${String(active.tasks).padStart(width)} out of ${active.most} tasks`;
    if (this.#active !== tasks) this.show('active tasks', tasks);
    this.#active = tasks;
  }

  #showTask({ label, state, error }: TaskProgress, full: string): void {
    if (error) {
      this.show(label, ellipsis(error.replaceAll('\n', ' '), maxErrorLength));
      return;
    }
    if (!this.#isTerminal) return;
    this.show(label, `${state.padEnd(stateWidth)} ${bar(stateNumber(state) / stateNumber(full))}`);
  }
}

/** @param share of the whole, from 0. */
function bar(share: number): string {
  const filled = Math.floor(barWidth * Math.min(1, share));
  return `[${'='.repeat(filled)}>${' '.repeat(barWidth - filled)}] `;
}
