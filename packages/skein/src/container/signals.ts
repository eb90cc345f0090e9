/** Signal names and numbers, as `--signal` and `STOPSIGNAL` take them. */
import { constants } from 'node:os';
import { SkeinError } from '../common/index.ts';

const realTimeMinimum = 34;
const realTimeMaximum = 64;

/** @param text `SIGTERM`, `term` or `15`. @returns its number. @throws SkeinError InvalidArgument `Invalid signal: X`. */
export function signalNumber(text: string): number {
  const invalid = (): SkeinError => new SkeinError('InvalidArgument', `invalid signal: ${text}`);
  if (/^\d+$/.test(text)) {
    const number = Number(text);
    if (number < 1 || number > realTimeMaximum) throw invalid();
    return number;
  }
  const name = text.toUpperCase().replace(/^SIG/, '');
  const realTime = /^RTM(IN|AX)(?:([+-])(\d+))?$/.exec(name);
  if (realTime) {
    const base = realTime[1] === 'IN' ? realTimeMinimum : realTimeMaximum;
    const number = base + Number(`${realTime[2] ?? ''}${realTime[3] ?? 0}`);
    if (number < realTimeMinimum || number > realTimeMaximum) throw invalid();
    return number;
  }
  const number = (constants.signals as Record<string, number>)[`SIG${name}`];
  if (number === undefined) throw invalid();
  return number;
}
