/** The worker: takes orders out of the queue and writes them down as done, each at least once. Runs in a container. */

import { once } from 'node:events';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { ask } from './connection.ts';

const pauseMs = 200;

/** Takes one order after the other until the connection ends. */
async function drain(): Promise<void> {
  const queue = connect({ host: 'queue', port: 11300 }).setEncoding('utf8');
  await once(queue, 'connect');
  const end = (): void => void queue.destroy();
  process.once('SIGTERM', end);
  try {
    queue.write('reserve\r\n');
    let answer = '';
    for await (const text of queue) {
      answer = `${answer}${text}`.replace('DELETED\r\n', '');
      const job = /^RESERVED (\d+) \d+\r\n(\d+)\r\n/.exec(answer);
      if (job) {
        await ask('database', 6379, `SADD done ${job[2]}\r\n`);
        queue.write(`delete ${job[1]}\r\nreserve\r\n`);
        answer = '';
      }
    }
  } finally {
    process.removeListener('SIGTERM', end);
    queue.destroy();
  }
}

let ending = false;
process.once('SIGTERM', () => {
  ending = true;
});
while (!ending) {
  await drain().catch((error: unknown) => console.error(String(error)));
  await sleep(pauseMs);
}
