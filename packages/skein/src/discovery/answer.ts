/** What the embedded DNS server says by itself, and what it leaves to others. Pure. */

import { isIPv6 } from 'node:net';
import {
  type Answer,
  addressOfReverseName,
  type Question,
  type Reply,
  recordClass,
  recordType,
  responseCode,
} from './message.ts';
import type { NameTable, SearchedNetwork } from './names.ts';

/**
 * Seconds that a client may keep an answer. Docker says 600, and clients that believe it (nginx, Envoy, caching
 * resolvers) go on talking to tasks that are gone; an answer costs microseconds here, so it is kept short.
 */
export const timeToLive = 5;

/**
 * @returns the authoritative reply to a question about one of our names or addresses, with no answers where the name
 * has nothing of the type asked (NODATA, RFC 2308 section 2.2), or undefined if the name is not ours.
 */
export function answerQuestion(
  question: Question,
  table: NameTable,
  networks: readonly SearchedNetwork[],
  shuffle: <T>(items: readonly T[]) => readonly T[] = shuffled,
): Reply | undefined {
  if (question.class !== recordClass.IN && question.class !== recordClass.ANY) return undefined;
  const found = findAnswers(question, table, networks);
  if (found === undefined) return undefined;
  return { code: responseCode.noError, authoritative: true, answers: shuffle(found), timeToLive };
}

function findAnswers(
  question: Question,
  table: NameTable,
  networks: readonly SearchedNetwork[],
): readonly Answer[] | undefined {
  const wants = (type: number): boolean => question.type === type || question.type === recordType.ANY;
  const reverse = addressOfReverseName(question.name);
  if (reverse !== undefined) {
    const name = table.nameOf(reverse, networks);
    if (name === undefined) return undefined;
    return wants(recordType.PTR) ? [{ type: 'PTR', name }] : [];
  }
  const addresses = table.addresses(question.name, networks);
  if (addresses === undefined) return undefined;
  return addresses.map(answerOf).filter(({ type }) => wants(recordType[type]));
}

function answerOf(address: string): Answer {
  return isIPv6(address) ? { type: 'AAAA', address } : { type: 'A', address };
}

/** Fisher and Yates; Math.random is good enough to spread load. */
function shuffled<T>(items: readonly T[]): readonly T[] {
  const result = [...items];
  for (let last = result.length - 1; last > 0; last--) {
    const other = Math.floor(Math.random() * (last + 1));
    const swapped = result[other] as T;
    result[other] = result[last] as T;
    result[last] = swapped;
  }
  return result;
}
