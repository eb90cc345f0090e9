/** Writes the figures into docs/benchmarks.md, between its marks, and the chart beside it. The prose is not touched. */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Results, SectionResult } from '../results.ts';
import { sections } from '../sections/index.ts';
import { chart } from './chart.ts';
import { goalTable, resultTable } from './tables.ts';

const page = 'benchmarks.md';
const picture = 'benchmarks.svg';
const begin = '<!-- figures: written by npm run bench -->';
const end = '<!-- end of figures -->';

/** @param directory where the page is; without one, a page with the figures alone is made. */
export function writeDocuments(directory: string, results: Results): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, picture), chart(results));
  const file = join(directory, page);
  const text = existsSync(file) ? readFileSync(file, 'utf8') : `${begin}\n${end}\n`;
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from)
    throw new Error(`${file} has no marks "${begin}" and "${end}" to write the figures between`);
  writeFileSync(file, `${text.slice(0, from)}${begin}\n\n${figures(results)}\n\n${text.slice(to)}`);
}

function figures(results: Results): string {
  const failures = Object.values(results).flatMap((result) => result.failures);
  return [
    machineText(Object.values(results)),
    `![Traffic beside the bare host, and times of starting](${picture})`,
    '### Goals',
    goalTable(results, 'markdown'),
    '### All measures',
    resultTable(results, 'markdown'),
    '### Runs',
    ...Object.entries(results).map(([name, result]) => sectionText(name, result)),
    ...(failures.length > 0
      ? ['### What failed', failures.map((text) => `- ${text.replaceAll('\n', ' ')}`).join('\n')]
      : []),
  ].join('\n\n');
}

function machineText(results: readonly SectionResult[]): string {
  const machine = results.at(-1)?.machine;
  if (machine === undefined) return 'Nothing has been measured yet.';
  const { cpu, cores, memoryGb, kernel, dockerd, containerd, node } = machine;
  return `${cpu}, ${cores} CPUs, ${memoryGb} GB; Linux ${kernel}; Docker ${dockerd}; containerd ${containerd}; Node ${node}.`;
}

function sectionText(name: string, { date, commit, seconds, rounds, machine, failures }: SectionResult): string {
  const title = sections.find((section) => section.name === name)?.title ?? '';
  const failed = failures.length > 0 ? `, ${failures.length} steps failed` : '';
  return `- \`${name}\` (${title}): ${date.slice(0, 16).replace('T', ' ')} UTC, commit ${commit}, ${rounds} rounds, ${seconds} s, load before ${machine.loadBefore}${failed}`;
}
