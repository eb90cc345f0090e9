/** The web server of the lab's host `outside`, which stands for the internet. */
import type { Cluster } from './cluster.ts';
import { eventually } from './cluster.ts';

/** What the server answers. */
export const outsideGreeting = 'hello from the outside';

/** Starts the server on port 80 of `outside`; it ends with the lab. */
export async function startOutsideServer(cluster: Cluster): Promise<void> {
  const server = `require('node:http').createServer((request, response) => response.end('${outsideGreeting}, ' + request.socket.remoteAddress + '\\n')).listen(80, '0.0.0.0')`;
  const host = cluster.lab.host('outside');
  await host.start([process.execPath, '-e', server], host.paths.log);
  await eventually(
    'the web server of outside',
    () => cluster.run('outside', ['busybox', 'wget', '-q', '-O', '-', 'http://127.0.0.1/']).exitCode === 0 || undefined,
  );
}
