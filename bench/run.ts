/** `npm run bench`: runs the sections, prints the table, writes results, tables and chart. See README.md. */

import { execFileSync } from 'node:child_process';
import { skeinBinary } from '../e2e/support/cluster.ts';
import { parseOptions, usage } from './options.ts';
import { Probe } from './probe.ts';
import { writeDocuments } from './render/documents.ts';
import { goalTable, resultTable } from './render/tables.ts';
import { commit, describeMachine, type Results, readResults, writeResults } from './results.ts';
import { runSection } from './section.ts';
import { sections } from './sections/index.ts';
import { Stage } from './stage/stage.ts';
import type { Section } from './types.ts';

const options = parseOptions(process.argv.slice(2));
const started = performance.now();
/** With more than this many processes that want a CPU, others than the bench's have their share. */
const quietLoad = 0.5;
const say = (text: string): void => {
  const seconds = Math.round((performance.now() - started) / 1000);
  console.log(`${String(Math.floor(seconds / 60)).padStart(2)}:${String(seconds % 60).padStart(2, '0')} ${text}`);
};

function chosen(): Section[] {
  const unknown = options.only.filter((name) => !sections.some((section) => section.name === name));
  if (unknown.length > 0)
    throw new Error(`no section ${unknown.join(', ')}; there are ${sections.map(({ name }) => name).join(', ')}`);
  return sections.filter(({ name, onRequest }) =>
    options.only.length === 0 ? !onRequest : options.only.includes(name),
  );
}

/** The kernel's own path is measured beside the fast path, where the daemon has one. */
function defaultVariant(): string {
  const help = execFileSync(skeinBinary, ['daemon', '--help'], { encoding: 'utf8' });
  return help.includes('--fast-path') ? '--fast-path=off' : '';
}

/** Runs the sections one after the other. @returns the results of this run. */
async function measure(): Promise<Results> {
  const results: Results = {};
  const machine = describeMachine();
  say(`${machine.cpu}, ${machine.cores} CPUs, load ${machine.loadBefore}`);
  if (machine.loadBefore > quietLoad)
    say('the machine is not quiet: of its rates and times, trust the CPU costs alone');
  using probe = Probe.build();
  const variant = options.variant ?? defaultVariant();
  await using stage = new Stage(variant, say);
  const interrupt = (): void => {
    say('interrupted: taking the hosts down');
    void stage.clear().finally(() => process.exit(130));
  };
  process.once('SIGINT', interrupt).once('SIGTERM', interrupt);
  for (const section of chosen()) {
    const result = await runSection(section, { options, stage, probe, say });
    results[section.name] = { date: new Date().toISOString(), commit: commit(), machine, variant, ...result };
    // After each section: what was measured is not lost when the run is ended.
    writeResults(options.results, { ...readResults(options.results), ...results });
  }
  return results;
}

if (options.help) console.log(usage);
else if (options.list) for (const { name, title } of sections) console.log(`${name.padEnd(10)}${title}`);
else {
  const results = options.render ? readResults(options.results) : await measure();
  console.log(`\n${resultTable(results, 'text')}\n\n${goalTable(results, 'text')}\n`);
  writeDocuments(options.docs, readResults(options.results));
  const failures = Object.values(results).flatMap((result) => result.failures);
  for (const failure of failures) console.log(`FAILED ${failure}`);
  say(`results in ${options.results}, tables and chart in ${options.docs}`);
  process.exitCode = failures.length > 0 ? 1 : 0;
}
