/** What a section of the bench is, and what it is given. */
import type { Contestant } from './contestants.ts';
import type { Options } from './options.ts';
import type { Probe } from './probe.ts';
import type { Stage } from './stage/stage.ts';

/** One row of the table. */
export interface Measure {
  readonly title: string;
  readonly unit: string;
  readonly better: 'higher' | 'lower';
}

/** A part of the bench that can be chosen by its name. */
export interface Section {
  readonly name: string;
  readonly title: string;
  readonly measures: Readonly<Record<string, Measure>>;
  /** After so many seconds no further round begins; the first one always does. */
  readonly budgetSeconds: number;
  /** Runs only when it is named: the others together take as long as a run may. */
  readonly onRequest?: true;
  run(bench: Bench): Promise<void>;
}

/** What a section has to work with. */
export interface Bench {
  readonly options: Options;
  readonly stage: Stage;
  readonly probe: Probe;
  /** Keeps one value of a measure; the median of them all is shown. */
  record(measure: string, contestant: Contestant, value: number): void;
  /** Does one step. When it fails, that is noted in the results and the rest of the section goes on. */
  attempt(what: string, action: () => Promise<void> | void): Promise<boolean>;
  /** Numbers of the rounds, from 1, as many as the options say and the section's time allows. */
  rounds(most?: number): Iterable<number>;
  say(text: string): void;
}
