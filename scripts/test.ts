/**
 * Runs every test and prints a closing line `N passed, N failed`.
 * Unit, simulation and kernel tests run two files at a time. End-to-end tests (`e2e/`) own whole labs: those that mostly
 * wait run two at a time, too; those that count requests, packets or what is left of the machine run one at a time.
 * Arguments: parts of paths; only matching test files run.
 */
import { globSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { resolve } from 'node:path';
import { run } from 'node:test';
import { spec } from 'node:test/reporters';

/** An end-to-end file builds a cluster and plays a story in it. */
const fileTimeoutMs = 10 * 60_000;

/** End-to-end tests that a second lab on the machine does not disturb, the longest first. */
const patient = [
  'interop',
  'faults',
  'walkthrough',
  'run',
  'networks',
  'interop-migration',
  'interop-hostile',
  'dual-stack',
  'underlay6',
  'fields',
  'connect-time',
  'debian-client',
  'lab',
  'restart-together',
  'scope',
].map((name) => `e2e/${name}.test.ts`);
const patientAtOnce = 2;

const root = resolve(import.meta.dirname, '..');
const wanted = process.argv.slice(2);
const matches = (file: string): boolean => wanted.length === 0 || wanted.some((part) => file.includes(part));

interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

function runFiles(files: string[], concurrency: number): Promise<Tally> {
  const tally: Tally = { passed: 0, failed: 0, skipped: 0 };
  if (files.length === 0) return Promise.resolve(tally);
  return new Promise((done, fail) => {
    const stream = run({
      files: files.map((file) => resolve(root, file)),
      concurrency,
      timeout: fileTimeoutMs,
      execArgv: ['--conditions=source'],
    });
    stream.on('test:pass', (event) => {
      if (event.details.type === 'suite') return;
      if (event.skip) tally.skipped++;
      else tally.passed++;
    });
    stream.on('test:fail', (event) => {
      if (event.details.type !== 'suite' || event.nesting === 0) tally.failed++;
    });
    stream.on('error', fail);
    stream.on('end', () => done(tally));
    stream.compose(spec()).pipe(process.stdout, { end: false });
  });
}

const unit = globSync('packages/*/src/**/*.test.ts', { cwd: root }).filter(matches).sort();
const endToEnd = globSync('e2e/**/*.test.ts', { cwd: root }).filter(matches).sort();
const tallies = [
  await runFiles(unit, availableParallelism()),
  await runFiles(
    patient.filter((file) => endToEnd.includes(file)),
    patientAtOnce,
  ),
  await runFiles(
    endToEnd.filter((file) => !patient.includes(file)),
    1,
  ),
];
const total = (key: keyof Tally): number => tallies.reduce((sum, tally) => sum + tally[key], 0);
const skipped = total('skipped') > 0 ? `, ${total('skipped')} skipped` : '';
console.log(`\n${total('passed')} passed, ${total('failed')} failed${skipped}`);
process.exitCode = total('failed') > 0 || total('passed') === 0 ? 1 : 0;
