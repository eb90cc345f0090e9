import { type Clock, sleep } from '../runtime/index.ts';
import type { Address } from '../wire/index.ts';
import type { Channel } from './channel.ts';

/** Connections that are tried, one after the other: one lost packet must not make a host silent. */
const TRIES = 3;

/**
 * Whether the host at an address answers within `timeout` ms: its kernel takes or refuses connections even while the
 * daemon there is stopped, busy or gone, and its containers may well be running.
 */
export async function hostAnswers(channel: Channel, clock: Clock, to: Address, timeout: number): Promise<boolean> {
  const over = new AbortController();
  let answers = false;
  const answered = (): void => {
    answers = true;
    over.abort();
  };
  for (let tried = 0; tried < TRIES && !answers; tried++) {
    channel.reach(to, over.signal).then(answered, () => {
      // Another try may be lucky; without one the host is silent.
    });
    await sleep(clock, timeout / TRIES, over.signal);
  }
  over.abort();
  return answers;
}
