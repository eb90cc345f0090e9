/** What the application's programs need of the network: one line asked and answered, of redis or beanstalkd. Runs in containers. */
import { connect } from 'node:net';

const answerTimeoutMs = 8000;

/**
 * Sends a command on a connection of its own and reads its answer.
 * @param isWhole tells when the answer is all there. @throws Error when it does not come.
 */
export function ask(
  host: string,
  port: number,
  command: string,
  isWhole: (answer: string) => boolean = (answer) => answer.endsWith('\r\n'),
): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, timeout: answerTimeoutMs });
    let answer = '';
    socket.setEncoding('utf8').on('data', (text: string) => {
      answer += text;
      if (!isWhole(answer)) return;
      socket.end();
      resolve(answer.trim());
    });
    socket.on('connect', () => socket.write(command));
    socket.on('timeout', () => socket.destroy(new Error(`${host}:${port} does not answer`)));
    socket.on('close', () => reject(new Error(`${host}:${port} ended the connection after "${answer}"`)));
    socket.on('error', reject);
  });
}
