/** The bench's command line. */
import { join } from 'node:path';
import { parseArgs } from 'node:util';

const root = join(import.meta.dirname, '..');

export interface Options {
  /** Names of the sections to run; none: all. */
  readonly only: readonly string[];
  /** How often each interleaved measurement is repeated. */
  readonly rounds: number;
  /** How long one turn of a measurement of traffic lasts, in seconds. */
  readonly seconds: number;
  /** Hosts of the large cluster. */
  readonly nodes: number;
  /** Flags of `skein daemon` that make a further contestant of the traffic section; '' for none; undefined: the kernel's own path. */
  readonly variant: string | undefined;
  /** Where results.json, the tables and the chart are written. */
  readonly results: string;
  readonly docs: string;
  /** Run nothing; write tables and chart anew from the results that are there. */
  readonly render: boolean;
}

export const usage = `Usage: npm run bench -- [options]
  --only NAME[,NAME…]   Only these sections; the others keep the results of earlier runs
  --rounds NUMBER       Rounds of each interleaved measurement (3)
  --seconds NUMBER      Length of one turn of a traffic measurement (0.25)
  --nodes NUMBER        Hosts of the large cluster (20)
  --variant=FLAGS       Flags of "skein daemon": a further contestant of the traffic section
                        (--fast-path=off, where the daemon has that flag; "" for none)
  --output DIRECTORY    Write everything there, not to bench/results and docs
  --render              Only write tables and chart anew
  --list                List the sections
`;

/** @throws Error for an option that is not known or not a number. */
export function parseOptions(argv: readonly string[]): Options & { readonly list: boolean; readonly help: boolean } {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      only: { type: 'string', default: '' },
      rounds: { type: 'string', default: '3' },
      seconds: { type: 'string', default: '0.25' },
      nodes: { type: 'string', default: '20' },
      variant: { type: 'string' },
      output: { type: 'string' },
      render: { type: 'boolean', default: false },
      list: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  });
  return {
    only: values.only.split(',').filter(Boolean),
    rounds: positive('--rounds', values.rounds),
    seconds: positive('--seconds', values.seconds),
    nodes: positive('--nodes', values.nodes),
    variant: values.variant,
    results: values.output ?? join(root, 'bench/results'),
    docs: values.output ?? join(root, 'docs'),
    render: values.render,
    list: values.list,
    help: values.help,
  };
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0)) throw new Error(`${name}: "${text}" is not a positive number`);
  return value;
}
