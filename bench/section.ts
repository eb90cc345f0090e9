/** Runs one section and keeps what it measured and what failed. */
import type { SectionResult } from './results.ts';
import type { Bench, Section } from './types.ts';

/** So many characters of a failure are kept. */
const failureLength = 600;

/** Never throws for what goes wrong in the section: that is in the result's failures. */
export async function runSection(
  section: Section,
  given: Pick<Bench, 'options' | 'stage' | 'probe' | 'say'>,
): Promise<Pick<SectionResult, 'rounds' | 'seconds' | 'failures' | 'values'>> {
  const begin = performance.now();
  const seconds = (): number => (performance.now() - begin) / 1000;
  const values: SectionResult['values'] = {};
  const failures: string[] = [];
  const say = (text: string): void => given.say(`${section.name}: ${text}`);
  const bench: Bench = {
    ...given,
    say,
    record(measure, contestant, value) {
      if (!(measure in section.measures)) throw new Error(`section ${section.name} has no measure ${measure}`);
      if (!Number.isFinite(value)) throw new Error(`${measure} of ${contestant} is ${value}`);
      const row = values[measure] ?? {};
      values[measure] = { ...row, [contestant]: [...(row[contestant] ?? []), value] };
    },
    async attempt(what, action) {
      try {
        await action();
        return true;
      } catch (error) {
        const text = `${section.name}: ${what}: ${String(error)}`.slice(0, failureLength);
        failures.push(text);
        given.say(`FAILED ${text}`);
        return false;
      }
    },
    *rounds(most = given.options.rounds) {
      for (let round = 1; round <= Math.min(most, given.options.rounds); round++) {
        if (round > 1 && seconds() > section.budgetSeconds) {
          say(`no round ${round}: its time is over`);
          return;
        }
        yield round;
      }
    },
  };
  say(section.title);
  await bench.attempt('the section', () => section.run(bench));
  return { rounds: given.options.rounds, seconds: Math.round(seconds()), failures, values };
}
