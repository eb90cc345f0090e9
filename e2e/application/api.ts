/** The API: each request is an order, counted in the database and put into the queue. Runs in a container. */
import { createServer } from 'node:http';
import { hostname } from 'node:os';
import { ask } from './connection.ts';

const version = process.env.VERSION ?? '';
/** After so many seconds without the worker's word, beanstalkd gives a job to another one. */
const timeToRun = 3;

async function order(): Promise<string> {
  const number = (await ask('database', 6379, 'INCR orders\r\n')).replace(':', '');
  const inserted = await ask('queue', 11300, `put 0 0 ${timeToRun} ${number.length}\r\n${number}\r\n`);
  if (!inserted.startsWith('INSERTED')) throw new Error(`queue: ${inserted}`);
  return `${version} ${hostname()}`;
}

const server = createServer((request, response) => {
  const answering = request.url === '/health' ? ask('database', 6379, 'PING\r\n') : order();
  answering.then(
    (text) => response.end(`${text}\n`),
    (error: unknown) => response.writeHead(503).end(`${String(error)}\n`),
  );
});
server.listen(8000);
// What has been accepted is answered; then the process ends by itself.
process.once('SIGTERM', () => server.close());
