import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LoadReport } from './load.ts';

const load = join(import.meta.dirname, 'load.ts');
/** So many connections wait in the listen queue of busybox httpd. */
const listenQueue = 9;

test('a client that was not given the processor for a second does not send all that it missed at once', async () => {
  const arrivals: number[] = [];
  const server = createServer((_request, response) => {
    arrivals.push(performance.now());
    response.end('here\n');
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  const url = `http://127.0.0.1:${address.port}/`;
  const client = spawn(process.execPath, [load, url, '2', '20'], { stdio: ['ignore', 'pipe', 'inherit'] });
  const output = text(client.stdout);
  await once(server, 'request');
  client.kill('SIGSTOP');
  await sleep(1500);
  client.kill('SIGCONT');
  const report = JSON.parse(await output) as LoadReport;
  server.close();
  assert.deepEqual([report.sent, report.answers, report.failures], [40, { here: 40 }, {}]);
  const burst = Math.max(...arrivals.map((start) => arrivals.filter((at) => at >= start && at < start + 20).length));
  assert.ok(burst < listenQueue, `${burst} requests within 20 ms`);
});
